use std::array;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_core::ErrorKind;
use tokio::sync::Notify;

/// The operations that can fail and that are counted, named as in errors and spans. `capabilities`
/// is not included, because it does no I/O.
pub const OPERATIONS: [&str; 10] =
    ["create", "load", "update", "touch", "end", "list", "expire", "purge", "erase", "stats"];

#[track_caller]
fn index_of(operation: &str) -> usize {
    let index = OPERATIONS.iter().position(|known| *known == operation);
    index.unwrap_or_else(|| panic!("`{operation}` is no operation of a store; they are {OPERATIONS:?}"))
}

/// A failure, and the calls that it affects.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    effect: Effect,
    operation: Option<usize>,
    calls: Calls,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Effect {
    Delay(Duration),
    Error(ErrorKind),
    Hang,
    Late(Duration, ErrorKind),
    LostReply(ErrorKind),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Calls {
    All,
    Nth(u64),
    /// The state of the generator, and the share of calls as a 64-bit number.
    Picked(u64, u64),
}

impl Fault {
    const fn new(effect: Effect) -> Self {
        Self { effect, operation: None, calls: Calls::All }
    }

    /// The call fails before it reaches the store.
    ///
    /// The error carries only what every kind carries: a `Conflict` from here has no revision.
    #[must_use]
    pub const fn error(kind: ErrorKind) -> Self {
        Self::new(Effect::Error(kind))
    }

    /// The call reaches the store after a delay, by tokio's clock.
    #[must_use]
    pub const fn delay(by: Duration) -> Self {
        Self::new(Effect::Delay(by))
    }

    /// The call never reaches the store and never returns. Disarming does not wake it; dropping its
    /// future ends it.
    #[must_use]
    pub const fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// The call reaches the store and returns this error instead of the answer. Real stores report
    /// [`Timeout`](ErrorKind::Timeout) or [`Unavailable`](ErrorKind::Unavailable) in this case.
    #[must_use]
    pub const fn lost_reply(kind: ErrorKind) -> Self {
        Self::new(Effect::LostReply(kind))
    }

    /// The call fails with this error at once, and reaches the store after a delay, by tokio's
    /// clock: a request that was under way when its caller gave up.
    #[must_use]
    pub const fn late(by: Duration, kind: ErrorKind) -> Self {
        Self::new(Effect::Late(by, kind))
    }

    /// Limits the fault to one of the [`OPERATIONS`].
    ///
    /// # Panics
    /// If there is no such operation.
    #[must_use]
    #[track_caller]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(index_of(operation));
        self
    }

    /// Limits the fault to one call: 1 is the first call after the fault was armed. If the fault is
    /// limited to an operation, only calls of that operation count.
    #[must_use]
    pub const fn at_call(mut self, number: u64) -> Self {
        self.calls = Calls::Nth(number);
        self
    }

    /// Limits the fault to calls that a generator selects, each with this probability between 0 and
    /// 1. The same seed selects the same calls.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates: 1.0 is always"
    )]
    pub const fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        self.calls = Calls::Picked(seed, (probability * u64::MAX as f64) as u64);
        self
    }

    /// Counts one call and returns the effect on it.
    fn apply(&mut self, operation: usize) -> Option<Effect> {
        if self.operation.is_some_and(|only| only != operation) {
            return None;
        }
        let applies = match &mut self.calls {
            Calls::All => true,
            Calls::Nth(left) => {
                let now = *left == 1;
                *left = left.saturating_sub(1);
                now
            }
            Calls::Picked(state, share) => next_random(state) <= *share && *share > 0,
        };
        applies.then_some(self.effect)
    }
}

/// Returns the next number of [SplitMix64](https://prng.di.unimi.it/splitmix64.c): the same
/// sequence in every version of this crate.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The control handle and the counters of a [`FaultyStore`](super::FaultyStore). Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Default)]
struct Shared {
    armed: Mutex<Vec<Fault>>,
    calls: [AtomicU64; OPERATIONS.len()],
    injected: AtomicU64,
    called: Notify,
}

impl Faults {
    /// Arms one more fault.
    pub fn arm(&self, fault: Fault) {
        self.0.armed.lock().push(fault);
    }

    /// Disarms all faults. Calls that a fault already delays or blocks are not woken.
    pub fn disarm(&self) {
        self.0.armed.lock().clear();
    }

    /// Returns the number of calls of an operation, including those that failed.
    ///
    /// # Panics
    /// If there is no such operation.
    #[must_use]
    #[track_caller]
    pub fn calls(&self, operation: &str) -> u64 {
        self.0.calls[index_of(operation)].load(Ordering::SeqCst)
    }

    /// Waits until an operation was called that many times. A call that [hangs](Fault::hang) or is
    /// delayed counts as soon as it begins, so a test need not guess how long to wait.
    ///
    /// # Panics
    /// If there is no such operation.
    pub async fn called(&self, operation: &str, times: u64) {
        loop {
            let mut called = pin!(self.0.called.notified());
            called.as_mut().enable();
            if self.calls(operation) >= times {
                return;
            }
            called.await;
        }
    }

    /// Returns the number of calls of all operations together.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.0.calls.iter().map(|calls| calls.load(Ordering::SeqCst)).sum()
    }

    /// Returns the number of calls that at least one fault affected.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.0.injected.load(Ordering::SeqCst)
    }

    /// Resets all counters to zero. Armed faults stay armed.
    pub fn reset_calls(&self) {
        self.0.calls.iter().chain([&self.0.injected]).for_each(|counter| counter.store(0, Ordering::SeqCst));
    }

    /// Counts a call and returns the effects on it, in order.
    pub(super) fn count_call(&self, operation: &'static str) -> Vec<Effect> {
        let index = index_of(operation);
        self.0.calls[index].fetch_add(1, Ordering::SeqCst);
        self.0.called.notify_waiters();
        let mut armed = self.0.armed.lock();
        let effects: Vec<_> = armed.iter_mut().filter_map(|fault| fault.apply(index)).collect();
        if !effects.is_empty() {
            self.0.injected.fetch_add(1, Ordering::SeqCst);
        }
        effects
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls: [_; OPERATIONS.len()] =
            array::from_fn(|index| (OPERATIONS[index], self.0.calls[index].load(Ordering::SeqCst)));
        f.debug_struct("Faults")
            .field("armed", &*self.0.armed.lock())
            .field("calls", &calls)
            .finish_non_exhaustive()
    }
}
