//! Publishing changes to the other nodes: within a time limit, and not at all while the bus fails.
//!
//! What could not be published waits, bounded, and goes out first when the bus works again. Other
//! nodes find out by the age of their copies meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::limits::MAX_BATCH;
use session_core::{Invalidation, InvalidationBus, Scope, SessionId};
use tokio::time::{Instant, timeout};

use super::breaker::{Breaker, trial_delay};
use super::metrics::Metrics;

/// Most sessions whose change waits for the bus. Beyond that the oldest change of the lowest id is
/// forgotten: copies age out by themselves.
const MAX_WAITING: usize = 10_000;

/// The way out to the other nodes.
pub(super) struct BusOut {
    bus: Arc<dyn InvalidationBus>,
    scope: Scope,
    limit: Duration,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    breaker: Breaker,
    /// Set while the bus is taken to be unavailable: how many trials failed, and when the next one
    /// is due.
    out: Option<(u32, Instant)>,
    waiting: BTreeMap<SessionId, Invalidation>,
}

impl BusOut {
    pub(super) fn new(
        bus: Arc<dyn InvalidationBus>,
        scope: Scope,
        limit: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { bus, scope, limit, metrics, state: Mutex::default() }
    }

    /// Publishes changes and what waits, or lets them wait.
    pub(super) async fn publish(&self, changes: &[Invalidation]) {
        if !self.is_due() {
            return self.keep(changes);
        }
        let mut due: Vec<_> = std::mem::take(&mut self.state.lock().waiting).into_values().collect();
        due.extend_from_slice(changes);
        for (index, chunk) in due.chunks(MAX_BATCH).enumerate() {
            let published = timeout(self.limit, self.bus.publish(self.scope, chunk)).await;
            let failed = !matches!(published, Ok(Ok(())));
            self.record(failed);
            if failed {
                return self.keep(&due[index * MAX_BATCH..]);
            }
        }
    }

    /// Whether the bus is to be asked: it works, or a trial is due, which the caller makes.
    fn is_due(&self) -> bool {
        let mut state = self.state.lock();
        match &mut state.out {
            None => true,
            Some((_, next)) if Instant::now() < *next => false,
            Some((failed, next)) => {
                *failed += 1;
                *next = Instant::now() + trial_delay(*failed);
                true
            }
        }
    }

    fn record(&self, failed: bool) {
        let mut state = self.state.lock();
        let opens = state.breaker.record(failed);
        match (state.out, failed) {
            (Some(_), false) => {
                state.out = None;
                state.breaker.reset();
            }
            (None, true) if opens => state.out = Some((0, Instant::now() + trial_delay(0))),
            _ => {}
        }
    }

    fn keep(&self, changes: &[Invalidation]) {
        self.metrics.unpublished.increment(changes.len() as u64);
        tracing::debug!(sessions = changes.len(), "changes could not be published to the other nodes yet");
        let mut state = self.state.lock();
        for change in changes {
            let known = state.waiting.entry(change.id).or_insert(*change);
            if change.revision > known.revision {
                *known = *change;
            }
        }
        while state.waiting.len() > MAX_WAITING {
            state.waiting.pop_first();
        }
    }
}
