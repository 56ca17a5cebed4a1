//! An invalidation bus over any transport.
//!
//! A [`Transport`] moves bytes between nodes: it sends a message to all of them, and opens a
//! receiver. [`Bus`] does everything else once for all transports: it numbers messages and notices
//! gaps, sends a heartbeat each second, replaces lost connections, reports its health, and shares
//! one receiver among all subscriptions.
//!
//! # How a loss is noticed
//! Each node numbers its changes, and sends the latest number with a heartbeat each second. A
//! subscriber receives a [`Resync`](session_core::BusEvent::Resync) when
//!
//! - a number is missing, or a heartbeat names another number than the latest one received. A
//!   publication that failed, or whose caller gave up, has used its number;
//! - a node that sent before sends nothing for 3 seconds and did not announce that it leaves;
//! - the connection was replaced and the transport does not [resume](Continuity::Resumed);
//! - the transport itself reports a [gap](Received::is_gap);
//! - the subscriber is more than [`BUFFER`] messages behind. Only that subscriber resyncs.
//!
//! A node that subscribes late resyncs within its first second if other nodes have published
//! before. Except for slow subscribers, a node resyncs at most once a second: at once the first
//! time, then at the end of the second.
//!
//! # Health
//! A node receives its own heartbeats. The bus is [healthy](session_core::BusHealth::Healthy) while
//! the latest one is at most 3 seconds old. Otherwise it is degraded and opens a new connection,
//! after 50 ms at first and then more and more slowly up to once a second. A bus without
//! subscriptions receives nothing and is degraded.
//!
//! # Tasks
//! The first publication or subscription starts one task, on its tokio runtime. The task sends
//! heartbeats, and receives while there are subscriptions. It ends when the bus, its clones and its
//! subscriptions are dropped, and notifies the other nodes that this one leaves.
//!
//! | bound | value | reason |
//! |---|---|---|
//! | changes in one message | 500, 12,546 bytes | [`MAX_BATCH`](session_core::limits::MAX_BATCH) |
//! | [`HEARTBEAT`] | 1 s | one small message per node and second; a loss is noticed a second later |
//! | [`SILENCE`] | 3 s | two heartbeats may be late; shorter than a process trusts its own copies |
//! | [`BUFFER`] | 1,024 messages per bus | at most 16 MB, if all of them are full |
//! | other nodes | 1,024 | [`Senders::MAX`]; the one silent for longest is forgotten, which is a resync |
//! | `subscribe` | 6 s | twice [`SILENCE`] |

mod listener;
mod local;
mod subscriber;
mod task;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::bus::{Outgoing, Publisher, Senders};
use session_core::{BusEvent, BusHealth, Error, Invalidation, InvalidationBus, Result, Scope, Subscription};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use local::{LocalBus, LocalChannel, LocalReceiver, LocalTransport};
use subscriber::{Subscriber, SubscriberGuard};

/// The time between two heartbeats of a node: 1 second.
pub const HEARTBEAT: Duration = Publisher::BEAT;

/// The time without a message of a node, this one included, after which its messages count as lost:
/// 3 seconds.
pub const SILENCE: Duration = Senders::SILENCE;

/// The messages that a subscription may be behind: 1,024.
pub const BUFFER: usize = 1024;

/// Moves messages between nodes. [`Bus`] adds everything else.
///
/// # Contract
/// - A message that was sent reaches every receiver that was connected before, the sender's own one
///   included. It may be lost, repeated or late; the bus notices. Messages that are not from a
///   session bus may arrive too.
/// - Messages of one node leave in the order of their numbers, see [`send`](Self::send).
/// - Each call ends within a limit of its own, a second or so.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// What receives the messages.
    type Receiver: Receiver;

    /// Returns the name of the backend for errors and logs: `"redis"`.
    fn name(&self) -> &'static str;

    /// Sends a message to all nodes. `operation` names it in errors: `"publish"`, `"heartbeat"` or
    /// `"leave"`.
    ///
    /// [`Outgoing::bytes`] decides the number of a message when it is called first. Call it in the
    /// same step that determines the order on the wire: while a lock is held, or when the bytes
    /// enter a queue.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) or
    /// [`Timeout`](session_core::ErrorKind::Timeout) if the message could not be handed over.
    ///
    /// # Cancellation
    /// The message may or may not be sent. The bus notices.
    async fn send(&self, operation: &'static str, message: Outgoing<'_>) -> Result<()>;

    /// Makes a receiver that is not connected yet. It lives until the last subscription is dropped.
    fn receiver(&self) -> Self::Receiver;

    /// Does the transport's own maintenance, once after each heartbeat. Does nothing by default.
    async fn maintain(&self) {}
}

/// Receives what a [`Transport`] sends.
#[async_trait]
pub trait Receiver: Send + 'static {
    /// Opens a connection and replaces the one before. Messages that are sent after this returns
    /// are received.
    ///
    /// # Errors
    /// Why there is no connection. The bus tries again after a pause.
    async fn connect(&mut self) -> Result<Continuity>;

    /// Waits for messages.
    ///
    /// # Errors
    /// Why the connection was lost. The bus calls [`connect`](Self::connect) next.
    ///
    /// # Cancellation
    /// Only the bus cancels it, to replace the connection.
    async fn receive(&mut self) -> Result<Received>;
}

/// Whether a new connection goes on where the last one stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Continuity {
    /// Messages that were sent since the last connection was lost may be missing.
    Lossy,
    /// Messages that were sent since the last connection was lost follow, or are reported as a gap.
    Resumed,
}

/// Messages that a transport received, in the order in which they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// The bytes of each message. Bytes that are no message are counted and dropped.
    pub messages: Vec<Vec<u8>>,
    /// Whether messages may be missing, before or among these.
    pub is_gap: bool,
}

impl Received {
    /// Holds messages in the order in which they were sent.
    #[must_use]
    pub const fn new(messages: Vec<Vec<u8>>) -> Self {
        Self { messages, is_gap: false }
    }

    /// Reports that messages may be missing.
    #[must_use]
    pub const fn with_gap(mut self) -> Self {
        self.is_gap = true;
        self
    }
}

/// An [`InvalidationBus`] over a [`Transport`]. Clones are the same node.
pub struct Bus<T: Transport> {
    shared: Arc<Shared<T>>,
    life: Arc<Life>,
}

/// Held by buses and subscriptions. The task ends when it is dropped.
struct Life {
    task: Mutex<Option<JoinHandle<()>>>,
    stop: watch::Sender<()>,
}

struct Shared<T> {
    transport: T,
    publisher: Publisher,
    /// The beginning of the clock that heartbeats carry.
    born: Instant,
    events: broadcast::Sender<BusEvent>,
    subscriptions: watch::Sender<usize>,
    state: watch::Sender<State>,
    /// The time at which the latest own heartbeat that came back was sent, on the clock of
    /// heartbeats.
    proof: AtomicU64,
    ignored: AtomicU64,
}

/// The state of the receiver.
#[derive(Debug)]
enum State {
    /// The last attempt failed, or the connection was lost. Another attempt follows.
    Down(Error),
    Healthy,
    /// There are no subscriptions.
    Idle,
    Opening,
}

impl<T: Transport> Bus<T> {
    /// Makes a node. Opens nothing.
    #[must_use]
    pub fn new(transport: T) -> Self {
        let shared = Arc::new(Shared {
            transport,
            publisher: Publisher::new(),
            born: Instant::now(),
            events: broadcast::Sender::new(BUFFER),
            subscriptions: watch::Sender::new(0),
            state: watch::Sender::new(State::Idle),
            proof: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
        });
        Self { shared, life: Arc::new(Life { task: Mutex::new(None), stop: watch::Sender::new(()) }) }
    }

    /// Returns the transport.
    #[must_use]
    pub fn transport(&self) -> &T {
        &self.shared.transport
    }

    /// Returns how many messages were ignored because they are not in this version's format.
    ///
    /// Another program uses the channel, or a node of another release.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.shared.ignored.load(Ordering::Relaxed)
    }

    /// Starts the task unless it runs. It has ended if its runtime has.
    fn start(&self) {
        let mut task = self.life.task.lock();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            self.shared.state.send_replace(State::Idle);
            *task = Some(tokio::spawn(task::run(Arc::clone(&self.shared), self.life.stop.subscribe())));
        }
    }
}

#[async_trait]
impl<T: Transport> InvalidationBus for Bus<T> {
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let message = self.shared.publisher.changes(scope, changes)?;
        self.start();
        self.shared.transport.send("publish", message).await
    }

    /// Begins to receive, and returns when this node has received its own heartbeat.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        // Before the receiver starts: it may publish events before the bus is healthy.
        let events = self.shared.events.subscribe();
        self.start();
        let guard = SubscriberGuard::new(self.shared.subscriptions.clone());
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| matches!(state, State::Down(_) | State::Healthy));
        match timeout(2 * SILENCE, settled).await {
            Ok(Ok(state)) => {
                if let State::Down(error) = &*state {
                    return Err(error.clone());
                }
            }
            // The task ends only with its runtime.
            _ => return Err(Error::timeout(self.shared.transport.name(), "subscribe")),
        }
        Ok(Box::new(Subscriber::new(events, guard, Arc::clone(&self.life))))
    }

    fn health(&self) -> BusHealth {
        // The task may notice late if it gets no processor time.
        let is_proven = self.shared.proven().elapsed() <= SILENCE;
        match *self.shared.state.borrow() {
            State::Healthy if is_proven => BusHealth::Healthy,
            _ => BusHealth::Degraded,
        }
    }
}

impl<T: Transport> Shared<T> {
    async fn send_heartbeat(&self) -> Result<()> {
        let message = self.publisher.beat(self.clock());
        timeout(HEARTBEAT, self.transport.send("heartbeat", message))
            .await
            .unwrap_or_else(|_| Err(Error::timeout(self.transport.name(), "heartbeat")))
    }

    /// Returns how long this node has lived, in milliseconds.
    fn clock(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns when the latest own heartbeat that came back was sent.
    fn proven(&self) -> Instant {
        self.born + Duration::from_millis(self.proof.load(Ordering::Relaxed))
    }

    /// Sets the state to `Idle` if the last subscription is gone, and returns whether it is.
    ///
    /// Under the lock that counts subscriptions, so that a new subscriber cannot mistake a receiver
    /// that stops for one that runs.
    fn is_deserted(&self) -> bool {
        let mut is_deserted = false;
        self.subscriptions.send_if_modified(|count| {
            is_deserted = *count == 0;
            if is_deserted {
                self.state.send_replace(State::Idle);
            }
            false
        });
        is_deserted
    }
}

impl<T: Transport> Clone for Bus<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), life: Arc::clone(&self.life) }
    }
}

impl<T: Transport> fmt::Debug for Bus<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("transport", &self.shared.transport)
            .field("health", &self.health())
            .field("ignored", &self.ignored())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
