//! Telling the other nodes what changed here, over pub/sub.

mod task;

use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;
use session_core::bus::{Outgoing, Publisher, Senders};
use session_core::{
    BusEvent, BusHealth, Error, Invalidation, InvalidationBus, Result, Scope, Subscription, async_trait,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, unconstrained};
use tokio::time::{Instant, timeout};

use crate::connection::Connection;
use crate::error::{NAME, Trouble};
use crate::keys::KeyPrefix;

/// An [`InvalidationBus`] over Redis pub/sub: what changed on one node is known to the others a moment later.
///
/// Pub/sub forgets: whoever is not connected misses what is said, and nobody is told. This bus notices, and says
/// [`BusEvent::Resync`]. It needs neither keyspace notifications nor any other setting of the server, and stores nothing. Everything
/// goes through one channel, `{prefix}:changes`; buses with the same prefix hear each other. As its databases do not separate a
/// server's channels, applications that share a server need different prefixes.
///
/// # How a loss is noticed
/// Each node counts its messages, and says once a second how far it has counted (a beat). A receiver resyncs when
///
/// - a number is left out, or a beat names another number than was heard last. A publication that failed, or whose caller gave up, has
///   used its number, so the others resync then, too;
/// - a node that was heard is silent for 3 seconds without having said farewell, because nobody repeats what it said last;
/// - its own connection was lost;
/// - a subscriber was too slow for its buffer. It alone resyncs, and goes on with what is new.
///
/// Whoever joins late does not know what was said before, so a resync follows in its first second, if anything was. Except for slow
/// subscribers there is at most one resync per second: the first at once, those of the next second together at its end.
///
/// # Health
/// A node listens to its own beats. While it hears them, and they are not older than 3 seconds, the bus is [healthy](BusHealth::Healthy).
/// Else it is degraded, the connection is replaced (after 50 ms, then more and more slowly up to once in one to two seconds), and when
/// a beat comes back, subscribers are given a resync and the bus is healthy again. A bus without a subscription hears nothing, so it is
/// [degraded](BusHealth::Degraded) until [`subscribe`](InvalidationBus::subscribe) has returned, and again when the last subscription
/// was dropped.
///
/// # Connections and tasks
/// Publishing goes over the [`Connection`] that is given, together with everything else. All subscriptions of a bus share one more
/// connection and one task, which begins with the first publication or subscription, on its runtime. With the last subscription the
/// second connection is closed; the task, and with it the beats, ends when the bus, its clones and its subscriptions are dropped. A
/// node that only publishes beats as well, else the loss of its last message would stay unknown.
///
/// With Sentinels, the second connection goes to the primary too. In a cluster, messages reach all nodes over the cluster's own
/// bus, so subscribers may be connected to any of them.
///
/// | bound | value | reason |
/// |---|---|---|
/// | changes in one message | 500, 12,546 bytes | [`MAX_BATCH`](session_core::limits::MAX_BATCH) |
/// | [`BEAT`](Self::BEAT) | 1 s | one small message per node and second; a loss is known a second later |
/// | [`SILENCE`](Self::SILENCE) | 3 s | two beats may be late; shorter than a process trusts its own copies |
/// | [`MAX_SENDERS`](Self::MAX_SENDERS) | 1,024 nodes | the longest unheard is forgotten, which is a resync |
/// | [`BUFFER`](Self::BUFFER) | 1,024 messages per bus | at most 16 MB, if all of them are full; what does not fit is a resync |
/// | opening a subscription | 3 s | [`SILENCE`](Self::SILENCE) |
///
/// # Security
/// Messages hold ids, revisions and whether a session ended; none of them opens anything. The channel is not authenticated: whoever may
/// publish to it can make caches forget, as often as every second, claim that a session ended, and hide a node's changes by using their
/// numbers first, but never bring an ended one back, because a message only ever says "look again". Who may run `PUBLISH` on it is the
/// server's [access control](https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/). Whatever is not a message of a
/// bus is dropped, [counted](Self::ignored), and logged at most once a minute.
///
/// # Examples
/// ```no_run
/// # async fn start(id: session_core::SessionId) -> session_core::Result<()> {
/// use session_core::{BusEvent, Invalidation, InvalidationBus, Revision, Scope};
/// use session_redis::{Connection, RedisBus};
///
/// let bus = RedisBus::new(Connection::open("redis://127.0.0.1/")?);
/// let mut others = bus.subscribe().await?;
/// let scope = Scope::new("shop-production", Some("session-kit"))?;
/// bus.publish(scope, &[Invalidation::new(id, Revision::FIRST.next(), true)]).await?;
/// match others.next().await {
///     BusEvent::Changed(of, changes) if of == scope => println!("forget copies: {changes:?}"),
///     BusEvent::Changed(..) => {} // sessions of another application
///     _ => println!("forget all copies"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisBus {
    shared: Arc<Shared>,
    life: Arc<Life>,
}

/// Held by the buses and the subscriptions: when it is gone, the task ends.
struct Life {
    task: Mutex<Option<JoinHandle<()>>>,
    stop: watch::Sender<()>,
}

struct Shared {
    connection: Connection,
    channel: String,
    publisher: Publisher,
    /// Held by the message that is given its number and put into the connection's queue.
    turn: Mutex<()>,
    /// The beginning of the clock that beats tell.
    born: Instant,
    events: broadcast::Sender<BusEvent>,
    subscriptions: watch::Sender<usize>,
    state: watch::Sender<State>,
    /// When the latest own beat that was heard had been sent, on the clock of beats.
    proof: AtomicU64,
    ignored: AtomicU64,
}

/// Where listening stands.
#[derive(Debug)]
enum State {
    /// Nobody wants to hear anything.
    Deaf,
    /// The last attempt failed, or the connection was lost. Another attempt follows.
    Down(Trouble),
    Healthy,
    Opening,
}

impl RedisBus {
    /// How often a node says that it is there, and what it said last: once a second.
    pub const BEAT: Duration = Publisher::BEAT;

    /// How long nothing may be heard of a node, this one included, before messages are taken for lost: 3 seconds.
    pub const SILENCE: Duration = Senders::SILENCE;

    /// How many other nodes are remembered: 1,024.
    pub const MAX_SENDERS: usize = Senders::MAX;

    /// How many messages a subscriber may be behind: 1,024.
    pub const BUFFER: usize = 1024;

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
        Self::on(self.shared.connection.clone(), &prefix)
    }

    fn on(connection: Connection, prefix: &KeyPrefix) -> Self {
        let shared = Arc::new(Shared {
            connection,
            channel: format!("{prefix}:changes"),
            publisher: Publisher::new(),
            turn: Mutex::new(()),
            born: Instant::now(),
            events: broadcast::Sender::new(Self::BUFFER),
            subscriptions: watch::Sender::new(0),
            state: watch::Sender::new(State::Deaf),
            proof: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
        });
        Self { shared, life: Arc::new(Life { task: Mutex::new(None), stop: watch::Sender::new(()) }) }
    }

    /// Returns how many messages were ignored because no bus of this version has written them.
    ///
    /// Somebody else uses the channel, or a node of another release.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.shared.ignored.load(Ordering::Relaxed)
    }

    /// Starts the task, unless it runs. It has ended if the runtime has that it ran on.
    fn start(&self) {
        let mut task = self.life.task.lock();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            self.shared.state.send_replace(State::Deaf);
            *task = Some(tokio::spawn(task::run(Arc::clone(&self.shared), self.life.stop.subscribe())));
        }
    }
}

#[async_trait]
impl InvalidationBus for RedisBus {
    /// Sends changes of one scope, at most 500 at once. None is nothing to send.
    ///
    /// When it returns, the server has passed them to every node that listens.
    ///
    /// # Errors
    /// - [`Invalid`](session_core::ErrorKind::Invalid) for more than 500; nothing was sent.
    /// - [`Unavailable`](session_core::ErrorKind::Unavailable) and [`Timeout`](session_core::ErrorKind::Timeout) when the server does
    ///   not answer. The message has used its number, so the others resync if they did not have it, a second after this node
    ///   can be heard again.
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let message = self.shared.publisher.changes(scope, changes)?;
        self.start();
        self.shared.send(message).await.map_err(|trouble| trouble.into_error("publish"))
    }

    /// Begins to receive, and returns when this node has heard itself.
    ///
    /// # Errors
    /// - [`Unavailable`](session_core::ErrorKind::Unavailable) and [`Timeout`](session_core::ErrorKind::Timeout) when it cannot be
    ///   subscribed now, after 3 seconds at most.
    /// - [`Unsupported`](session_core::ErrorKind::Unsupported) if the connection was made by the application.
    ///
    /// # Cancellation
    /// Nothing is subscribed.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        // First, because the listener may tell something before it is healthy.
        let events = self.shared.events.subscribe();
        self.start();
        let seat = Seat::taken(&self.shared);
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| matches!(state, State::Down(_) | State::Healthy));
        match timeout(2 * Self::SILENCE, settled).await {
            Ok(Ok(state)) => {
                if let State::Down(trouble) = &*state {
                    return Err(trouble.clone().into_error("subscribe"));
                }
            }
            // The task lives as long as its runtime.
            _ => return Err(Error::timeout(NAME, "subscribe")),
        }
        Ok(Box::new(Subscriber { events, _seat: seat, _life: Arc::clone(&self.life) }))
    }

    fn health(&self) -> BusHealth {
        // The task may be late to notice, if it is given no time.
        let in_time = || self.shared.proven().elapsed() <= Self::SILENCE;
        match *self.shared.state.borrow() {
            State::Healthy if in_time() => BusHealth::Healthy,
            _ => BusHealth::Degraded,
        }
    }
}

impl Shared {
    /// Sends a message, and opens the connection for it if there is none.
    async fn send(&self, message: Outgoing<'_>) -> Result<(), Trouble> {
        let sent = async {
            self.connection.ready().await?;
            let mut sending: Option<Sending<'_>> = None;
            poll_fn(|context| match &mut sending {
                Some(sending) => sending.as_mut().poll(context),
                None => {
                    // The first poll puts it into the connection's queue, so messages leave in the order of their numbers.
                    let _turn = self.turn.lock();
                    let delivery = self.deliver(message.bytes());
                    sending.insert(Box::pin(unconstrained(delivery))).as_mut().poll(context)
                }
            })
            .await
        };
        self.connection.within(sent).await
    }

    async fn deliver(&self, message: &[u8]) -> Result<(), Trouble> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(&self.channel).arg(message);
        match self.connection.run(&command).await? {
            Value::Int(_) => Ok(()),
            _ => {
                self.connection.distrust();
                Err(Trouble::strange("publish"))
            }
        }
    }

    async fn beat(&self) -> Result<(), Trouble> {
        self.send(self.publisher.beat(self.clock())).await
    }

    /// How long this node has lived, in milliseconds.
    fn clock(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the latest own beat that was heard had been sent.
    fn proven(&self) -> Instant {
        self.born + Duration::from_millis(self.proof.load(Ordering::Relaxed))
    }
}

type Sending<'s> = Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 's>>;

/// Wants messages to be received.
struct Seat(Arc<Shared>);

impl Seat {
    fn taken(shared: &Arc<Shared>) -> Self {
        shared.subscriptions.send_modify(|count| *count += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.subscriptions.send_modify(|count| *count -= 1);
    }
}

struct Subscriber {
    events: broadcast::Receiver<BusEvent>,
    _seat: Seat,
    _life: Arc<Life>,
}

#[async_trait]
impl Subscription for Subscriber {
    async fn next(&mut self) -> BusEvent {
        match self.events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => {
                // What is still in the buffer was said before now.
                self.events = self.events.resubscribe();
                BusEvent::Resync
            }
            // The seat has a sender.
            Err(RecvError::Closed) => pending().await,
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("waiting", &self.events.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus")
            .field("connection", &self.shared.connection)
            .field("channel", &self.shared.channel)
            .field("health", &self.health())
            .field("ignored", &self.ignored())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_is_told_before_the_bus_is_healthy_is_heard() {
        let bus = RedisBus::new(Connection::open("redis://127.0.0.1:1/").unwrap());
        // The test is the listener.
        *bus.life.task.lock() = Some(tokio::spawn(pending()));
        let mut subscribing = bus.subscribe();
        assert!(subscribing.as_mut().now_or_never().is_none());
        bus.shared.events.send(BusEvent::Resync).unwrap();
        bus.shared.state.send_replace(State::Healthy);
        let mut subscription = subscribing.await.unwrap();
        assert_eq!(subscription.next().now_or_never(), Some(BusEvent::Resync));
    }
}
