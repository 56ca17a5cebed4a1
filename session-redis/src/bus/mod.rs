//! Notifies the other nodes of changes, over pub/sub.

mod transport;

use std::fmt;

use session_core::{BusHealth, Invalidation, InvalidationBus, Result, Scope, Subscription, async_trait};
use session_runtime::bus::Bus;

use crate::connection::Connection;
use crate::keys::KeyPrefix;
use transport::RedisTransport;

/// An [`InvalidationBus`] over Redis pub/sub: other nodes receive a change a moment later.
///
/// Pub/sub stores nothing: a disconnected subscriber misses messages, and the server does not
/// report the loss. This bus detects losses and sends
/// [`BusEvent::Resync`](session_core::BusEvent::Resync). It needs neither keyspace notifications
/// nor any other setting of the server, and stores nothing. All messages use one channel,
/// `{prefix}:changes`; buses with the same prefix receive each other's messages. The databases of a
/// server share its channels, so applications that share a server need different prefixes.
///
/// How a loss is noticed, what health means and when subscribers resync is the same for all buses:
/// see [`session_runtime::bus`]. As Redis repeats nothing, a lost connection is always a resync.
///
/// # Connections and tasks
/// Publishing uses the given [`Connection`], together with all other calls. All subscriptions of a
/// bus share one more connection and one task, which starts with the first publication or
/// subscription, on its runtime. Dropping the last subscription closes the second connection. The
/// task, and with it the heartbeats, ends when the bus, its clones and its subscriptions are
/// dropped. A node that only publishes sends heartbeats as well, or the loss of its last message
/// would go unnoticed.
///
/// With Sentinels, the second connection goes to the primary too. In a cluster, messages reach all
/// nodes over the cluster's own bus, so subscribers may be connected to any of them.
///
/// | bound | value | reason |
/// |---|---|---|
/// | messages received and not handled yet | 1,024 | an overflow is a resync |
/// | all others | | those of [`session_runtime::bus`] |
///
/// # Security
/// Messages contain ids, revisions and whether a session ended; none of them grants access. The
/// channel is not authenticated: a client that may publish to it can clear caches, as often as
/// every second, claim that a session ended, and hide a node's changes by using their numbers
/// first. It can never bring an ended session back, because a message only ever means "look again".
/// The server's [access
/// control](https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/) decides
/// which clients may run `PUBLISH` on the channel. A message that is not in the format of a bus is
/// dropped, [counted](Self::ignored), and logged at most once a minute.
///
/// # Examples
/// ```no_run
/// # async fn start(id: session_core::SessionId) -> session_core::Result<()> {
/// use session_core::{BusEvent, Invalidation, InvalidationBus, Revision, Scope};
/// use session_redis::{Connection, RedisBus};
///
/// let bus = RedisBus::new(Connection::open("redis://127.0.0.1/")?);
/// let mut events = bus.subscribe().await?;
/// let scope = Scope::new("shop-production", Some("session-kit"))?;
/// bus.publish(scope, &[Invalidation::new(id, Revision::FIRST.next(), true)]).await?;
/// match events.next().await {
///     BusEvent::Changed(of, changes) if of == scope => println!("drop copies: {changes:?}"),
///     BusEvent::Changed(..) => {} // sessions of another application
///     _ => println!("drop all copies"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisBus(Bus<RedisTransport>);

impl RedisBus {
    /// Makes a bus with the default prefix, `session-kit`. Opens nothing.
    ///
    /// A [`Connection`] that was made from one of the application's can publish, but not subscribe.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self::on(connection, &KeyPrefix::default())
    }

    /// Sets the prefix of the channel's name. The result is another node than this one.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "as other setters")]
    pub fn with_prefix(self, prefix: KeyPrefix) -> Self {
        Self::on(self.0.transport().connection(), &prefix)
    }

    fn on(connection: Connection, prefix: &KeyPrefix) -> Self {
        Self(Bus::new(RedisTransport::new(connection, prefix)))
    }

    /// Returns how many messages were ignored because they are not in this version's format.
    ///
    /// Another program uses the channel, or a node of another release.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.0.ignored()
    }
}

#[async_trait]
impl InvalidationBus for RedisBus {
    /// Sends changes of one scope, at most 500 at once. No changes are no message.
    ///
    /// When it returns, the server has passed them to every connected node.
    ///
    /// # Errors
    /// - [`Invalid`](session_core::ErrorKind::Invalid) for more than 500; nothing was sent.
    /// - [`Unavailable`](session_core::ErrorKind::Unavailable) and
    ///   [`Timeout`](session_core::ErrorKind::Timeout) when the server does not answer. The message
    ///   has used its number, so the other nodes resync if they did not receive it.
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()> {
        self.0.publish(scope, changes).await
    }

    /// Subscribes, and returns when this node has received its own heartbeat.
    ///
    /// # Errors
    /// - [`Unavailable`](session_core::ErrorKind::Unavailable) and
    ///   [`Timeout`](session_core::ErrorKind::Timeout) when it cannot be subscribed now, after 3
    ///   seconds at most.
    /// - [`Unsupported`](session_core::ErrorKind::Unsupported) if the connection was made by the
    ///   application.
    ///
    /// # Cancellation
    /// Nothing is subscribed.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        self.0.subscribe().await
    }

    fn health(&self) -> BusHealth {
        self.0.health()
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisBus").field(&self.0).finish()
    }
}
