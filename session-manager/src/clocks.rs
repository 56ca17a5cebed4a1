//! Noticing that the wall clock jumped.
//!
//! Deadlines are wall-clock times, because they outlive processes. So a wall clock that is set
//! forward by mistake would let a sweep end everybody at once. This process's own clock does not
//! jump: when both disagree about how much time passed, the sweep stops, with a warning and a
//! metric (`session_clock_jumps_total`), until the wall clock is back where it should be or has
//! been steady for an hour. Requests are judged by the wall clock meanwhile, and nothing that they
//! refuse is written.

use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;
use session_core::Timestamp;

/// By how much the wall clock may differ from what the process's own clock expects: what time
/// servers correct is far less.
const LARGEST_STEP: Duration = Duration::from_secs(2 * 60);

/// For how long a wall clock that jumped must be steady before it is believed: a machine that was
/// suspended has the right time.
const STEADY: Duration = Duration::from_secs(60 * 60);

/// Both clocks, as they were read together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) wall: Timestamp,
    pub(crate) mono: Duration,
}

impl Reading {
    /// How far the wall clock is from where it should be by now, if it was right at this reading.
    fn error(&self, now: Reading) -> Duration {
        let expected = self.wall.saturating_add(now.mono.saturating_sub(self.mono));
        now.wall.since(expected).max(expected.since(now.wall))
    }
}

/// Watches the wall clock of one manager.
#[derive(Debug)]
pub(crate) struct ClockGuard {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The last reading that is believed.
    trusted: Reading,
    /// The first reading after a jump.
    jumped: Option<Reading>,
}

impl ClockGuard {
    pub(crate) fn new(now: Reading) -> Self {
        Self { state: Mutex::new(State { trusted: now, jumped: None }) }
    }

    /// Returns whether the wall clock can be believed now.
    pub(crate) fn check(&self, now: Reading) -> bool {
        let mut state = self.state.lock();
        if state.trusted.error(now) <= LARGEST_STEP {
            *state = State { trusted: now, jumped: None };
            return true;
        }
        match state.jumped {
            Some(jumped) if jumped.error(now) <= LARGEST_STEP => {
                let steady = now.mono.saturating_sub(jumped.mono) >= STEADY;
                if steady {
                    *state = State { trusted: now, jumped: None };
                }
                steady
            }
            _ => {
                state.jumped = Some(now);
                counter!("session_clock_jumps_total").increment(1);
                tracing::warn!(
                    "the wall clock jumped by more than 2 min: no session is swept until it is steady"
                );
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, mono: u64) -> Reading {
        Reading { wall: Timestamp::from_millis(wall * 1_000), mono: Duration::from_secs(mono) }
    }

    #[test]
    fn a_clock_that_runs_is_believed() {
        let guard = ClockGuard::new(at(1_000, 0));
        assert!(guard.check(at(1_060, 60)));
        assert!(guard.check(at(1_240, 121)), "119 s ahead");
        assert!(guard.check(at(1_200, 200)), "set back by 119 s");
    }

    #[test]
    fn a_clock_that_jumped_is_believed_when_it_is_back() {
        for wall in [1_061 + 121, -100_000] {
            let guard = ClockGuard::new(at(1_000, 0));
            assert!(guard.check(at(1_060, 60)));
            assert!(!guard.check(at(wall, 61)), "{wall}");
            assert!(!guard.check(at(wall + 60, 121)));
            assert!(guard.check(at(1_122, 122)));
        }
    }

    #[test]
    fn a_clock_that_jumped_is_believed_after_an_hour_without_another_jump() {
        let guard = ClockGuard::new(at(0, 0));
        assert!(!guard.check(at(10_000, 10)));
        assert!(!guard.check(at(20_000, 20)), "it jumped once more");
        assert!(!guard.check(at(23_599, 3_619)));
        assert!(guard.check(at(23_600, 3_620)));
        assert!(guard.check(at(23_660, 3_680)));
    }
}
