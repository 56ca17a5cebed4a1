//! The store of record: the trait that every backend implements, and what its methods take and return.
//!
//! Rule zero: **a store never reads a clock.** Times are arguments, and the caller decides what is live. A time to live that
//! the database enforces is garbage collection only, always later than the logical end.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;

use crate::client::LastClient;
use crate::end::{EndReason, Ended};
use crate::error::{Error, Result};
use crate::id::{DeviceId, SessionId, UserId};
use crate::limits::{MAX_BATCH, MAX_DATA, MAX_PAGE};
use crate::record::{Revision, SessionKind, SessionRecord};
use crate::time::Timestamp;

/// A place that keeps sessions.
///
/// This trait is for backend authors; applications use the manager. It has eleven methods, no defaults, and one conformance
/// suite (`session-conformance`) that says whether an implementation is right.
///
/// # Contract
/// - Every method is atomic per session: another caller sees the record before or after, never between.
/// - `end` wins. Once it returned, no method of any caller makes that session active again.
/// - Every successful write but [`touch`](Self::touch) raises the revision by exactly one.
/// - Ids, user ids, names and data are compared and kept byte by byte: no case folding, no trimming, no normalisation.
/// - Times come back as the same millisecond.
/// - "Not there" and "cannot tell" are different answers: a failure of the database is never an empty result.
/// - A limit of zero does nothing. An enum's value that a backend does not know, because a later version of this crate added it, is
///   [`Unsupported`](crate::ErrorKind::Unsupported).
/// - Invalid arguments are refused with [`Invalid`](crate::ErrorKind::Invalid) before any I/O: a record that fails
///   [`SessionRecord::check`], or more than [`MAX_BATCH`] ids or rows. An empty batch is fine and does nothing.
///
/// # Errors
/// Besides the kinds named per method: [`Timeout`](crate::ErrorKind::Timeout) and
/// [`Unavailable`](crate::ErrorKind::Unavailable) when the database cannot be asked, in which case the operation may have
/// happened; [`Corrupt`](crate::ErrorKind::Corrupt) when what is stored cannot be understood, in which case the row is left
/// alone; [`Other`](crate::ErrorKind::Other) for everything else.
///
/// # Security
/// Arguments come from callers that may pass on what a client sent: user ids, names and labels are untrusted text and must
/// reach the database as parameters. No error and no log line carries data, hashes or tokens.
///
/// # Cancellation
/// A future that is dropped at any await point leaves the old state or the new state, and no transaction, lock or connection
/// slot behind.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session store",
    note = "a store implements all eleven methods of `SessionStore`; `Arc<S>` and `Box<S>` of a store are stores too"
)]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Describes the backend: its name, its bounds, and what survives a crash.
    ///
    /// No safety guarantee is optional, so nothing here switches one off.
    fn capabilities(&self) -> Capabilities;

    /// Inserts a new record, under a limit if one is given, and returns the records that had to end for it.
    ///
    /// # Contract
    /// - Insert only. If the id is stored, active or ended, nothing is written.
    /// - With a limit, counting the user's live sessions, ending the surplus (or refusing) and inserting are one atomic step: at
    ///   no moment are more than `max` of them live, however many callers create at once.
    /// - Sessions past a deadline at [`SessionLimit::now`] do not count and are not ended here.
    /// - [`AlreadyExists`](crate::ErrorKind::AlreadyExists) comes before [`LimitExceeded`](crate::ErrorKind::LimitExceeded), and nobody is
    ///   evicted for an id that is taken. Of sessions that are equally old (or equally long unseen), the one with the smaller id goes first.
    /// - Evicted records end as [`LimitEvicted`](EndReason::LimitEvicted) at `limit.now` by the system, and are returned as
    ///   [`end`](Self::end) returns them.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists); [`LimitExceeded`](crate::ErrorKind::LimitExceeded) with the live sessions
    /// (redacted); [`Invalid`](crate::ErrorKind::Invalid) for a record that is ended, has a revision other than
    /// [`Revision::FIRST`], holds more data than [`Capabilities::max_payload`], or is anonymous under a limit.
    ///
    /// # Security
    /// An upsert here lets an attacker take over an id; a count before the insert lets parallel sign-ins pass the limit.
    ///
    /// # Cancellation
    /// The session is there whole, with its evictions, or not at all.
    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>>;

    /// Returns the stored records among the given ids: live, expired and ended ones alike, in any order, each once.
    ///
    /// # Contract
    /// - One round trip, and never a write.
    /// - An id that is not stored is not in the result, and that is not an error.
    /// - Later than every successful write that returned before the call: no lagging replica.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if any of the rows cannot be understood, or names another id than it was asked for
    /// (the connection is dropped then, its replies may be swapped). A caller that needs the other rows asks again, one by one.
    ///
    /// # Security
    /// The ids come from clients. Nothing is created, counted or extended because of them.
    ///
    /// # Cancellation
    /// Nothing happens.
    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>>;

    /// Replaces an active record of a known revision, and returns the new revision.
    ///
    /// # Contract
    /// - Succeeds only if the row exists, is active and has the `expected` revision; then the stored revision is
    ///   `expected.next()`, whatever `record.revision` says.
    /// - `id`, `user_id`, `kind` and `created_at` keep their stored values.
    /// - `last_seen_at` and `last_client` do not move back: if the stored sighting is later, both stand. See
    ///   [`SessionRecord::updated_by`].
    /// - Never inserts.
    /// - The new record stems from the stored one: that both together satisfy [`SessionRecord::check`] is the caller's part.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`Ended`](crate::ErrorKind::Ended) with the stored end, which wins over a conflict;
    /// [`Conflict`](crate::ErrorKind::Conflict) with the stored revision; [`Invalid`](crate::ErrorKind::Invalid) for an ended record
    /// (sessions end through [`end`](Self::end)) or too much data.
    ///
    /// # Security
    /// A save that inserts, or does not look at the state, brings a signed-out session back.
    ///
    /// # Cancellation
    /// The old record or the new one.
    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision>;

    /// Moves sightings forward and returns how many sessions moved.
    ///
    /// # Contract
    /// - One round trip for the batch.
    /// - Only active rows, only forward, and only where the touch happened before the row's own deadline: a touch never revives.
    ///   See [`SessionRecord::touch`].
    /// - `last_client` moves with it. Nothing else changes, the revision included.
    /// - If an id is named several times, the session ends up at the latest of its touches that the rules above accept one after the
    ///   other, and counts once.
    /// - Unknown and ended ids are skipped.
    ///
    /// # Errors
    /// Only the general ones. Part of a batch may have moved then, and repeating it is harmless.
    ///
    /// # Security
    /// A touch that inserts, or does not look at the state, brings a signed-out session back.
    ///
    /// # Cancellation
    /// Any part of the batch may have moved.
    async fn touch(&self, batch: &[Touch]) -> Result<u64>;

    /// Ends every active session in the scope, and returns the records that *this* call ended, as they are now stored.
    ///
    /// # Contract
    /// - Wins over every other write and needs no revision. Sessions past a deadline but not ended yet are in the scope.
    /// - Data, secrets and refresh state are cleared; everything else stays as the history of the sign-in.
    /// - Idempotent: what was ended before keeps its first end and is not returned; unknown ids are skipped.
    /// - For a user, every session whose `create` returned before this call began is ended.
    /// - Two callers never both return the same session.
    ///
    /// # Errors
    /// Only the general ones. Part of a large scope may have ended then, and repeating the call ends the rest.
    ///
    /// # Security
    /// This is what revocation rests on: it may not be answered before it is durable.
    ///
    /// # Cancellation
    /// Each session is ended or untouched.
    async fn end(&self, scope: &EndScope, ended: &Ended) -> Result<Vec<Arc<SessionRecord>>>;

    /// Returns one page of records, newest first (by creation, then by id), without secrets, refresh state and data.
    ///
    /// # Contract
    /// - Keyset paging: a page begins after its cursor, so that rows created or removed meanwhile shift nothing.
    /// - `next` is present exactly if more records matched than the page holds.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a page size above [`MAX_PAGE`].
    ///
    /// # Security
    /// Use [`SessionRecord::redacted`]: a list is shown to people.
    ///
    /// # Cancellation
    /// Nothing happens.
    async fn list(&self, query: &ListQuery) -> Result<Page>;

    /// Ends up to `limit` active sessions that are past a deadline at `now`, and returns them as they are now stored.
    ///
    /// # Contract
    /// - The deadline is checked again inside the claim: a session that was touched meanwhile stays.
    /// - Each ends with the reason and the time of its deadline ([`SessionRecord::expiry`]), by the system.
    /// - Two sweepers never claim the same row, nor wait for each other.
    /// - Fewer than `limit` results mean that nothing was left to claim.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above [`MAX_BATCH`].
    ///
    /// # Security
    /// Unbounded, this would lock the table under a backlog.
    ///
    /// # Cancellation
    /// Each session is ended or untouched.
    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>>;

    /// Deletes up to `limit` ended sessions whose end is earlier than `before`, and returns how many.
    ///
    /// # Contract
    /// - Never touches an active session, however old.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above [`MAX_BATCH`].
    ///
    /// # Security
    /// An ended record is also the tombstone that keeps its session ended: `before` must lie further back than any request or
    /// cached copy lives.
    ///
    /// # Cancellation
    /// Any part of the batch may be gone.
    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64>;

    /// Removes from up to `limit` ended sessions of a user what tells whose they were, and returns how many.
    ///
    /// For the right to be forgotten. The record stays as a tombstone, so that its session stays ended, and is purged like others.
    ///
    /// # Contract
    /// - Only ended sessions of that user; active ones are left alone (end them first).
    /// - What stays and what goes is [`SessionRecord::into_erased`]; neither a listing by the user nor by the name finds them any more.
    /// - Fewer than `limit` results mean that nothing was left to erase.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above [`MAX_BATCH`].
    ///
    /// # Security
    /// Deleting the row instead would let a late write or a cached copy bring the session back.
    ///
    /// # Cancellation
    /// Each session is erased or untouched.
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64>;

    /// Counts what is stored. For operators, not for the request path.
    ///
    /// # Errors
    /// Only the general ones.
    async fn stats(&self, now: Timestamp) -> Result<StoreStats>;
}

/// What a backend is and can bear.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name in logs, metrics and errors: `"postgres"`.
    pub name: &'static str,
    /// How many `load` calls it serves at once without queueing, 2 by default.
    pub concurrent_loads: NonZeroUsize,
    /// The largest `data` of a record, in bytes, 64 KiB by default.
    pub max_payload: usize,
    /// What survives a crash or a failover.
    pub durability: Durability,
}

impl Capabilities {
    /// Describes a backend by its name and what survives.
    #[must_use]
    pub const fn new(name: &'static str, durability: Durability) -> Self {
        // Two is a constant above zero.
        let two = NonZeroUsize::MIN.saturating_add(1);
        Self { name, concurrent_loads: two, max_payload: MAX_DATA, durability }
    }

    /// Sets how many loads run at once.
    #[must_use]
    pub const fn with_concurrent_loads(mut self, loads: NonZeroUsize) -> Self {
        self.concurrent_loads = loads;
        self
    }

    /// Sets the largest `data` of a record, in bytes.
    #[must_use]
    pub const fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Checks a record that is about to be created: it fits, is active and at its first revision.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first rule that is broken.
    pub fn check_new(&self, record: &SessionRecord, limit: Option<&SessionLimit>) -> Result<()> {
        if record.revision != Revision::FIRST {
            return Err(Error::invalid("create", "a new record has the first revision"));
        }
        if limit.is_some() && record.user_id.is_none() {
            return Err(Error::invalid("create", "a limit needs a user"));
        }
        self.check_active(record)
    }

    /// Checks a record that is about to be written: it fits and is active.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first rule that is broken.
    pub fn check_active(&self, record: &SessionRecord) -> Result<()> {
        if record.ended().is_some() {
            return Err(Error::invalid("check", "a session ends through `end` only"));
        }
        if record.data.len() > self.max_payload {
            return Err(Error::invalid("check", "session data is larger than the store allows"));
        }
        record.check()
    }
}

/// Checks sightings before any I/O.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) above [`MAX_BATCH`], or for a country code that is none.
pub fn check_touches(batch: &[Touch]) -> Result<()> {
    check_batch("touch", batch.len())?;
    batch.iter().try_for_each(|touch| touch.last_client.check())
}

/// Checks a batch size before any I/O.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) above [`MAX_BATCH`].
pub fn check_batch(operation: &'static str, size: usize) -> Result<()> {
    match size {
        0..=MAX_BATCH => Ok(()),
        _ => Err(Error::invalid(operation, "more than 500 in one call")),
    }
}

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The loss of the server it was written to, because a majority has it.
    Failover,
    /// Nothing: it lives in this process.
    Process,
    /// A crash of the server, but a failover to an asynchronous replica may lose the last writes, revocations included.
    Server,
}

/// How many sessions a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLimit {
    /// Most live sessions, the new one included.
    pub max: NonZeroU32,
    /// What happens to the one too many.
    pub on_exceed: OnExceed,
    /// Which of the user's sessions count.
    pub scope: LimitScope,
    /// The time at which "live" is judged.
    pub now: Timestamp,
}

impl SessionLimit {
    /// Limits all sessions of the user.
    #[must_use]
    pub const fn new(max: NonZeroU32, on_exceed: OnExceed, now: Timestamp) -> Self {
        Self { max, on_exceed, scope: LimitScope::User, now }
    }

    /// Sets which sessions count.
    #[must_use]
    pub const fn with_scope(mut self, scope: LimitScope) -> Self {
        self.scope = scope;
        self
    }

    /// Returns whether a stored record counts against this limit when `new` is created.
    #[must_use]
    pub fn counts(&self, stored: &SessionRecord, new: &SessionRecord) -> bool {
        let in_scope = match self.scope {
            LimitScope::User => true,
            LimitScope::UserAndDeviceKind => stored.client.device.kind == new.client.device.kind,
        };
        in_scope && stored.user_id == new.user_id && stored.is_live(self.now)
    }

    /// Picks the records that must end so that one more fits, given all that count.
    ///
    /// # Errors
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) if the limit refuses instead.
    pub fn evict(
        &self,
        backend: &'static str,
        mut counted: Vec<Arc<SessionRecord>>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let allowed = usize::try_from(self.max.get() - 1).unwrap_or(usize::MAX);
        let surplus = counted.len().saturating_sub(allowed);
        if surplus == 0 {
            return Ok(Vec::new());
        }
        match self.on_exceed {
            OnExceed::EndLeastRecentlySeen => counted.sort_by_key(|record| (record.last_seen_at, record.id)),
            OnExceed::EndOldest => counted.sort_by_key(|record| (record.created_at, record.id)),
            OnExceed::Refuse => {
                let live = counted.iter().map(|record| Arc::new(record.redacted())).collect();
                return Err(Error::limit_exceeded(backend, "create", live));
            }
        }
        counted.truncate(surplus);
        Ok(counted)
    }
}

/// What a limit does when it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnExceed {
    /// End the session that was not used for the longest time.
    EndLeastRecentlySeen,
    /// End the session that was created first.
    EndOldest,
    /// Refuse the new session.
    Refuse,
}

/// Which sessions count against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitScope {
    /// All of the user.
    User,
    /// Those of the user on the same kind of device.
    UserAndDeviceKind,
}

/// One sighting of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Touch {
    /// Which session.
    pub id: SessionId,
    /// When it was used.
    pub last_seen_at: Timestamp,
    /// From where.
    pub last_client: LastClient,
}

impl Touch {
    /// Describes a sighting.
    #[must_use]
    pub const fn new(id: SessionId, last_seen_at: Timestamp, last_client: LastClient) -> Self {
        Self { id, last_seen_at, last_client }
    }
}

/// Which sessions to end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndScope {
    /// A user's sessions on one device.
    Device {
        /// The user.
        user: UserId,
        /// The device.
        device: DeviceId,
    },
    /// These, at most [`MAX_BATCH`].
    Ids(Vec<SessionId>),
    /// All of a user.
    User(UserId),
    /// All of a user but one.
    UserExcept {
        /// The user.
        user: UserId,
        /// The session that stays.
        keep: SessionId,
    },
}

impl EndScope {
    /// Names one session.
    #[must_use]
    pub fn id(id: SessionId) -> Self {
        Self::Ids(vec![id])
    }

    /// Returns whether a record is in the scope.
    #[must_use]
    pub fn contains(&self, record: &SessionRecord) -> bool {
        match self {
            Self::Device { user, device } => {
                record.user_id.as_ref() == Some(user) && record.device_id.as_ref() == Some(device)
            }
            Self::Ids(ids) => ids.contains(&record.id),
            Self::User(user) => record.user_id.as_ref() == Some(user),
            Self::UserExcept { user, keep } => record.user_id.as_ref() == Some(user) && record.id != *keep,
        }
    }
}

/// Which sessions to list.
///
/// # Examples
/// ```
/// use session_core::{ListQuery, StateFilter, Timestamp};
///
/// let query = ListQuery::default()
///     .with_user("ann".parse()?)
///     .with_state(StateFilter::Live(Timestamp::from_millis(1_767_225_600_000)))
///     .with_limit(20);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListQuery {
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only those with this user name.
    pub username: Option<String>,
    /// Only those in this state.
    pub state: StateFilter,
    /// Only those of this kind.
    pub kind: Option<SessionKind>,
    /// Only those created then or later.
    pub created_since: Option<Timestamp>,
    /// Only those after this position.
    pub after: Option<Cursor>,
    /// Most records on the page, at least 1, 100 by default.
    pub limit: usize,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            user: None,
            username: None,
            state: StateFilter::Any,
            kind: None,
            created_since: None,
            after: None,
            limit: 100,
        }
    }
}

impl ListQuery {
    /// Lists one user's sessions.
    #[must_use]
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Lists by user name.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Lists one state.
    #[must_use]
    pub const fn with_state(mut self, state: StateFilter) -> Self {
        self.state = state;
        self
    }

    /// Lists one kind.
    #[must_use]
    pub const fn with_kind(mut self, kind: SessionKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Lists what was created then or later.
    #[must_use]
    pub const fn with_created_since(mut self, since: Timestamp) -> Self {
        self.created_since = Some(since);
        self
    }

    /// Continues after a position.
    #[must_use]
    pub const fn with_after(mut self, after: Option<Cursor>) -> Self {
        self.after = after;
        self
    }

    /// Sets the page size.
    #[must_use]
    pub const fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the page size before any I/O.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for zero or more than [`MAX_PAGE`].
    pub fn check(&self) -> Result<()> {
        match self.limit {
            1..=MAX_PAGE => Ok(()),
            _ => Err(Error::invalid("list", "a page holds 1 to 500 records")),
        }
    }

    /// Returns whether a record belongs to the listing, this page or a later one.
    #[must_use]
    pub fn matches(&self, record: &SessionRecord) -> bool {
        let state = match self.state {
            StateFilter::Any => true,
            StateFilter::Ended => record.ended().is_some(),
            StateFilter::Live(now) => record.is_live(now),
        };
        state
            && self.user.as_ref().is_none_or(|user| record.user_id.as_ref() == Some(user))
            && self.username.as_ref().is_none_or(|name| record.username.as_ref() == Some(name))
            && self.kind.is_none_or(|kind| record.kind == kind)
            && self.created_since.is_none_or(|since| record.created_at >= since)
            && self.after.is_none_or(|after| Cursor::of(record) < after)
    }
}

/// Which states to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateFilter {
    /// All.
    Any,
    /// Ended ones.
    Ended,
    /// Those that are live at the given time: not ended, and before both deadlines.
    Live(Timestamp),
}

/// A position in a listing. Its text form is opaque and safe in a URL.
///
/// # Examples
/// ```
/// use session_core::{Cursor, SessionId, SystemRandom, Timestamp};
///
/// let now = Timestamp::from_millis(1_767_225_600_000);
/// let cursor = Cursor::new(now, SessionId::mint(now, None, &SystemRandom)?);
/// assert_eq!(cursor.to_string().parse::<Cursor>()?, cursor);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Cursor {
    /// The creation time of the record before the next page.
    pub created_at: Timestamp,
    /// Its id, which orders records of one millisecond.
    pub id: SessionId,
}

impl Cursor {
    /// Makes a position.
    #[must_use]
    pub const fn new(created_at: Timestamp, id: SessionId) -> Self {
        Self { created_at, id }
    }

    /// Returns the position of a record.
    #[must_use]
    pub const fn of(record: &SessionRecord) -> Self {
        Self::new(record.created_at, record.id)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.created_at.as_millis().to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || Error::invalid("parse", "not a cursor of a session list");
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| malformed())?;
        let bytes: [u8; 24] = bytes.try_into().map_err(|_| malformed())?;
        let [a, b, c, d, e, f, g, h, id @ ..] = bytes;
        let created_at = Timestamp::from_millis(i64::from_be_bytes([a, b, c, d, e, f, g, h]));
        Ok(Self::new(created_at, SessionId::from_bytes(id).map_err(|_| malformed())?))
    }
}

/// One page of a listing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Page {
    /// The records, newest first, redacted.
    pub records: Vec<Arc<SessionRecord>>,
    /// Where the next page begins, `None` on the last one.
    pub next: Option<Cursor>,
}

impl Page {
    /// Cuts what a query found to one page. `found` is in order and holds at least one record more than the page if there is
    /// a next one.
    #[must_use]
    pub fn cut(mut found: Vec<Arc<SessionRecord>>, limit: usize) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|record| Cursor::of(record));
        Self { records: found, next }
    }
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Live sessions.
    pub live: u64,
    /// Past a deadline and not swept yet.
    pub expired: u64,
    /// Ended, by reason. Reasons that do not occur are absent.
    pub ended: std::collections::BTreeMap<EndReason, u64>,
    /// Users with at least one live session.
    pub users: u64,
    /// The earliest creation time of what is stored.
    pub oldest: Option<Timestamp>,
    /// The latest.
    pub newest: Option<Timestamp>,
}
