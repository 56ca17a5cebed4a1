//! Ending what expired and purging what ended long ago.

use std::sync::Arc;
use std::time::Duration;

use session_core::Result;
use session_core::limits::MAX_BATCH;
use tokio_util::sync::CancellationToken;

use crate::manager::{SessionManager, Shared};
use crate::metrics::Op;

/// Most batches of one sweep, so that 10,000 sessions at most are worked on before others get their turn.
const MAX_BATCHES: usize = 20;

/// How soon the next sweep follows one that left something over.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SweepReport {
    /// Expired sessions that it ended.
    pub ended: u64,
    /// Ended sessions beyond the retention that it deleted.
    pub purged: u64,
    /// Whether it stopped at its bound of 20 batches of 500 and there may be more.
    pub more: bool,
}

impl SessionManager {
    /// Ends expired sessions and purges what ended before the retention, in bounded batches.
    ///
    /// The background worker does the same every minute. Any number of nodes may sweep at once.
    ///
    /// # Errors
    /// As the store answers; what was done until then stays done.
    pub async fn sweep(&self) -> Result<SweepReport> {
        self.shared().sweep().await
    }

    /// Purges what ended before the retention, without ending anything.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn purge(&self) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        self.shared().purge(&mut report).await?;
        Ok(report)
    }
}

impl Shared {
    async fn sweep(&self) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        self.expire(&mut report).await?;
        self.purge(&mut report).await?;
        Ok(report)
    }

    async fn expire(&self, report: &mut SweepReport) -> Result<()> {
        for _ in 0..MAX_BATCHES {
            let call = self.backend.store().expire(self.clock.now(), MAX_BATCH);
            let ended = self.backend.operation().call(Op::Expire, call).await?;
            self.report_ended(&ended);
            report.ended += ended.len() as u64;
            if ended.len() < MAX_BATCH {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        report.more = true;
        Ok(())
    }

    async fn purge(&self, report: &mut SweepReport) -> Result<()> {
        let before = self.clock.now().saturating_sub(self.settings.retention);
        for _ in 0..MAX_BATCHES {
            let call = self.backend.store().purge(before, MAX_BATCH);
            let purged = self.backend.operation().call(Op::Purge, call).await?;
            self.metrics.purged.increment(purged);
            report.purged += purged;
            if purged < MAX_BATCH as u64 {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        report.more = true;
        Ok(())
    }
}

/// The worker. Its first sweep comes at a random moment of the first interval, so that nodes that start together do not sweep
/// together.
pub(crate) async fn run(shared: Arc<Shared>, interval: Duration, stop: CancellationToken) {
    let mut delay = interval.mul_f64(fastrand::f64());
    while stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_some() {
        delay = match shared.sweep().await {
            Ok(report) if report.more => CATCH_UP.min(interval),
            Ok(_) => jittered(interval),
            Err(error) => {
                tracing::warn!(kind = error.kind().as_str(), "session sweep failed and will be tried again");
                jittered(interval)
            }
        };
    }
}

/// 80 to 120 % of the interval.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.8 + 0.4 * fastrand::f64())
}
