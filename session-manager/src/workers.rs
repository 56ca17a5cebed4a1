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
    /// Runs a worker until the manager stops. One that panics is counted and started again, after 0.1 s at first and at most
    /// 30 s.
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

    /// Runs an operation that shutdown waits for.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(task)
    }

    /// Tells the workers to stop.
    pub(crate) fn cancel(&self) {
        self.stop.cancel();
    }

    /// Tells the workers to stop, and waits for everything.
    pub(crate) async fn stop(&self) {
        self.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
