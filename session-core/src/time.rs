//! Time as the contract sees it: milliseconds, UTC, and always an argument.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since the Unix epoch, UTC.
///
/// Milliseconds are what every backend keeps exactly, so a stored time comes back as the same value. Arithmetic never
/// wraps: it is either checked or stops at the ends of the range.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use session_core::Timestamp;
///
/// let start = Timestamp::from_millis(1_000);
/// let later = start.saturating_add(Duration::from_secs(2));
/// assert_eq!(later.as_millis(), 3_000);
/// assert_eq!(later.since(start), Duration::from_secs(2));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Midnight at the start of 1970.
    pub const EPOCH: Self = Self(0);
    /// The last representable time.
    pub const MAX: Self = Self(i64::MAX);

    /// Makes a timestamp from milliseconds since the Unix epoch.
    #[must_use]
    #[inline]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns milliseconds since the Unix epoch.
    #[must_use]
    #[inline]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns whole seconds since the Unix epoch, rounded down: what other systems keep in an integer column.
    #[must_use]
    #[inline]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns this time plus a duration, or `None` beyond the range. Parts of a millisecond are dropped.
    #[must_use]
    #[inline]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(whole_millis(duration)?).map(Self)
    }

    /// Returns this time plus a duration, at most [`MAX`](Self::MAX).
    #[must_use]
    #[inline]
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self::MAX)
    }

    /// Returns this time minus a duration, at least the beginning of the range.
    #[must_use]
    #[inline]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration).unwrap_or(i64::MAX)))
    }

    /// Returns the time passed since an earlier point, zero if that point is later.
    #[must_use]
    #[inline]
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// `Duration::as_millis` counts in 128 bits, which takes longer than everything else that is done with a timestamp.
#[inline]
fn whole_millis(duration: Duration) -> Option<i64> {
    let seconds = i64::try_from(duration.as_secs()).ok()?;
    seconds.checked_mul(1_000)?.checked_add(i64::from(duration.subsec_millis()))
}

impl From<SystemTime> for Timestamp {
    /// Converts by whole milliseconds; times outside the range stop at its ends.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::EPOCH.saturating_add(after),
            Err(before) => Self::EPOCH.saturating_sub(before.duration()),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// A source of the current time.
///
/// Only the manager owns one; a store never reads a clock, so that one clock decides what is live.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Returns the time that has passed since some moment before: it only grows, whatever the wall clock is set to.
    ///
    /// Copies of sessions grow old by both clocks, because a wall clock may be set and this one stands still while a machine is suspended.
    /// A clock that a test controls controls this one too. By default this is what [`SystemClock`] says.
    fn monotonic(&self) -> Duration {
        since_start()
    }
}

/// On Linux the kernel remembers what it read at its last tick. That is 1 to 10 ms old, which is nothing beside the age of a copy, and a
/// fifth of the price.
#[cfg(target_os = "linux")]
fn since_start() -> Duration {
    let passed = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let seconds = u64::try_from(passed.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(passed.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn since_start() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "used as a value")]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// Two clocks that move only when they are told to, for tests and simulations.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use session_core::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::at(Timestamp::from_millis(500));
/// clock.advance(Duration::from_millis(20));
/// assert_eq!(clock.now().as_millis(), 520);
/// ```
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicI64,
    passed_millis: AtomicU64,
}

impl ManualClock {
    /// Makes a clock that shows the given time.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self { wall: AtomicI64::new(now.0), passed_millis: AtomicU64::new(0) }
    }

    /// Lets time pass, in whole milliseconds: both clocks move forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.passed_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock, backwards too. No time passes.
    pub fn set(&self, now: Timestamp) {
        self.wall.store(now.0, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// Starts at 2026-01-01 00:00 UTC.
    fn default() -> Self {
        Self::at(Timestamp(1_767_225_600_000))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.passed_millis.load(Ordering::SeqCst))
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_second_clock_only_grows_and_counts_as_the_first_does() {
        let (began, before) = (std::time::Instant::now(), SystemClock.monotonic());
        std::thread::sleep(Duration::from_millis(30));
        let (passed, real) = (SystemClock.monotonic().saturating_sub(before), began.elapsed());
        // A tick of the kernel is at most 10 ms.
        assert!(
            passed >= Duration::from_millis(20) && passed <= real + Duration::from_millis(10),
            "{passed:?}"
        );
    }

    #[test]
    fn a_manual_clock_passes_time_on_both_and_is_set_on_one() {
        let clock = ManualClock::at(Timestamp::from_millis(5_000));
        clock.advance(Duration::from_millis(1_500));
        clock.set(Timestamp::from_millis(100));
        clock.advance(Duration::from_millis(1));
        assert_eq!((clock.now().as_millis(), clock.monotonic()), (101, Duration::from_millis(1_501)));
    }

    #[test]
    fn extremes_saturate_and_never_wrap() {
        assert_eq!(Timestamp::MAX.checked_add(Duration::from_millis(1)), None);
        assert_eq!(Timestamp::EPOCH.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_millis(i64::MIN).saturating_sub(Duration::MAX).as_millis(), i64::MIN);
        assert_eq!(Timestamp::from_millis(i64::MIN).since(Timestamp::MAX), Duration::ZERO);
    }

    #[test]
    fn times_before_the_epoch_convert() {
        let before = UNIX_EPOCH - Duration::from_millis(7);
        assert_eq!(Timestamp::from(before).as_millis(), -7);
        assert_eq!((Timestamp::from(before).as_secs(), Timestamp::from_millis(1_999).as_secs()), (-1, 1));
    }

    proptest! {
        #[test]
        fn adding_and_measuring_agree(start in -4_000_000_000_000_i64..4_000_000_000_000, by in 0_u64..4_000_000_000_000) {
            let start = Timestamp::from_millis(start);
            let by = Duration::from_millis(by);
            prop_assert_eq!(start.saturating_add(by).since(start), by);
        }
    }
}
