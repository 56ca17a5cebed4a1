//! Background tasks: supervised workers, and operations that outlive their caller.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::FutureExt;
use metrics::counter;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one manager.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Workers {
    /// Runs a worker until the manager stops. One that panics is counted and started again, after
    /// 0.1 s at first and at most 30 s.
    pub(crate) fn supervise<F>(
        &self,
        name: &'static str,
        worker: impl Fn(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut delays = ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(100))
                .with_max_delay(Duration::from_secs(30))
                .with_jitter()
                .without_max_times()
                .build();
            while AssertUnwindSafe(worker(stop.clone())).catch_unwind().await.is_err() {
                counter!("session_worker_panics_total", "worker" => name).increment(1);
                tracing::error!(worker = name, "session worker panicked and will be started again");
                let delay = delays.next().unwrap_or(Duration::from_secs(30));
                if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                    break;
                }
            }
        });
    }

    /// Returns the set of tasks that shutdown waits for, to add to it.
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Runs an operation that shutdown waits for.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(task)
    }

    /// Returns what is cancelled when the workers are to stop.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Signals the workers to stop.
    pub(crate) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Signals the workers to stop, and waits for everything.
    pub(crate) async fn stop(&self) {
        self.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_is_started_again() {
        let workers = Workers::default();
        let starts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&starts);
        workers.supervise("test", move |stop| {
            let start = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(start >= 2, "the first two starts fail");
                stop.cancelled().await;
            }
        });
        while starts.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        workers.stop().await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }
}
