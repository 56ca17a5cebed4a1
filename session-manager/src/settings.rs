//! Everything that can be set, with its default and its bound.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use session_core::limits::MAX_LIFETIME;
use session_core::rules::RuleSet;
use session_core::{
    DataLimits, Error, ExpiryPolicy, LimitScope, OnExceed, Result, SecretFormat, SessionLimit, SessionRecord,
    Timestamp,
};

use crate::data::DataCodec;
use crate::recording::Recording;
use crate::tiers::Tiers;

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
    /// Most live sessions on devices of the new session's kind, besides `max`. `None` for no such
    /// limit.
    pub max_per_device_kind: Option<NonZeroU32>,
}

impl UserLimit {
    /// Limits all sessions of a user.
    #[must_use]
    pub const fn new(max: NonZeroU32, on_exceed: OnExceed) -> Self {
        Self { max, on_exceed, scope: LimitScope::User, max_per_device_kind: None }
    }

    /// Sets which sessions count.
    #[must_use]
    pub const fn with_scope(mut self, scope: LimitScope) -> Self {
        self.scope = scope;
        self
    }

    /// Adds a limit for devices of the new session's kind: for example, at most 2 phones and
    /// 5 sessions altogether.
    #[must_use]
    pub const fn with_max_per_device_kind(mut self, max: NonZeroU32) -> Self {
        self.max_per_device_kind = Some(max);
        self
    }

    pub(crate) const fn at(&self, now: Timestamp) -> SessionLimit {
        let limit = SessionLimit::new(self.max, self.on_exceed, now).with_scope(self.scope);
        match self.max_per_device_kind {
            Some(max) => limit.with_max_per_device_kind(max),
            None => limit,
        }
    }
}

impl Default for UserLimit {
    /// 100 sessions, ending the one not used for the longest time: a bound against floods, far
    /// above normal use.
    fn default() -> Self {
        Self::new(NonZeroU32::MIN.saturating_add(99), OnExceed::EndLeastRecentlySeen)
    }
}

type ChooseLimit = dyn Fn(&SessionRecord) -> Option<UserLimit> + Send + Sync;

/// Which limit a session is created under.
#[derive(Clone)]
pub(crate) enum LimitPolicy {
    All(Option<UserLimit>),
    By(Arc<ChooseLimit>),
}

impl LimitPolicy {
    pub(crate) fn for_session(&self, record: &SessionRecord) -> Option<UserLimit> {
        match self {
            Self::All(limit) => *limit,
            Self::By(choose) => choose(record),
        }
    }
}

impl fmt::Debug for LimitPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(limit) => f.debug_tuple("All").field(limit).finish(),
            Self::By(_) => f.write_str("By(..)"),
        }
    }
}

/// What `save` does when another request changed the *same* key meanwhile. Changes of different
/// keys are always merged.
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

/// The deepest nesting that the JSON parser reads back, with room for the levels around it.
const MAX_DEPTH: usize = 120;

fn all_hold<const N: usize>(rules: [(bool, &'static str); N]) -> Result<()> {
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(Error::invalid("build", rule)),
        None => Ok(()),
    }
}

/// The lifetimes of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshPolicy {
    /// How long the session token of a pair counts, 15 minutes by default.
    pub access: Duration,
    /// How long the refresh token counts, 30 days by default and never beyond the session itself.
    pub refresh: Duration,
    /// What ends when a spent refresh token is presented.
    pub reuse_ends: ReuseEnds,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            access: Duration::from_secs(15 * 60),
            refresh: Duration::from_secs(30 * 24 * 60 * 60),
            reuse_ends: ReuseEnds::Session,
        }
    }
}

impl RefreshPolicy {
    /// Sets how long the session token of a pair counts.
    #[must_use]
    pub const fn with_access(mut self, access: Duration) -> Self {
        self.access = access;
        self
    }

    /// Sets how long the refresh token counts.
    #[must_use]
    pub const fn with_refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh;
        self
    }

    /// Sets what ends when a spent refresh token is presented.
    #[must_use]
    pub const fn with_reuse_ends(mut self, ends: ReuseEnds) -> Self {
        self.reuse_ends = ends;
        self
    }
}

/// What ends when a spent refresh token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReuseEnds {
    /// All sessions of the user on the session's device; the session alone if it names no device.
    Device,
    /// The session. The default.
    #[default]
    Session,
    /// All sessions of the user.
    User,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) expiry: ExpiryPolicy,
    pub(crate) limit: LimitPolicy,
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
    pub(crate) clock_skew: Duration,
    pub(crate) sign_in_attempts: NonZeroU32,
    pub(crate) recording: Recording,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expiry: ExpiryPolicy::default(),
            limit: LimitPolicy::All(Some(UserLimit::default())),
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
            clock_skew: Duration::from_secs(30),
            sign_in_attempts: NonZeroU32::MIN.saturating_add(4),
            recording: Recording::default(),
        }
    }
}

impl Settings {
    pub(crate) fn codec(&self) -> DataCodec {
        DataCodec::new(self.data_limits)
    }

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
            (self.retention <= 10 * MAX_LIFETIME, "the retention is at most 4,000 days"),
            (self.clock_skew <= 5 * minute, "the assumed clock skew is at most 5 min"),
            (self.sign_in_attempts.get() <= 100, "a pending sign-in has 1 to 100 attempts"),
        ];
        all_hold(rules)
    }

    /// Checks settings that cannot work together.
    pub(crate) fn check_together(&self, tiers: Option<&Tiers>) -> Result<()> {
        let shortest_idle =
            [false, true].into_iter().filter_map(|remember| self.expiry.lifetime(remember).idle()).min();
        let longest_copy = tiers.map_or(Duration::ZERO, Tiers::max_stale);
        let rules = [
            (
                self.rotate_after.is_none_or(|after| after >= self.grace),
                "the rotation interval is below the grace: a secret would be replaced while the one before still counts",
            ),
            (
                self.refresh.access <= self.refresh.refresh,
                "the session token of a pair lives longer than its refresh token",
            ),
            (
                shortest_idle.is_none_or(|idle| self.touch_flush < idle),
                "uses are written less often than sessions idle out: lower the touch flush below the idle timeout",
            ),
            (
                self.retention >= self.store_deadline + self.clock_skew + longest_copy,
                "ended sessions are forgotten while a request or a copy of them may still be under way: the retention must be at least \
                 the store deadline plus the clock skew plus max_stale",
            ),
            (
                tiers.is_none_or(|tiers| tiers.cache_timeout() <= self.store_deadline / 2),
                "a shared cache may take as long as the store: lower the cache timeout to half of the store deadline or less",
            ),
            (
                self.recording.suits(&self.rules, Timestamp::EPOCH),
                "a rule compares requests with the sign-in, and less is kept of a client than it needs: keep more, or compare networks",
            ),
            (
                self.data_limits.max_depth <= MAX_DEPTH,
                "session data nested deeper than 120 levels cannot be read back",
            ),
        ];
        all_hold(rules)
    }

    /// How old the last-seen time of a session may be before it is written again: the touch
    /// interval, but at most a tenth of the idle timeout, so that the idle deadline is met within
    /// 10 %.
    ///
    /// In milliseconds: every request asks, and arithmetic with durations would take longer than
    /// the rest of the question.
    pub(crate) fn touch_interval_for(&self, idle: Option<Duration>) -> u64 {
        let millis = |time: Duration| time.as_secs().saturating_mul(1_000) + u64::from(time.subsec_millis());
        let longest = millis(self.touch_interval);
        idle.map_or(longest, |idle| longest.min(millis(idle) / 10))
    }
}
