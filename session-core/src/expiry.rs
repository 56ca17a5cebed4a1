//! The time at which a session expires.
//!
//! Two limits apply, and the earlier one decides: an *idle* limit, which every use extends, and an
//! *absolute* end, which nothing changes. Both are data of the session, set at its creation by an
//! [`ExpiryPolicy`]. So a changed configuration affects new sessions only, and "remember me" needs
//! no second mechanism.

use std::time::Duration;

use crate::end::EndReason;
use crate::error::{Error, Result};
use crate::limits::MAX_LIFETIME;
use crate::record::SessionRecord;
use crate::time::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The lifetime of a session: at most `absolute`, and at most `idle` without use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    idle: Option<Duration>,
    absolute: Duration,
}

impl Lifetime {
    /// Creates a lifetime; with `idle` of `None`, only the absolute end applies. Fractions of a
    /// millisecond are dropped.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit below 1 ms or above 400 days.
    pub fn new(idle: Option<Duration>, absolute: Duration) -> Result<Self> {
        Ok(Self { idle: idle.map(whole_millis).transpose()?, absolute: whole_millis(absolute)? })
    }

    /// Creates a lifetime without checks, for constants that are obviously within the limits.
    const fn constant(idle_seconds: Option<u64>, absolute_seconds: u64) -> Self {
        let idle = match idle_seconds {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => None,
        };
        Self { idle, absolute: Duration::from_secs(absolute_seconds) }
    }

    /// Returns the maximum time without use.
    #[must_use]
    pub const fn idle(&self) -> Option<Duration> {
        self.idle
    }

    /// Returns the maximum time overall.
    #[must_use]
    pub const fn absolute(&self) -> Duration {
        self.absolute
    }
}

/// Truncates to milliseconds, which every backend keeps exactly, and refuses durations that some
/// backend treats as "for ever".
pub(crate) fn whole_millis(duration: Duration) -> Result<Duration> {
    if duration > MAX_LIFETIME {
        return Err(Error::invalid("expiry", "a session lasts at most 400 days"));
    }
    match u64::try_from(duration.as_millis()) {
        Ok(0) | Err(_) => Err(Error::invalid("expiry", "a session lasts at least 1 ms")),
        Ok(millis) => Ok(Duration::from_millis(millis)),
    }
}

/// The lifetimes of new sessions: the standard one, and the one for "remember me".
///
/// | policy | idle | absolute | remembered |
/// |---|---|---|---|
/// | default | 24 h | 30 days | no idle limit, 30 days |
/// | [`nist_aal1`](Self::nist_aal1) | none | 30 days | the same |
/// | [`nist_aal2`](Self::nist_aal2) | 1 h | 24 h | the same |
/// | [`nist_aal3`](Self::nist_aal3) | 15 min | 12 h | the same |
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use session_core::{ExpiryPolicy, Lifetime};
///
/// let shop = ExpiryPolicy::default()
///     .with_standard(Lifetime::new(Some(Duration::from_secs(30 * 60)), Duration::from_secs(12 * 3600))?);
/// assert_eq!(shop.lifetime(true).idle(), None);
/// assert!(Lifetime::new(None, Duration::ZERO).is_err());
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiryPolicy {
    standard: Lifetime,
    remembered: Lifetime,
}

impl Default for ExpiryPolicy {
    fn default() -> Self {
        Self {
            standard: Lifetime::constant(Some(DAY), 30 * DAY),
            remembered: Lifetime::constant(None, 30 * DAY),
        }
    }
}

impl ExpiryPolicy {
    const fn uniform(lifetime: Lifetime) -> Self {
        Self { standard: lifetime, remembered: lifetime }
    }

    /// Follows [NIST SP 800-63B-4](https://pages.nist.gov/800-63-4/sp800-63b.html) section 2.1.3:
    /// 30 days overall.
    #[must_use]
    pub const fn nist_aal1() -> Self {
        Self::uniform(Lifetime::constant(None, 30 * DAY))
    }

    /// Follows [NIST SP 800-63B-4](https://pages.nist.gov/800-63-4/sp800-63b.html) section 2.2.3:
    /// 24 hours overall, 1 hour idle.
    #[must_use]
    pub const fn nist_aal2() -> Self {
        Self::uniform(Lifetime::constant(Some(HOUR), DAY))
    }

    /// Follows [NIST SP 800-63B-4](https://pages.nist.gov/800-63-4/sp800-63b.html) section 2.3.3:
    /// 12 hours overall, 15 minutes idle.
    #[must_use]
    pub const fn nist_aal3() -> Self {
        Self::uniform(Lifetime::constant(Some(15 * MINUTE), 12 * HOUR))
    }

    /// Sets the lifetime of sessions that are not remembered.
    #[must_use]
    pub const fn with_standard(mut self, lifetime: Lifetime) -> Self {
        self.standard = lifetime;
        self
    }

    /// Sets the lifetime of remembered sessions.
    #[must_use]
    pub const fn with_remembered(mut self, lifetime: Lifetime) -> Self {
        self.remembered = lifetime;
        self
    }

    /// Returns the lifetime for a new session.
    #[must_use]
    pub const fn lifetime(&self, remember: bool) -> Lifetime {
        if remember { self.remembered } else { self.standard }
    }

    /// Evaluates a record: live until when, or expired since when. A pure function of the record
    /// and the time.
    #[must_use]
    #[inline]
    pub fn evaluate(record: &SessionRecord, now: Timestamp) -> Expiry {
        let absolute = Deadline { at: record.expires_at, reason: EndReason::AbsoluteTimeout };
        let idle = record.idle_timeout.map(|idle| Deadline {
            at: record.last_seen_at.saturating_add(idle),
            reason: EndReason::IdleTimeout,
        });
        let deadline = idle.filter(|idle| idle.at < absolute.at).unwrap_or(absolute);
        if now < deadline.at { Expiry::Live(deadline) } else { Expiry::Expired(deadline) }
    }
}

/// The time at which a session expires unless it is used or ended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadline {
    /// The time. At this very millisecond the session is no longer live.
    pub at: Timestamp,
    /// [`IdleTimeout`](EndReason::IdleTimeout), which every use extends, or
    /// [`AbsoluteTimeout`](EndReason::AbsoluteTimeout), which nothing changes.
    pub reason: EndReason,
}

/// The result of [`ExpiryPolicy::evaluate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// The deadline has passed.
    Expired(Deadline),
    /// Live until the deadline.
    Live(Deadline),
}

impl Expiry {
    /// Returns true before the deadline.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// Returns the deadline, passed or not.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        match self {
            Self::Expired(deadline) | Self::Live(deadline) => *deadline,
        }
    }

    /// Returns true if the session is live now and expires at most `within` later, so that a page
    /// can warn the user.
    #[must_use]
    pub fn expires_soon(&self, now: Timestamp, within: Duration) -> bool {
        self.is_live() && self.deadline().at.since(now) <= within
    }
}
