//! Putting a manager together.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use session_core::limits::LIBRARY_DATA;
use session_core::rules::RuleSet;
use session_core::{
    Clock, DataLimits, Error, EventSink, ExpiryPolicy, Result, SecretFormat, SecretHasher, SecureRandom,
    SessionRecord, SessionStore, SystemClock, SystemRandom, UserDirectory,
};

use crate::manager::SessionManager;
use crate::recording::Recording;
use crate::settings::{ConflictPolicy, LimitPolicy, RefreshPolicy, Settings, UserLimit};
use crate::tiers::Tiers;

/// Settings of a [`SessionManager`]. Everything has a default; what is out of bounds fails in
/// [`build`](Self::build).
pub struct SessionManagerBuilder {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) tiers: Option<Tiers>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn SecureRandom>,
    pub(crate) hasher: SecretHasher,
    pub(crate) directory: Option<Arc<dyn UserDirectory>>,
    pub(crate) sink: Option<Arc<dyn EventSink>>,
    pub(crate) settings: Settings,
}

impl SessionManagerBuilder {
    pub(crate) fn new(store: Arc<dyn SessionStore>) -> Self {
        Self {
            store,
            tiers: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            hasher: SecretHasher::plain(),
            directory: None,
            sink: None,
            settings: Settings::default(),
        }
    }

    /// Sets the lifetimes of new sessions. Default: 24 h idle, 30 days absolute, no idle limit when
    /// remembered.
    #[must_use]
    pub fn with_expiry(mut self, expiry: ExpiryPolicy) -> Self {
        self.settings.expiry = expiry;
        self
    }

    /// Sets how many live sessions a user may have, `None` for no limit. Default: 100, ending the
    /// least recently seen.
    #[must_use]
    pub fn with_limit(mut self, limit: impl Into<Option<UserLimit>>) -> Self {
        self.settings.limit = LimitPolicy::All(limit.into());
        self
    }

    /// Sets how many live sessions a user may have as a function of the session that is about to be
    /// created: by the user's role or plan, by the kind of session. `None` is no limit. Anonymous
    /// sessions have none.
    ///
    /// The function runs at each sign-in, must not block, and sees the record without its data and
    /// secrets being of any use to it.
    #[must_use]
    pub fn with_limit_by(
        mut self,
        limit: impl Fn(&SessionRecord) -> Option<UserLimit> + Send + Sync + 'static,
    ) -> Self {
        self.settings.limit = LimitPolicy::By(Arc::new(limit));
        self
    }

    /// Sets the rules that requests must satisfy besides the token. Default: none that sign anybody
    /// out.
    #[must_use]
    pub fn with_rules(mut self, rules: RuleSet) -> Self {
        self.settings.rules = rules;
        self
    }

    /// Sets how new secrets are written. Default: 256 bits as base64url.
    #[must_use]
    pub fn with_secret_format(mut self, format: SecretFormat) -> Self {
        self.settings.secret_format = format;
        self
    }

    /// Sets how secrets are hashed. Default: SHA-256 without a pepper.
    #[must_use]
    pub fn with_hasher(mut self, hasher: SecretHasher) -> Self {
        self.hasher = hasher;
        self
    }

    /// Sets the bounds of session data. Default: 64 KiB, 32 levels, 10,000 values.
    #[must_use]
    pub fn with_data_limits(mut self, limits: DataLimits) -> Self {
        self.settings.data_limits = limits;
        self
    }

    /// Sets what `save` does when two requests changed the same key. Default: fail.
    #[must_use]
    pub fn with_conflict_policy(mut self, policy: ConflictPolicy) -> Self {
        self.settings.conflict = policy;
        self
    }

    /// Sets where validation looks before it asks the store. Default: nowhere; every validation
    /// reads the store.
    #[must_use]
    pub fn with_tiers(mut self, tiers: Tiers) -> Self {
        self.tiers = Some(tiers);
        self
    }

    /// Sets how long one operation may wait for the store, retries included. Default: 2 s; 1 ms to
    /// 60 s.
    #[must_use]
    pub fn with_store_deadline(mut self, deadline: Duration) -> Self {
        self.settings.store_deadline = deadline;
        self
    }

    /// Sets how old a secret may be before a request replaces it, `None` for never. Default: never;
    /// 1 s to 400 days.
    #[must_use]
    pub fn with_rotation(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.settings.rotate_after = after.into();
        self
    }

    /// Sets how long a secret that the timer replaced still counts, and gives its successor again,
    /// after the successor was presented first. Default: 30 s; at most 300 s, and at most the
    /// [rotation interval](Self::with_rotation). Before that it counts however long it takes.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// Sets the lifetimes of pairs, and what ends when a spent refresh token is presented. Default:
    /// 15 minutes and 30 days, the session.
    #[must_use]
    pub fn with_refresh(mut self, policy: RefreshPolicy) -> Self {
        self.settings.refresh = policy;
        self
    }

    /// Sets how long a further factor counts, `None` for as long as the session. Default: `None`.
    #[must_use]
    pub fn with_step_up_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.settings.step_up_lifetime = lifetime.into();
        self
    }

    /// Sets the application's table of users. Default: none; then every user is active, and
    /// credentials do not end sessions.
    #[must_use]
    pub fn with_directory(mut self, directory: impl UserDirectory) -> Self {
        self.directory = Some(Arc::new(directory));
        self
    }

    /// Sets how long the directory's answers are remembered: the longest time until a disabled
    /// user, or a changed password, is noticed. Default: 30 s; at most 1 h.
    #[must_use]
    pub fn with_directory_lag(mut self, lag: Duration) -> Self {
        self.settings.directory_lag = lag;
        self
    }

    /// Sets the receiver of events about sessions. Default: none.
    #[must_use]
    pub fn with_event_sink(mut self, sink: impl EventSink) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// Sets how many loads go to the store at the same time; what arrives meanwhile is gathered
    /// into the next load, up to 256 ids. Default: the number in the store's capabilities.
    #[must_use]
    pub fn with_concurrent_loads(mut self, loads: NonZeroUsize) -> Self {
        self.settings.concurrent_loads = Some(loads);
        self
    }

    /// Sets how often a session's use is written. Default: once per 60 s, and never less than ten
    /// times per idle timeout; at most 1 h. So idleness is enforced somewhere between the idle
    /// timeout less this interval and the idle timeout.
    #[must_use]
    pub fn with_touch_interval(mut self, interval: Duration) -> Self {
        self.settings.touch_interval = interval;
        self
    }

    /// Sets how long uses are collected before they are written as one batch. Default: 1 s; 1 ms to
    /// 60 s. A crash loses at most this much, and what it loses ends sessions earlier, not later.
    #[must_use]
    pub fn with_touch_flush(mut self, interval: Duration) -> Self {
        self.settings.touch_flush = interval;
        self
    }

    /// Sets how many sessions may wait to be written as used. Default: 100,000. Beyond that, uses
    /// are dropped and counted.
    #[must_use]
    pub fn with_touch_capacity(mut self, sessions: usize) -> Self {
        self.settings.touch_capacity = sessions;
        self
    }

    /// Sets how often expired sessions are ended and old ones purged in the background, `None` for
    /// never (run [`sweep`](SessionManager::sweep) elsewhere then). Default: every 60 s, give or
    /// take 20 %.
    #[must_use]
    pub fn with_sweep_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.sweep_interval = interval.into();
        self
    }

    /// Sets by how much the wall clocks of the nodes may differ. Default: 30 s; at most 5 min.
    ///
    /// Within it, every guarantee holds: "log out everywhere" ends a session that a node whose
    /// clock is ahead has just created, and a copy that such a node made counts. A larger
    /// difference lets a session that was created ahead of time survive a log-out everywhere.
    #[must_use]
    pub fn with_clock_skew(mut self, skew: Duration) -> Self {
        self.settings.clock_skew = skew;
        self
    }

    /// Sets how often the second step of a sign-in may be tried. Default: 5; 1 to 100. See
    /// [`count_attempt`](SessionManager::count_attempt).
    #[must_use]
    pub fn with_sign_in_attempts(mut self, attempts: NonZeroU32) -> Self {
        self.settings.sign_in_attempts = attempts;
        self
    }

    /// Sets how much of a client's address and user agent is kept. Default: all.
    #[must_use]
    pub fn with_recording(mut self, recording: Recording) -> Self {
        self.settings.recording = recording;
        self
    }

    /// Sets how long ended sessions stay as history. Default: 30 days. At least the store deadline
    /// plus the clock skew plus [`max_stale`](Tiers::with_max_stale); with
    /// [`ensure`](SessionManager::ensure), longer than the external tokens live.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Sets the clock. Default: the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the generator of secrets. Default: the system's.
    ///
    /// # Security
    /// For tests.
    #[must_use]
    pub fn with_random(mut self, random: impl SecureRandom) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// Builds the manager and starts its workers on the current tokio runtime.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a setting out of its bounds, for settings
    /// that cannot work together, for data limits above what the store takes, or outside of a tokio
    /// runtime. The message names the rule.
    pub fn build(self) -> Result<SessionManager> {
        self.settings.check()?;
        self.settings.check_together(self.tiers.as_ref())?;
        let largest = self.settings.data_limits.max_bytes.saturating_add(LIBRARY_DATA);
        if largest > self.store.capabilities().max_payload {
            let detail = "the data limit and 4 KiB for the library are above what the store takes: \
                          lower the limit, or raise the store's `max_payload`";
            return Err(Error::invalid("build", detail));
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::invalid("build", "a manager is built inside of a tokio runtime"));
        }
        SessionManager::start(self)
    }
}

impl fmt::Debug for SessionManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManagerBuilder")
            .field("store", &self.store)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
