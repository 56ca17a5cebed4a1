//! Time in the contract: milliseconds, UTC, and always an argument.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since the Unix epoch, UTC.
///
/// Every backend keeps milliseconds exactly, so a stored time is read back as the same value.
/// Arithmetic never wraps: it is either checked or saturates at the ends of the range.
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
    /// The Unix epoch: midnight at the start of 1970.
    pub const EPOCH: Self = Self(0);
    /// The last representable time.
    pub const MAX: Self = Self(i64::MAX);

    /// Creates a timestamp from milliseconds since the Unix epoch.
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

    /// Returns whole seconds since the Unix epoch, rounded down, as other systems keep them in an
    /// integer column.
    #[must_use]
    #[inline]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns this time plus a duration, or `None` if the result is out of range. Fractions of a
    /// millisecond are dropped.
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

    /// Returns this time minus a duration, at least the start of the range.
    #[must_use]
    #[inline]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration).unwrap_or(i64::MAX)))
    }

    /// Returns the time since an earlier point, or zero if that point is later.
    #[must_use]
    #[inline]
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// Avoids `Duration::as_millis`: it computes in 128 bits, which takes longer than every other
/// operation on a timestamp.
#[inline]
fn whole_millis(duration: Duration) -> Option<i64> {
    let seconds = i64::try_from(duration.as_secs()).ok()?;
    seconds.checked_mul(1_000)?.checked_add(i64::from(duration.subsec_millis()))
}

impl From<SystemTime> for Timestamp {
    /// Converts to whole milliseconds; saturates at the ends of the range.
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
/// Only the manager owns a clock. A store never reads one, so a single clock decides which sessions
/// are live.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Returns the time since some earlier moment. It only grows, however the wall clock is set.
    ///
    /// Copies of sessions age by both clocks, because a wall clock may be set, and the monotonic
    /// clock stops while a machine is suspended. A clock that a test controls should control this
    /// one too. The default implementation is that of [`SystemClock`].
    fn monotonic(&self) -> Duration {
        since_start()
    }
}

/// On Linux, reads the time of the kernel's last tick. It is 1 to 10 ms old, which is negligible
/// against the age of a copy, and takes a fifth of the time of an exact clock.
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

/// Two manually controlled clocks, for tests and simulations.
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
    /// Creates a clock that shows the given time.
    #[must_use]
    pub const fn at(now: Timestamp) -> Self {
        Self { wall: AtomicI64::new(now.0), passed_millis: AtomicU64::new(0) }
    }

    /// Advances both clocks by whole milliseconds.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.passed_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock, possibly backwards. The monotonic clock does not change.
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
    fn the_monotonic_clock_keeps_pace_with_real_time() {
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
    fn a_manual_clock_advances_both_clocks_and_sets_one() {
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
        fn since_returns_what_was_added(start in -4_000_000_000_000_i64..4_000_000_000_000, by in 0_u64..4_000_000_000_000) {
            let start = Timestamp::from_millis(start);
            let by = Duration::from_millis(by);
            prop_assert_eq!(start.saturating_add(by).since(start), by);
        }
    }
}
