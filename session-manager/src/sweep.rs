//! Ending what expired and purging what ended long ago.
//!
//! | meets | how |
//! |---|---|
//! | a wall clock that jumped | nothing is swept, see `clocks.rs` |
//! | events | a sweep waits for room for what it ends, so none is lost |
//! | several nodes | each claims rows of its own; any number may sweep at once |
//! | a large backlog | at most 20 batches of 500, and at most 30 s, per sweep |

use std::sync::Arc;
use std::time::Duration;

use session_core::limits::MAX_BATCH;
use session_core::{Error, Result};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clocks::Reading;
use crate::manager::{SessionManager, Shared};
use crate::metrics::Op;

/// Most batches of one sweep, so that 10,000 sessions at most are worked on before others get their
/// turn.
const MAX_BATCHES: usize = 20;

/// Most time of one sweep.
const MAX_TIME: Duration = Duration::from_secs(30);

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
    /// Whether it stopped at its bound of 20 batches of 500, or of 30 s, and there may be more.
    pub more: bool,
}

impl SessionManager {
    /// Ends expired sessions and purges what ended before the retention, in bounded batches.
    ///
    /// The background worker does the same every minute. Any number of nodes may sweep at once.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) while the wall clock cannot be
    /// believed, because it jumped by more than 2 min within the last hour; else as the store
    /// answers. What was done until then stays done.
    pub async fn sweep(&self) -> Result<SweepReport> {
        self.shared().sweep().await
    }

    /// Purges what ended before the retention, without ending anything.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn purge(&self) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        self.shared().check_clock()?;
        self.shared().purge(&mut report, Instant::now() + MAX_TIME).await?;
        Ok(report)
    }
}

impl Shared {
    async fn sweep(&self) -> Result<SweepReport> {
        self.check_clock()?;
        let (mut report, until) = (SweepReport::default(), Instant::now() + MAX_TIME);
        self.expire(&mut report, until).await?;
        self.purge(&mut report, until).await?;
        Ok(report)
    }

    fn check_clock(&self) -> Result<()> {
        let now = Reading { wall: self.clock.now(), mono: self.clock.monotonic() };
        match self.clock_guard.check(now) {
            true => Ok(()),
            false => Err(Error::unavailable("manager", "sweep").with_detail("the wall clock jumped")),
        }
    }

    async fn expire(&self, report: &mut SweepReport, until: Instant) -> Result<()> {
        for _ in 0..MAX_BATCHES {
            // Before anything ends, so that what ended is reported even if the sink is slow.
            if timeout_at(until, self.events.room_for(MAX_BATCH)).await.is_err() {
                break;
            }
            let ended = self.backend.operation().expire(self.clock.now(), MAX_BATCH).await?;
            self.report_ended(&ended);
            report.ended += ended.len() as u64;
            if ended.len() < MAX_BATCH {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
            tokio::task::yield_now().await;
        }
        report.more = true;
        Ok(())
    }

    async fn purge(&self, report: &mut SweepReport, until: Instant) -> Result<()> {
        let before = self.clock.now().saturating_sub(self.settings.retention);
        for _ in 0..MAX_BATCHES {
            let call = self.backend.store().purge(before, MAX_BATCH);
            let purged = self.backend.operation().call(Op::Purge, call).await?;
            self.metrics.purged.increment(purged);
            report.purged += purged;
            if purged < MAX_BATCH as u64 {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
            tokio::task::yield_now().await;
        }
        report.more = true;
        Ok(())
    }
}

/// The worker. Its first sweep comes at a random moment of the first interval, so that nodes that
/// start together do not sweep together.
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
