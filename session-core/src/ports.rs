//! The smaller interfaces: what the manager asks of the world around a session. All of them are optional.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::client::{Device, GeoLocation};
use crate::end::Ended;
use crate::error::{ErrorKind, Result};
use crate::id::{SessionId, UserId};
use crate::record::Revision;
use crate::scope::Scope;
use crate::time::Timestamp;

/// Says where an address is.
///
/// # Contract
/// Advisory: no answer, a late answer and a wrong answer must all be harmless, so there is no error.
///
/// # Security
/// Callers do not ask for private or reserved addresses. A resolver that asks another service shows it your users' addresses.
///
/// # Cancellation
/// Nothing happens.
#[async_trait]
pub trait GeoResolver: fmt::Debug + Send + Sync + 'static {
    /// Returns what is known about an address.
    async fn resolve(&self, ip: IpAddr) -> Option<GeoLocation>;
}

/// Reads a user agent.
///
/// # Contract
/// Pure, linear in the length of the text, and never panics, whatever the text.
pub trait UserAgentParser: fmt::Debug + Send + Sync + 'static {
    /// Returns what the text says about the device; fields that it does not say are `None`.
    fn parse(&self, user_agent: &str) -> Device;
}

/// A user as the application knows it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserStatus {
    /// Whether the user may use the service.
    pub active: bool,
    /// A number that changes whenever the user's credentials do.
    pub credential_version: u64,
}

impl UserStatus {
    /// Describes a user.
    #[must_use]
    pub const fn new(active: bool, credential_version: u64) -> Self {
        Self { active, credential_version }
    }
}

/// The application's table of users.
///
/// # Contract
/// `None` means that there is no such user, and signs them out; a failure to ask is an error and signs nobody out.
///
/// # Errors
/// Any kind but [`NotFound`](ErrorKind::NotFound), which is `Ok(None)`.
///
/// # Cancellation
/// Nothing happens.
#[async_trait]
pub trait UserDirectory: fmt::Debug + Send + Sync + 'static {
    /// Returns the user's status.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    async fn lookup(&self, user: &UserId) -> Result<Option<UserStatus>>;
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A session began.
    Created,
    /// A rule refused a request.
    Denied {
        /// The rule's name.
        rule: &'static str,
    },
    /// A session ended.
    Ended(Ended),
    /// The session is the user's first on its device.
    NewDevice,
    /// The refresh token was used.
    Refreshed,
    /// A spent refresh token was presented.
    Reuse,
    /// The secret was replaced.
    Rotated,
    /// The store of record failed.
    StoreError {
        /// The operation.
        operation: &'static str,
        /// The kind of failure.
        kind: ErrorKind,
    },
}

/// One entry of the life of a session. Holds public names only: no token, no address, no data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// Which session, if one is concerned.
    pub session: Option<SessionId>,
    /// Whose.
    pub user: Option<UserId>,
}

impl Event {
    /// Describes an event.
    #[must_use]
    pub const fn new(
        kind: EventKind,
        at: Timestamp,
        session: Option<SessionId>,
        user: Option<UserId>,
    ) -> Self {
        Self { at, kind, session, user }
    }
}

/// Takes events.
///
/// # Contract
/// Called from a worker, never on a request path, through a bounded queue whose overflow is counted. A sink that blocks, fails
/// or panics loses its own events and changes nothing else.
pub trait EventSink: fmt::Debug + Send + Sync + 'static {
    /// Takes one event.
    fn emit(&self, event: &Event);
}

/// What other nodes must know about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Invalidation {
    /// Which session.
    pub id: SessionId,
    /// Its revision now. Who holds a newer copy ignores the message.
    pub revision: Revision,
    /// Whether it ended.
    pub ended: bool,
}

impl Invalidation {
    /// Describes a change.
    #[must_use]
    pub const fn new(id: SessionId, revision: Revision, ended: bool) -> Self {
        Self { id, revision, ended }
    }
}

/// What a subscription delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// Sessions of a scope changed on another node.
    Changed(Scope, Vec<Invalidation>),
    /// Messages may have been lost: trust no copy that was taken before now.
    Resync,
}

/// The state of a bus as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BusHealth {
    /// Messages may be missing; when it recovers they follow, or a [`BusEvent::Resync`].
    Degraded,
    /// Every message of the other nodes arrives.
    Healthy,
}

/// Tells the other nodes what changed here. The module [`bus`](crate::bus) has what such a bus needs besides a transport.
///
/// # Contract
/// - At most once per node, in the order of each sender; own messages are not delivered back.
/// - Loss is never silent: after a gap, a reconnect or an overflow, what was missed is delivered after all, or a
///   [`BusEvent::Resync`] is.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) when the message could not be handed over. Callers go on: the bus makes caches
/// fresher, it is not what makes them right.
///
/// # Security
/// Messages hold ids and revisions only.
///
/// # Cancellation
/// A dropped `publish` may or may not have been sent.
#[async_trait]
pub trait InvalidationBus: fmt::Debug + Send + Sync + 'static {
    /// Sends changes of sessions of one scope, at most [`MAX_BATCH`](crate::limits::MAX_BATCH) at once.
    ///
    /// # Errors
    /// When they could not be handed over.
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()>;

    /// Begins to receive what is said from now on. What was said before is not known: trust no copy that was taken before this returned.
    ///
    /// # Errors
    /// When the subscription cannot be made.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>>;

    /// Returns the state of the bus.
    fn health(&self) -> BusHealth;
}

/// The receiving end of a bus. Ends when it is dropped.
#[async_trait]
pub trait Subscription: fmt::Debug + Send {
    /// Waits for the next event. Never ends by itself: after a lost connection is back, what was missed follows, or a
    /// [`BusEvent::Resync`].
    ///
    /// # Cancellation
    /// No event is lost.
    async fn next(&mut self) -> BusEvent;
}

/// One request and its response, as the activity log keeps it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Activity {
    /// When the request arrived.
    pub at: Timestamp,
    /// Ties the response to the request.
    pub request_id: Arc<str>,
    /// The HTTP method.
    pub method: Arc<str>,
    /// The path, without the query.
    pub path: Arc<str>,
    /// The response's status and how long it took, once it is there.
    pub response: Option<(u16, Duration)>,
}

impl Activity {
    /// Describes a request.
    #[must_use]
    pub fn new(
        at: Timestamp,
        request_id: impl Into<Arc<str>>,
        method: impl Into<Arc<str>>,
        path: impl Into<Arc<str>>,
    ) -> Self {
        Self { at, request_id: request_id.into(), method: method.into(), path: path.into(), response: None }
    }

    /// Adds the response.
    #[must_use]
    pub const fn with_response(mut self, status: u16, took: Duration) -> Self {
        self.response = Some((status, took));
        self
    }
}

/// Keeps what was requested within a session, for a bounded time.
///
/// # Contract
/// Best effort: never on a request path, bounded per session, expiring by itself.
///
/// # Errors
/// The general ones; callers count them and go on.
///
/// # Cancellation
/// Any part of a batch may have been kept.
#[async_trait]
pub trait ActivityStore: fmt::Debug + Send + Sync + 'static {
    /// Adds to the log of a session.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn append(&self, session: SessionId, activities: &[Activity]) -> Result<()>;

    /// Returns the latest activities of a session, newest first, at most `limit` and at most
    /// [`MAX_PAGE`](crate::limits::MAX_PAGE).
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn recent(&self, session: SessionId, limit: usize) -> Result<Vec<Activity>>;

    /// Forgets the log of a session.
    ///
    /// # Errors
    /// When the store cannot be asked.
    async fn erase(&self, session: SessionId) -> Result<()>;
}
