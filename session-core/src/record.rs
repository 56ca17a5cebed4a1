//! The record: everything that a store keeps of one session, and the rules for its changes.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::{AssuranceLevel, AuthEvent};
use crate::client::{ClientInfo, LastClient, check_text};
use crate::credentials::{RefreshState, SecretState};
use crate::end::{Actor, Ended, SessionState, SessionStatus, wire_names};
use crate::error::{Error, Result};
use crate::expiry::{Expiry, ExpiryPolicy, whole_millis};
use crate::id::{DeviceId, SessionId, UserId};
use crate::limits::{MAX_AUTH_EVENTS, MAX_LABEL, MAX_LIFETIME, MAX_SPENT, MAX_USER_ID};
use crate::store::Touch;
use crate::time::Timestamp;

/// The version of a record: 1 at creation, incremented by every write that changes the record,
/// including its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(NonZeroU64);

impl Revision {
    /// The revision of a new record.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// Creates a revision from its stored number.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for zero and for values above `i64::MAX`, which
    /// databases cannot hold.
    pub fn new(value: u64) -> Result<Self> {
        let value = NonZeroU64::new(value).filter(|value| i64::try_from(value.get()).is_ok());
        value.map(Self).ok_or_else(|| Error::invalid("parse", "a revision is between 1 and 2^63 - 1"))
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Returns the next revision.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The purpose of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SessionKind {
    /// A program with a bearer token.
    Api,
    /// A session whose identity is verified by another system. It has no secret of its own.
    External,
    /// A browser with a cookie.
    Web,
}

wire_names!(SessionKind {
    Api => "api",
    External => "external",
    Web => "web",
});

/// Everything that a store keeps of one session.
///
/// Records are passed as `Arc<SessionRecord>`, so a load copies nothing. The fields are public
/// because a backend has to read and write each of them. [`check`](Self::check) states the
/// conditions on all fields together, and the methods state how a record may change, so that
/// backends with and without transactions can apply the same rules.
///
/// # Security
/// `Debug` prints no secret, no data and no label. Its output is safe in a log, apart from the
/// address and the user agent.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
// In the order in which a validation reads: its fields come first, in two or three cache lines.
// Rust's own order spread them over four or five, and 10,000 sessions took half as long again.
#[repr(C)]
pub struct SessionRecord {
    /// The public identifier and primary key. Never changes.
    pub id: SessionId,
    /// The absolute end.
    pub expires_at: Timestamp,
    /// The last recorded use. Never decreases.
    pub last_seen_at: Timestamp,
    /// The maximum time without use, in whole milliseconds.
    pub idle_timeout: Option<Duration>,
    /// The session token's hashes. `None` for external and for ended sessions.
    pub secret: Option<SecretState>,
    /// The time of creation. Never changes.
    pub created_at: Timestamp,
    /// The time of the user's last authentication.
    pub authenticated_at: Timestamp,
    /// The version of the record.
    pub revision: Revision,
    /// The user, `None` for an anonymous session. Never changes.
    pub user_id: Option<UserId>,
    /// The user's name for lists, 1 to 255 bytes.
    pub username: Option<String>,
    /// The purpose of the session. Never changes.
    pub kind: SessionKind,
    /// Active or ended.
    pub state: SessionState,
    /// Whether the user chose "remember me".
    pub remembered: bool,
    /// The version of the user's credentials when their check began.
    pub credential_version: Option<u64>,
    /// The refresh token's hashes.
    pub refresh: Option<RefreshState>,
    /// The user's authentications, oldest first, at most 16 events.
    pub auth: Vec<AuthEvent>,
    /// The client at sign-in.
    pub client: Arc<ClientInfo>,
    /// The client of the last recorded use. Changes together with `last_seen_at`.
    pub last_client: LastClient,
    /// The device, identified by its cookie.
    pub device_id: Option<DeviceId>,
    /// The user's own name for the device, 1 to 100 characters.
    pub label: Option<String>,
    /// The encoded [`SessionData`](crate::SessionData), opaque to a store; empty if there is none.
    pub data: Arc<[u8]>,
}

impl SessionRecord {
    /// Creates an active, anonymous web session without a secret.
    #[must_use]
    pub fn new(id: SessionId, created_at: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            id,
            revision: Revision::FIRST,
            user_id: None,
            username: None,
            kind: SessionKind::Web,
            state: SessionState::Active,
            created_at,
            authenticated_at: created_at,
            last_seen_at: created_at,
            expires_at,
            idle_timeout: None,
            remembered: false,
            credential_version: None,
            secret: None,
            refresh: None,
            auth: Vec::new(),
            client: Arc::default(),
            last_client: LastClient::default(),
            device_id: None,
            label: None,
            data: Arc::default(),
        }
    }

    /// Returns the end of the session, if it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            SessionState::Ended(ended) => Some(ended),
            SessionState::Active => None,
        }
    }

    /// Evaluates the deadlines, see [`ExpiryPolicy::evaluate`].
    #[must_use]
    #[inline]
    pub fn expiry(&self, now: Timestamp) -> Expiry {
        ExpiryPolicy::evaluate(self, now)
    }

    /// Returns how a sweep ends the session, if it is active and past a deadline.
    #[must_use]
    pub fn overdue(&self, now: Timestamp) -> Option<Ended> {
        match self.expiry(now) {
            Expiry::Expired(deadline) if self.is_active() => {
                Some(Ended::new(deadline.reason, deadline.at, Actor::System))
            }
            _ => None,
        }
    }

    /// Returns true if the session is neither ended nor past a deadline.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended().is_none() && self.expiry(now).is_live()
    }

    /// Returns true if the session has not ended. It may be past a deadline and not swept yet: see
    /// [`is_live`](Self::is_live).
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.ended().is_none()
    }

    /// Returns the status that follows from the state and the deadlines.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> SessionStatus {
        match self.ended() {
            Some(ended) => ended.reason.status(),
            None if self.expiry(now).is_live() => SessionStatus::Active,
            None => SessionStatus::Expired,
        }
    }

    /// Returns the assurance level of the recorded authentications, however long ago they were.
    #[must_use]
    pub fn assurance(&self) -> AssuranceLevel {
        AssuranceLevel::of(&self.auth)
    }

    /// Returns the assurance level at `now`, where a further factor counts for `step_up_lifetime`
    /// only; with `None`, it counts as long as the session lives. The level of the sign-in never
    /// falls below one factor.
    ///
    /// The only place that evaluates the decay: the rule
    /// [`RequiredAssurance`](crate::rules::RequiredAssurance), the handle and the views of the
    /// manager all call it.
    #[must_use]
    pub fn assurance_at(&self, now: Timestamp, step_up_lifetime: Option<Duration>) -> AssuranceLevel {
        let whole = self.assurance();
        let Some(lifetime) = step_up_lifetime else { return whole };
        let fresh = |event: &&AuthEvent| now.since(event.at) < lifetime;
        AssuranceLevel::of(self.auth.iter().filter(fresh)).max(whole.min(AssuranceLevel::Aal1))
    }

    /// Adds an authentication. Beyond 16 events, drops the oldest one whose method was used again
    /// later; if every method was used once, drops the oldest event. So repetitions of one method
    /// do not displace another method that counts for the assurance level.
    pub fn push_auth(&mut self, event: AuthEvent) {
        self.authenticated_at = self.authenticated_at.max(event.at);
        self.auth.push(event);
        while self.auth.len() > MAX_AUTH_EVENTS {
            let repeated = |(index, event): (usize, &AuthEvent)| {
                self.auth[index + 1..].iter().any(|later| later.method == event.method).then_some(index)
            };
            let oldest = self.auth.iter().enumerate().find_map(repeated).unwrap_or(0);
            self.auth.remove(oldest);
        }
    }

    /// Checks the conditions that every store relies on, so that invalid input fails before any I/O
    /// and in the same way on all stores.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first violated condition.
    pub fn check(&self) -> Result<()> {
        let ended = self.ended().is_some();
        let holds_secret = self.secret.is_some() || self.refresh.is_some();
        let user_elsewhere = self.user_id.as_ref().is_some_and(|user| user.shard() != self.id.shard());
        let rules = [
            (user_elsewhere, "the id belongs to another user's shard"),
            (self.expires_at <= self.created_at, "a session ends after its creation"),
            (self.expires_at.since(self.created_at) > MAX_LIFETIME, "a session lasts at most 400 days"),
            (self.last_seen_at < self.created_at, "a session is not used before its creation"),
            (
                self.idle_timeout.is_some_and(|idle| !whole_millis(idle).is_ok_and(|whole| whole == idle)),
                "an idle timeout is whole milliseconds",
            ),
            (self.kind == SessionKind::External && holds_secret, "an external session has no secret"),
            (
                ended && (holds_secret || !self.data.is_empty()),
                "an ended session has neither secrets nor data",
            ),
            (self.auth.len() > MAX_AUTH_EVENTS, "too many authentications"),
            (
                !self.auth.iter().all(|event| event.method.is_storable()),
                "an authentication method's name is invalid or reserved",
            ),
            (self.credential_version.is_some_and(is_beyond_i64), "a credential version is at most 2^63 - 1"),
            (
                self.refresh.as_ref().is_some_and(|refresh| is_beyond_i64(refresh.generation)),
                "a generation is at most 2^63 - 1",
            ),
            (
                self.refresh.as_ref().is_some_and(|refresh| refresh.spent.len() > MAX_SPENT),
                "too many spent secrets",
            ),
            (self.username.as_deref() == Some(""), "a user name is at least 1 byte"),
            (self.label.as_deref() == Some(""), "a label is at least 1 character"),
            (
                self.label.as_ref().is_some_and(|label| label.chars().count() > MAX_LABEL),
                "a label is at most 100 characters",
            ),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(is_violated, _)| *is_violated) {
            return Err(Error::invalid("check", rule));
        }
        check_text(self.username.as_deref(), MAX_USER_ID)?;
        check_text(self.label.as_deref(), 4 * MAX_LABEL)?;
        self.last_client.check()?;
        self.client.check()
    }

    /// Returns this record as ended: without data and secrets, at the next revision.
    #[must_use]
    pub fn into_ended(mut self, ended: Ended) -> Self {
        self.state = SessionState::Ended(ended);
        self.revision = self.revision.next();
        self.secret = None;
        self.refresh = None;
        self.data = Arc::default();
        self
    }

    /// Returns this ended record without anything that identifies its user: no user, name, client,
    /// device, label or authentication. The revision is incremented; the id, the times and the
    /// reason of the end stay.
    #[must_use]
    pub fn into_erased(mut self) -> Self {
        if let SessionState::Ended(ended) = &mut self.state {
            ended.by = Actor::System;
        }
        self.revision = self.revision.next();
        self.user_id = None;
        self.username = None;
        self.credential_version = None;
        self.auth = Vec::new();
        self.client = Arc::default();
        self.last_client = LastClient::default();
        self.device_id = None;
        self.label = None;
        self
    }

    /// Returns the result of a successful update of this stored record by `new`: immutable fields
    /// keep their values, the later last-seen time wins, and the revision is incremented.
    #[must_use]
    pub fn updated_by(&self, new: &Self) -> Self {
        let mut result = new.clone();
        result.id = self.id;
        result.user_id.clone_from(&self.user_id);
        result.kind = self.kind;
        result.created_at = self.created_at;
        result.revision = self.revision.next();
        if self.last_seen_at > new.last_seen_at {
            result.last_seen_at = self.last_seen_at;
            result.last_client = self.last_client.clone();
        }
        result
    }

    /// Returns true if a touch that arrives at `now` updates this record: the record is active, the
    /// touch is later than the recorded use, and the session's deadline is later than both the
    /// touch and `now`.
    #[must_use]
    pub fn accepts(&self, touch: &Touch, now: Timestamp) -> bool {
        touch.last_seen_at > self.last_seen_at && self.is_live(touch.last_seen_at.max(now))
    }

    /// Updates the last-seen time and client if the record [accepts](Self::accepts) the touch.
    /// Returns true if it did.
    pub fn touch(&mut self, touch: &Touch, now: Timestamp) -> bool {
        let counts = self.accepts(touch, now);
        if counts {
            self.last_seen_at = touch.last_seen_at;
            self.last_client = touch.last_client.clone();
        }
        counts
    }

    /// Returns this record with the revision that a write stored.
    #[must_use]
    pub fn with_revision(mut self, revision: Revision) -> Self {
        self.revision = revision;
        self
    }

    /// Returns a copy without secrets and data, for lists.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self { secret: None, refresh: None, data: Arc::default(), ..self.clone() }
    }
}

/// Returns true for numbers that databases without unsigned integers cannot hold.
fn is_beyond_i64(number: u64) -> bool {
    i64::try_from(number).is_err()
}

impl std::fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRecord")
            .field("id", &self.id)
            .field("revision", &self.revision.get())
            .field("user_id", &self.user_id)
            .field("kind", &self.kind)
            .field("state", &self.state)
            .field("created_at", &self.created_at)
            .field("authenticated_at", &self.authenticated_at)
            .field("last_seen_at", &self.last_seen_at)
            .field("expires_at", &self.expires_at)
            .field("idle_timeout", &self.idle_timeout)
            .field("secret", &self.secret.is_some())
            .field("refresh", &self.refresh.is_some())
            .field("client", &self.client)
            .field("last_client", &self.last_client)
            .field("device_id", &self.device_id)
            .field("data_len", &self.data.len())
            .finish_non_exhaustive()
    }
}
