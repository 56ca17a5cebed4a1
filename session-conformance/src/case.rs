//! A case as a value, for harnesses other than the macros.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::{BusHarness, CacheHarness, Harness, TenantHarness};

/// The time limit of one case in one [form](crate::Form).
///
/// The slowest case takes a fraction of a second on a laptop's database, so a case that takes a
/// minute hangs.
pub const CASE_TIME_LIMIT: Duration = Duration::from_secs(60);

/// A case of [`session_store_suite!`](crate::session_store_suite).
pub type StoreCase = Case<Harness>;

/// A case of [`session_store_suite!`](crate::session_store_suite) that needs two stores.
pub type TenantCase = Case<TenantHarness>;

/// A case of [`session_bus_suite!`](crate::session_bus_suite).
pub type BusCase = Case<BusHarness>;

/// A case of [`session_cache_suite!`](crate::session_cache_suite).
pub type CacheCase = Case<CacheHarness>;

/// One promise of the contract, as code that panics if the promise is broken.
#[derive(Debug, Clone, Copy)]
pub struct Case<H> {
    name: &'static str,
    run: fn(H) -> BoxFuture<'static, ()>,
}

impl<H: Send + 'static> Case<H> {
    pub(crate) const fn new(name: &'static str, run: fn(H) -> BoxFuture<'static, ()>) -> Self {
        Self { name, run }
    }

    /// Returns the name, which is also the name of the test that a macro creates.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the case in the caller's tokio runtime, which should have several threads, because
    /// cases test races.
    ///
    /// The future panics if the promise is broken. It has no time limit of its own.
    #[must_use]
    pub fn run(&self, harness: H) -> BoxFuture<'static, ()> {
        (self.run)(harness)
    }

    /// Runs the case in a separate runtime and returns the failure instead of panicking, for
    /// reports and for suites that expect failures. Must not be called in a runtime.
    ///
    /// # Errors
    /// The panic message of the case, or that it did not finish in time.
    ///
    /// # Examples
    /// ```
    /// use session_conformance::reference::MapStore;
    /// use session_conformance::{CASE_TIME_LIMIT, Form, Harness, store_cases};
    ///
    /// let case = &store_cases()[0];
    /// let open = async { Harness::in_form(MapStore::default(), Form::Bare) };
    /// let verdict = case.check(CASE_TIME_LIMIT, open);
    /// assert_eq!(verdict, Ok(()));
    /// ```
    pub fn check(
        &self,
        limit: Duration,
        open: impl Future<Output = H> + Send + 'static,
    ) -> Result<(), CaseFailure> {
        self.execute(&format!("checking {}", self.name), limit, || open)
    }

    /// Opens and runs in a runtime whose threads are named `threads`; a panic message begins with
    /// that name.
    pub(crate) fn execute<F>(
        &self,
        threads: &str,
        limit: Duration,
        open: impl FnOnce() -> F,
    ) -> Result<(), CaseFailure>
    where
        F: Future<Output = H> + Send + 'static,
    {
        let runtime = new_runtime(threads);
        let opening = {
            let _guard = runtime.enter();
            open()
        };
        let run = self.run;
        let (done, outcome) = mpsc::channel();
        runtime.spawn(async move {
            let case = AssertUnwindSafe(async move { run(opening.await).await });
            // The receiver no longer exists if the time is up.
            let _ = done.send(case.catch_unwind().await);
        });
        // A channel of the standard library, because a store that blocks its threads also stops the
        // runtime's timers.
        match outcome.recv_timeout(limit) {
            Ok(Ok(())) => {
                runtime.shutdown_timeout(Duration::from_secs(5));
                Ok(())
            }
            Ok(Err(panic)) => {
                runtime.shutdown_background();
                Err(CaseFailure::Failed(panic_text(&*panic)))
            }
            Err(_) => {
                runtime.shutdown_background();
                Err(CaseFailure::TimedOut(limit))
            }
        }
    }
}

fn new_runtime(threads: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(threads)
        .enable_all()
        .build()
        .expect("a tokio runtime")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    literal.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// The reason why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaseFailure {
    /// The case panicked, with this message.
    Failed(String),
    /// The case did not finish within the given time.
    TimedOut(Duration),
}

impl fmt::Display for CaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::TimedOut(limit) => write!(
                f,
                "not finished after {} s: a call hangs, or waits for a lock that is never released",
                limit.as_secs_f32()
            ),
        }
    }
}

impl std::error::Error for CaseFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn check(limit: Duration, run: fn(()) -> BoxFuture<'static, ()>) -> Result<(), CaseFailure> {
        Case::new("example", run).execute("checking example", limit, || async {})
    }

    #[test]
    fn a_case_that_returns_passes() {
        assert_eq!(check(CASE_TIME_LIMIT, |()| Box::pin(async {})), Ok(()));
    }

    #[test]
    fn a_failure_carries_the_panic_message() {
        let verdict = check(CASE_TIME_LIMIT, |()| Box::pin(async { assert_eq!(1 + 1, 3, "no") }));
        let Err(CaseFailure::Failed(message)) = verdict else {
            panic!("{verdict:?}");
        };
        assert!(message.starts_with("assertion `left == right` failed: no"), "{message}");
    }

    #[test]
    fn a_call_that_never_returns_times_out() {
        let verdict = check(SHORT, |()| Box::pin(std::future::pending()));
        assert_eq!(verdict, Err(CaseFailure::TimedOut(SHORT)));
        assert!(verdict.unwrap_err().to_string().starts_with("not finished after 0.05 s"));
    }

    #[test]
    fn blocked_threads_do_not_stop_the_time_limit() {
        let verdict = check(SHORT, |()| {
            Box::pin(async {
                tokio::spawn(async { std::thread::park_timeout(SHORT * 20) });
                std::thread::park_timeout(SHORT * 20);
            })
        });
        assert_eq!(verdict, Err(CaseFailure::TimedOut(SHORT)));
    }

    #[test]
    fn the_factory_is_called_in_the_runtime() {
        let case = Case::new("example", |()| Box::pin(async {}));
        let verdict = case.execute("checking example", CASE_TIME_LIMIT, || {
            tokio::runtime::Handle::current();
            async {}
        });
        assert_eq!(verdict, Ok(()));
    }
}
