//! Everything that can be set, with its default and its bound.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use session_core::limits::MAX_LIFETIME;
use session_core::rules::RuleSet;
use session_core::{
    DataLimits, Error, ExpiryPolicy, LimitScope, OnExceed, Result, SecretFormat, SessionLimit, Timestamp,
};

use crate::refresh::RefreshPolicy;

/// How many live sessions a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserLimit {
    /// Most live sessions.
    pub max: NonZeroU32,
    /// What happens to the one too many.
    pub on_exceed: OnExceed,
    /// Which sessions count.
    pub scope: LimitScope,
}

impl UserLimit {
    /// Limits all sessions of a user.
    #[must_use]
    pub const fn new(max: NonZeroU32, on_exceed: OnExceed) -> Self {
        Self { max, on_exceed, scope: LimitScope::User }
    }

    /// Sets which sessions count.
    #[must_use]
    pub const fn with_scope(mut self, scope: LimitScope) -> Self {
        self.scope = scope;
        self
    }

    pub(crate) const fn at(&self, now: Timestamp) -> SessionLimit {
        SessionLimit::new(self.max, self.on_exceed, now).with_scope(self.scope)
    }
}

impl Default for UserLimit {
    /// 100 sessions, ending the one not used for the longest time: a bound against floods that nobody meets by living.
    fn default() -> Self {
        Self::new(NonZeroU32::MIN.saturating_add(99), OnExceed::EndLeastRecentlySeen)
    }
}

/// What `save` does when another request changed the *same* key meanwhile. Changes of different keys are always merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ConflictPolicy {
    /// Fail with [`Conflict`](session_core::ErrorKind::Conflict) and write nothing. The default.
    #[default]
    Fail,
    /// This request's value wins.
    Mine,
    /// The other request's value wins.
    Theirs,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) expiry: ExpiryPolicy,
    pub(crate) limit: Option<UserLimit>,
    pub(crate) rules: RuleSet,
    pub(crate) secret_format: SecretFormat,
    pub(crate) data_limits: DataLimits,
    pub(crate) conflict: ConflictPolicy,
    pub(crate) store_deadline: Duration,
    pub(crate) concurrent_loads: Option<NonZeroUsize>,
    pub(crate) rotate_after: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) refresh: RefreshPolicy,
    pub(crate) step_up_lifetime: Option<Duration>,
    pub(crate) directory_lag: Duration,
    pub(crate) touch_interval: Duration,
    pub(crate) touch_flush: Duration,
    pub(crate) touch_capacity: usize,
    pub(crate) sweep_interval: Option<Duration>,
    pub(crate) retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expiry: ExpiryPolicy::default(),
            limit: Some(UserLimit::default()),
            rules: RuleSet::none(),
            secret_format: SecretFormat::default(),
            data_limits: DataLimits::default(),
            conflict: ConflictPolicy::default(),
            store_deadline: Duration::from_secs(2),
            concurrent_loads: None,
            rotate_after: None,
            grace: Duration::from_secs(30),
            refresh: RefreshPolicy::default(),
            step_up_lifetime: None,
            directory_lag: Duration::from_secs(30),
            touch_interval: Duration::from_secs(60),
            touch_flush: Duration::from_secs(1),
            touch_capacity: 100_000,
            sweep_interval: Some(Duration::from_secs(60)),
            retention: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        let minute = Duration::from_secs(60);
        let within = |value: Duration, min: Duration, max: Duration| (min..=max).contains(&value);
        let millis = Duration::from_millis;
        let rules = [
            (within(self.store_deadline, millis(1), minute), "the store deadline is 1 ms to 60 s"),
            (within(self.grace, Duration::ZERO, 5 * minute), "the grace period is at most 300 s"),
            (
                self.rotate_after.is_none_or(|after| within(after, Duration::from_secs(1), MAX_LIFETIME)),
                "the rotation interval is 1 s to 400 days",
            ),
            (
                within(self.refresh.access, Duration::from_secs(1), MAX_LIFETIME),
                "the access lifetime is 1 s to 400 days",
            ),
            (
                within(self.refresh.refresh, Duration::from_secs(1), MAX_LIFETIME),
                "the refresh lifetime is 1 s to 400 days",
            ),
            (
                self.step_up_lifetime
                    .is_none_or(|lifetime| within(lifetime, Duration::from_secs(1), MAX_LIFETIME)),
                "the step-up lifetime is 1 s to 400 days",
            ),
            (within(self.directory_lag, Duration::ZERO, 60 * minute), "the directory lag is at most 1 h"),
            (within(self.touch_interval, Duration::ZERO, 60 * minute), "the touch interval is at most 1 h"),
            (within(self.touch_flush, millis(1), minute), "the touch flush interval is 1 ms to 60 s"),
            (
                (1..=10_000_000).contains(&self.touch_capacity),
                "the touch queue holds 1 to 10,000,000 sessions",
            ),
            (
                self.sweep_interval.is_none_or(|interval| within(interval, millis(100), 24 * 60 * minute)),
                "the sweep interval is 100 ms to 24 h",
            ),
            (
                within(self.retention, Duration::ZERO, 10 * MAX_LIFETIME),
                "the retention is at most 4,000 days",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::invalid("build", rule)),
            None => Ok(()),
        }
    }

    /// How old the last sighting of a session may be before it is written again: the touch interval, but at most a tenth of the
    /// idle timeout, so that the idle deadline is met within 10 %.
    ///
    /// In milliseconds: every request asks, and arithmetic with durations would take longer than the rest of the question.
    pub(crate) fn touch_interval_for(&self, idle: Option<Duration>) -> u64 {
        let millis = |time: Duration| time.as_secs().saturating_mul(1_000) + u64::from(time.subsec_millis());
        let longest = millis(self.touch_interval);
        idle.map_or(longest, |idle| longest.min(millis(idle) / 10))
    }
}
