//! Whether the store of record answers, as this node sees it.
//!
//! While most of the latest loads failed, the store is taken to be unavailable. Then no caller that can
//! be answered from a copy waits for the next failure (see
//! [`Tiers::with_stale_if_error`](crate::Tiers::with_stale_if_error)), `health()` reports it, and one
//! worker tries the store until it answers. All other requests ask the store as always.

use std::sync::Arc;

use parking_lot::Mutex;
use session_core::{SessionId, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::manager::Shared;
use crate::tiers::breaker::{Breaker, trial_delay};

/// The latest loads.
#[derive(Debug)]
pub(crate) struct StoreState {
    state: Mutex<State>,
    went_out: Notify,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    is_out: bool,
    since: Timestamp,
}

impl StoreState {
    pub(crate) fn new(now: Timestamp) -> Self {
        let state = State { breaker: Breaker::default(), is_out: false, since: now };
        Self { state: Mutex::new(state), went_out: Notify::new() }
    }

    /// Takes note of a load.
    pub(crate) fn record(&self, failed: bool, now: impl FnOnce() -> Timestamp) {
        let mut state = self.state.lock();
        let opens = state.breaker.record(failed);
        if state.is_out && !failed {
            state.is_out = false;
            state.breaker.reset();
            state.since = now();
        } else if !state.is_out && opens {
            state.is_out = true;
            state.since = now();
            self.went_out.notify_one();
        }
    }

    /// Whether the store does not answer.
    pub(crate) fn is_out(&self) -> bool {
        self.state.lock().is_out
    }

    /// Returns whether the store answers, and since when.
    pub(crate) fn health(&self) -> (bool, Timestamp) {
        let state = self.state.lock();
        (!state.is_out, state.since)
    }
}

/// An id that is never used, to ask the store about.
pub(crate) fn unused_id() -> SessionId {
    SessionId::derive("session-kit", b"ping", None)
}

/// The worker: tries a store that does not answer.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let trials = async {
        loop {
            shared.backend.state.went_out.notified().await;
            let mut failed = 0;
            while shared.backend.state.is_out() {
                tokio::time::sleep(trial_delay(failed)).await;
                drop(shared.backend.operation().load(unused_id()).await);
                failed += 1;
            }
        }
    };
    stop.run_until_cancelled(trials).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1);
    const LATER: Timestamp = Timestamp::from_millis(2);

    #[test]
    fn an_outage_is_noticed_and_over_with_the_first_answer() {
        let store = StoreState::new(NOW);
        for _ in 0..4 {
            store.record(true, || LATER);
        }
        assert!(!store.is_out(), "four failures prove nothing");
        store.record(true, || LATER);
        assert_eq!(store.health(), (false, LATER));
        store.record(true, || NOW);
        assert_eq!(store.health(), (false, LATER), "since it began");
        store.record(false, || NOW);
        assert_eq!(store.health(), (true, NOW));
    }
}
