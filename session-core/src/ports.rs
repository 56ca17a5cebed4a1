//! The smaller, optional interfaces through which the manager uses its environment.

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

/// Locates addresses.
///
/// # Contract
/// Advisory: no answer, a late answer and a wrong answer must all be harmless, so there is no
/// error.
///
/// # Security
/// Callers do not look up private or reserved addresses. A resolver that queries another service
/// discloses your users' addresses to it.
///
/// # Cancellation
/// Has no effect.
#[async_trait]
pub trait GeoResolver: fmt::Debug + Send + Sync + 'static {
    /// Returns the known location of an address.
    async fn resolve(&self, ip: IpAddr) -> Option<GeoLocation>;
}

/// Parses user agents.
///
/// # Contract
/// Pure, linear in the length of the text, and free of panics for every text.
pub trait UserAgentParser: fmt::Debug + Send + Sync + 'static {
    /// Returns the device that the text describes; fields that it does not contain are `None`.
    fn parse(&self, user_agent: &str) -> Device;
}

/// The current state of a user in the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserStatus {
    /// Whether the user may use the service.
    pub active: bool,
    /// A number that changes whenever the user's credentials change.
    pub credential_version: u64,
}

impl UserStatus {
    /// Describes a user.
    #[must_use]
    pub const fn new(active: bool, credential_version: u64) -> Self {
        Self { active, credential_version }
    }
}

/// The application's directory of users.
///
/// # Contract
/// `None` means that there is no such user, and signs the user out. A failed lookup is an error and
/// signs no user out.
///
/// # Errors
/// Any kind but [`NotFound`](ErrorKind::NotFound), which is `Ok(None)`.
///
/// # Cancellation
/// Has no effect.
#[async_trait]
pub trait UserDirectory: fmt::Debug + Send + Sync + 'static {
    /// Returns the user's status.
    ///
    /// # Errors
    /// If the directory cannot be reached.
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

/// One event in the life of a session. Holds public identifiers only: no token, no address, no
/// data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The time of the event.
    pub at: Timestamp,
    /// The kind.
    pub kind: EventKind,
    /// The session, if the event concerns one.
    pub session: Option<SessionId>,
    /// The user.
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

/// Consumes events.
///
/// # Contract
/// A worker calls the sink through a bounded queue that counts its overflows, never on a request
/// path. A sink that blocks, fails or panics loses its own events and affects nothing else.
pub trait EventSink: fmt::Debug + Send + Sync + 'static {
    /// Consumes one event.
    fn emit(&self, event: &Event);
}

/// The change of a session, as sent to other nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Invalidation {
    /// The session.
    pub id: SessionId,
    /// Its revision after the change. A node with a newer copy ignores the message.
    pub revision: Revision,
    /// Whether the session ended.
    pub ended: bool,
}

impl Invalidation {
    /// Describes a change.
    #[must_use]
    pub const fn new(id: SessionId, revision: Revision, ended: bool) -> Self {
        Self { id, revision, ended }
    }
}

/// An event from a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusEvent {
    /// Sessions of a scope changed on another node.
    Changed(Scope, Vec<Invalidation>),
    /// Messages may have been lost: do not trust copies from before this event.
    Resync,
}

/// The state of a bus as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BusHealth {
    /// Messages may be missing. After a recovery, they or a [`BusEvent::Resync`] follow.
    Degraded,
    /// Every message of the other nodes arrives.
    Healthy,
}

/// Notifies other nodes of changes on this node. The module [`bus`](crate::bus) contains what such
/// a bus needs in addition to a transport.
///
/// # Contract
/// - Delivers at most once per node, in the order of each sender; does not deliver a node's own
///   messages back.
/// - Loss is never silent: after a gap, a reconnect or an overflow, the subscription delivers
///   either the missed messages or a [`BusEvent::Resync`].
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if the message could not be handed to the transport.
/// Callers continue: the bus makes caches fresher, but correctness does not depend on it.
///
/// # Security
/// Messages hold ids and revisions only.
///
/// # Cancellation
/// A message of a dropped `publish` may or may not have been sent.
#[async_trait]
pub trait InvalidationBus: fmt::Debug + Send + Sync + 'static {
    /// Publishes changes of sessions of one scope, at most [`MAX_BATCH`](crate::limits::MAX_BATCH)
    /// per call.
    ///
    /// # Errors
    /// If the changes could not be handed to the transport.
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()>;

    /// Starts to receive messages that are published from now on. Earlier messages are unknown: do
    /// not trust copies from before this call returned.
    ///
    /// # Errors
    /// If the subscription fails.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>>;

    /// Returns the state of the bus.
    fn health(&self) -> BusHealth;
}

/// The receiving end of a bus. Dropping it unsubscribes.
#[async_trait]
pub trait Subscription: fmt::Debug + Send {
    /// Waits for the next event. Never ends by itself: after a reconnect, either the missed
    /// messages or a [`BusEvent::Resync`] follow.
    ///
    /// # Cancellation
    /// No event is lost.
    async fn next(&mut self) -> BusEvent;
}

/// One request and its response, as kept in the activity log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Activity {
    /// When the request arrived.
    pub at: Timestamp,
    /// The identifier that links the response to the request.
    pub request_id: Arc<str>,
    /// The HTTP method.
    pub method: Arc<str>,
    /// The path, without the query.
    pub path: Arc<str>,
    /// The response's status and duration, once the request was answered.
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

/// Keeps the requests of a session for a bounded time.
///
/// # Contract
/// Best effort: never on a request path, bounded per session, with automatic expiry.
///
/// # Errors
/// The general ones; callers count them and continue.
///
/// # Cancellation
/// Any part of a batch may have been kept.
#[async_trait]
pub trait ActivityStore: fmt::Debug + Send + Sync + 'static {
    /// Adds to the log of a session.
    ///
    /// # Errors
    /// If the store cannot be reached.
    async fn append(&self, session: SessionId, activities: &[Activity]) -> Result<()>;

    /// Returns the latest activities of a session, newest first, at most `limit` and at most
    /// [`MAX_PAGE`](crate::limits::MAX_PAGE).
    ///
    /// # Errors
    /// If the store cannot be reached.
    async fn recent(&self, session: SessionId, limit: usize) -> Result<Vec<Activity>>;

    /// Erases the log of a session.
    ///
    /// # Errors
    /// If the store cannot be reached.
    async fn erase(&self, session: SessionId) -> Result<()>;
}
