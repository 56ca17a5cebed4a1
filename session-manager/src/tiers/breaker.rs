//! When to stop asking a tier that fails, and when to try it again.
//!
//! Own code: the breakers that exist open half for everybody, or read the system's clock, and none
//! of them lets a background task make the one trial.

use std::time::Duration;

/// How many of the latest calls are judged.
const WINDOW: u32 = 10;

/// Fewer calls than this prove nothing.
const FEWEST: u32 = 5;

/// The first trial comes after 50 to 100 ms, each further one after twice that, at most 1 to 2 s.
const FIRST_TRIAL: Duration = Duration::from_millis(100);
const LONGEST_TRIAL: Duration = Duration::from_secs(2);

/// The latest outcomes of calls to one tier. Opens when half of them failed.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// One bit per call, the latest is the lowest; one is a failure.
    outcomes: u32,
    calls: u32,
}

impl Breaker {
    /// Takes note of a call. Returns true if the tier should not be asked any more.
    pub(crate) fn record(&mut self, failed: bool) -> bool {
        self.outcomes = (self.outcomes << 1 | u32::from(failed)) & ((1 << WINDOW) - 1);
        self.calls = (self.calls + 1).min(WINDOW);
        self.calls >= FEWEST && self.outcomes.count_ones() * 2 >= self.calls
    }

    /// Forgets everything: the tier was tried and works.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// How long to wait before the trial after that many failed ones: nodes must not all try at the
/// same moment.
pub(crate) fn trial_delay(failed: u32) -> Duration {
    let longest = FIRST_TRIAL.saturating_mul(1 << failed.min(10)).min(LONGEST_TRIAL);
    longest.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(outcomes: &[bool]) -> bool {
        let mut breaker = Breaker::default();
        outcomes.iter().fold(false, |_, failed| breaker.record(*failed))
    }

    #[test]
    fn a_few_failures_prove_nothing() {
        assert!(!opens(&[true; 4]));
        assert!(opens(&[true; 5]));
    }

    #[test]
    fn half_of_the_latest_calls_opens_it() {
        assert!(!opens(&[false, false, false, true, true]));
        assert!(opens(&[false, false, true, true, true]));
        assert!(!opens(&[[false; 20].as_slice(), &[true; 4]].concat()));
        assert!(opens(&[[false; 20].as_slice(), &[true; 5]].concat()));
        assert!(!opens(&[[true; 5].as_slice(), &[false; 6]].concat()), "old failures are forgotten");
    }

    #[test]
    fn trials_are_jittered_and_bounded() {
        for failed in 0..100 {
            let longest = Duration::from_millis(100 << failed.min(6)).min(Duration::from_secs(2));
            let delay = trial_delay(failed);
            assert!(delay >= longest / 2 && delay <= longest, "{delay:?} after {failed}");
        }
    }
}
