use std::array;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_core::ErrorKind;
use tokio::sync::Notify;

/// The operations that can fail and that are counted, as errors and spans name them. `capabilities` is not one: it does no I/O.
pub const OPERATIONS: [&str; 10] =
    ["create", "load", "update", "touch", "end", "list", "expire", "purge", "erase", "stats"];

#[track_caller]
fn index_of(operation: &str) -> usize {
    let index = OPERATIONS.iter().position(|known| *known == operation);
    index.unwrap_or_else(|| panic!("`{operation}` is no operation of a store; they are {OPERATIONS:?}"))
}

/// What goes wrong, and in which calls.
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
    LostReply(ErrorKind),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Calls {
    All,
    Nth(u64),
    /// The state of the generator, and the share of calls as a number of 64 bits.
    Picked(u64, u64),
}

impl Fault {
    const fn new(effect: Effect) -> Self {
        Self { effect, operation: None, calls: Calls::All }
    }

    /// The call fails before it reaches the store.
    ///
    /// The error carries what every kind carries and no more: a `Conflict` made here names no revision.
    #[must_use]
    pub const fn error(kind: ErrorKind) -> Self {
        Self::new(Effect::Error(kind))
    }

    /// The call reaches the store later, by tokio's clock.
    #[must_use]
    pub const fn delay(by: Duration) -> Self {
        Self::new(Effect::Delay(by))
    }

    /// The call never reaches the store and never returns. Disarming does not wake it; dropping its future does.
    #[must_use]
    pub const fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// The call reaches the store and returns this error instead of the answer, whatever that was. Stores report
    /// [`Timeout`](ErrorKind::Timeout) or [`Unavailable`](ErrorKind::Unavailable) then.
    #[must_use]
    pub const fn lost_reply(kind: ErrorKind) -> Self {
        Self::new(Effect::LostReply(kind))
    }

    /// Narrows the fault to one of the [`OPERATIONS`].
    ///
    /// # Panics
    /// If there is no such operation.
    #[must_use]
    #[track_caller]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(index_of(operation));
        self
    }

    /// Narrows the fault to one call: the first after the fault was armed is 1. Calls of other operations do not count if the
    /// fault is narrowed to one.
    #[must_use]
    pub const fn at_call(mut self, number: u64) -> Self {
        self.calls = Calls::Nth(number);
        self
    }

    /// Narrows the fault to calls that a generator picks, each with this probability between 0 and 1. The same seed picks the same
    /// calls.
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

    /// Counts one call, and returns what happens to it.
    fn meets(&mut self, operation: usize) -> Option<Effect> {
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

/// [SplitMix64](https://prng.di.unimi.it/splitmix64.c): the same sequence in every version of this crate.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The switch and the counters of a [`FaultyStore`](super::FaultyStore). Clones share them.
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
    /// Adds a fault to those that are armed.
    pub fn arm(&self, fault: Fault) {
        self.0.armed.lock().push(fault);
    }

    /// Removes all faults. Calls that they delay or hold are not woken.
    pub fn disarm(&self) {
        self.0.armed.lock().clear();
    }

    /// Returns how many calls of an operation were made, those that failed included.
    ///
    /// # Panics
    /// If there is no such operation.
    #[must_use]
    #[track_caller]
    pub fn calls(&self, operation: &str) -> u64 {
        self.0.calls[index_of(operation)].load(Ordering::SeqCst)
    }

    /// Waits until that many calls of an operation were made: a call that [hangs](Fault::hang) or is delayed counts as soon as it is
    /// made, so a test need not guess how long that takes.
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

    /// Returns how many calls were made of all operations together.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.0.calls.iter().map(|calls| calls.load(Ordering::SeqCst)).sum()
    }

    /// Returns how many calls met at least one fault.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.0.injected.load(Ordering::SeqCst)
    }

    /// Sets all counters to zero. Armed faults stay as they are.
    pub fn reset_calls(&self) {
        self.0.calls.iter().chain([&self.0.injected]).for_each(|counter| counter.store(0, Ordering::SeqCst));
    }

    /// Counts a call and returns what happens to it, in order.
    pub(super) fn meet(&self, operation: &'static str) -> Vec<Effect> {
        let index = index_of(operation);
        self.0.calls[index].fetch_add(1, Ordering::SeqCst);
        self.0.called.notify_waiters();
        let mut armed = self.0.armed.lock();
        let effects: Vec<_> = armed.iter_mut().filter_map(|fault| fault.meets(index)).collect();
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
