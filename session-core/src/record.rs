//! The record: everything that a store keeps of one session, and the rules for changing it.

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

/// The version of a record: 1 when created, and one more for every write that changes it, ending included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(NonZeroU64);

impl Revision {
    /// The revision of a new record.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// Reads a stored revision.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for zero and for values beyond `i64::MAX`, which databases cannot hold.
    pub fn new(value: u64) -> Result<Self> {
        let value = NonZeroU64::new(value).filter(|value| i64::try_from(value.get()).is_ok());
        value.map(Self).ok_or_else(|| Error::invalid("parse", "a revision is between 1 and 2^63 - 1"))
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// Returns the revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SessionKind {
    /// A program with a bearer token.
    Api,
    /// A session whose identity another system vouches for. It has no secret of ours.
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
/// Records travel as `Arc<SessionRecord>`, so a load copies nothing. The fields are public because a backend has to read and
/// write each of them; [`check`](Self::check) states what they must satisfy together, and the methods state how a record may
/// change, so that a backend without transactions can apply the same rules as one with them.
///
/// # Security
/// `Debug` prints no secret, no data and no label; what it prints is safe in a log apart from the address and user agent.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
// In the order in which a validation reads: what it needs is at the beginning, in two or three lines of the machine's cache. Rust's own
// order spread it over four or five, and 10,000 sessions took half as long again.
#[repr(C)]
pub struct SessionRecord {
    /// The public name and primary key. Never changes.
    pub id: SessionId,
    /// The absolute end.
    pub expires_at: Timestamp,
    /// When it was last used, as far as that was written. Never moves back.
    pub last_seen_at: Timestamp,
    /// The longest time without use, in whole milliseconds.
    pub idle_timeout: Option<Duration>,
    /// The session token's hashes. `None` for external and for ended sessions.
    pub secret: Option<SecretState>,
    /// When it began. Never changes.
    pub created_at: Timestamp,
    /// When the user last authenticated.
    pub authenticated_at: Timestamp,
    /// The version.
    pub revision: Revision,
    /// The user, `None` for an anonymous session. Never changes.
    pub user_id: Option<UserId>,
    /// The user's name for lists, 1 to 255 bytes.
    pub username: Option<String>,
    /// What the session is for. Never changes.
    pub kind: SessionKind,
    /// Active or ended.
    pub state: SessionState,
    /// Whether the user asked to be remembered.
    pub remembered: bool,
    /// The version of the user's credentials at the moment that their check began.
    pub credential_version: Option<u64>,
    /// The refresh token's hashes.
    pub refresh: Option<RefreshState>,
    /// How the user authenticated, oldest first, at most 16 events.
    pub auth: Vec<AuthEvent>,
    /// The client at sign-in.
    pub client: Arc<ClientInfo>,
    /// Where it was last used from. Moves with `last_seen_at`.
    pub last_client: LastClient,
    /// The device, by its cookie.
    pub device_id: Option<DeviceId>,
    /// The user's own name for the device, 1 to 100 characters.
    pub label: Option<String>,
    /// The encoded [`SessionData`](crate::SessionData), opaque to a store; empty if there is none.
    pub data: Arc<[u8]>,
}

impl SessionRecord {
    /// Makes an active, anonymous web session without secret, from its id, beginning and absolute end.
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

    /// Returns the end, if it ended.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            SessionState::Ended(ended) => Some(ended),
            SessionState::Active => None,
        }
    }

    /// Judges the deadlines, see [`ExpiryPolicy::evaluate`].
    #[must_use]
    #[inline]
    pub fn expiry(&self, now: Timestamp) -> Expiry {
        ExpiryPolicy::evaluate(self, now)
    }

    /// Returns true if the session is neither ended nor past a deadline.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended().is_none() && self.expiry(now).is_live()
    }

    /// Returns true if the session has not ended. It may be past a deadline and wait for the sweep: see
    /// [`is_live`](Self::is_live).
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.ended().is_none()
    }

    /// Folds state and deadlines to one of the four classic words.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> SessionStatus {
        match self.ended() {
            Some(ended) => ended.reason.status(),
            None if self.expiry(now).is_live() => SessionStatus::Active,
            None => SessionStatus::Expired,
        }
    }

    /// Returns the assurance level that the recorded authentications are worth, however long ago they were.
    #[must_use]
    pub fn assurance(&self) -> AssuranceLevel {
        AssuranceLevel::of(&self.auth)
    }

    /// Returns the assurance level at `now`, where a further factor counts for `step_up_lifetime` only; `None` for as long as the
    /// session. What the session was signed in with never falls below one factor.
    ///
    /// The one place that judges decay: the rule [`RequiredAssurance`](crate::rules::RequiredAssurance), the handle and the views of
    /// the manager all ask here.
    #[must_use]
    pub fn assurance_at(&self, now: Timestamp, step_up_lifetime: Option<Duration>) -> AssuranceLevel {
        let whole = self.assurance();
        let Some(lifetime) = step_up_lifetime else { return whole };
        let fresh = |event: &&AuthEvent| now.since(event.at) < lifetime;
        AssuranceLevel::of(self.auth.iter().filter(fresh)).max(whole.min(AssuranceLevel::Aal1))
    }

    /// Adds an authentication. Beyond 16 events, drops the oldest one whose method was used again since; if every method was used
    /// once, the oldest event. So a method that counts for the assurance level is not pushed out by repetitions of another one.
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

    /// Checks what every store can keep, so that bad input fails before any I/O and the same on all of them.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first rule that is broken.
    pub fn check(&self) -> Result<()> {
        let ended = self.ended().is_some();
        let holds_secret = self.secret.is_some() || self.refresh.is_some();
        let user_elsewhere = self.user_id.as_ref().is_some_and(|user| user.shard() != self.id.shard());
        let rules = [
            (user_elsewhere, "the id was not made for this user"),
            (self.expires_at <= self.created_at, "a session ends after its beginning"),
            (self.expires_at.since(self.created_at) > MAX_LIFETIME, "a session lasts at most 400 days"),
            (self.last_seen_at < self.created_at, "a session is seen after its beginning"),
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
                "an authentication method has another name",
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
        if let Some((_, rule)) = rules.into_iter().find(|(broken, _)| *broken) {
            return Err(Error::invalid("check", rule));
        }
        check_text(self.username.as_deref(), MAX_USER_ID)?;
        check_text(self.label.as_deref(), 4 * MAX_LABEL)?;
        self.last_client.check()?;
        self.client.check()
    }

    /// Returns this record as it is after an end: without data and secrets, one revision on.
    #[must_use]
    pub fn into_ended(mut self, ended: Ended) -> Self {
        self.state = SessionState::Ended(ended);
        self.revision = self.revision.next();
        self.secret = None;
        self.refresh = None;
        self.data = Arc::default();
        self
    }

    /// Returns this ended record without anything that tells whose it was: no user, name, client, device, label or authentication, one
    /// revision on. The id, the times and the reason of the end stay.
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

    /// Returns the record that a successful update of this stored one by `new` leaves: what never changes is kept, the
    /// later sighting stands, and the revision is one on.
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

    /// Returns whether a touch that arrives at `now` moves this record: it is active, the touch is later than what is known, and
    /// the session's deadline lies after both the touch and `now`.
    #[must_use]
    pub fn accepts(&self, touch: &Touch, now: Timestamp) -> bool {
        touch.last_seen_at > self.last_seen_at && self.is_live(touch.last_seen_at.max(now))
    }

    /// Moves the last-seen time forward if the record [accepts](Self::accepts) the touch. Returns whether it moved.
    pub fn touch(&mut self, touch: &Touch, now: Timestamp) -> bool {
        let counts = self.accepts(touch, now);
        if counts {
            self.last_seen_at = touch.last_seen_at;
            self.last_client = touch.last_client.clone();
        }
        counts
    }

    /// Returns this record at another revision, as a write left it.
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

/// What databases without unsigned integers cannot hold.
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
