//! Bytes between nodes over pub/sub.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use session_core::bus::{Message, Outgoing};
use session_core::{Error, Result, async_trait};
use session_runtime::bus::{Continuity, Received, Receiver, Transport};
use tokio::sync::{Notify, mpsc};
use tokio::task::unconstrained;

use crate::connection::{Connection, Listening};
use crate::error::{NAME, Trouble};
use crate::keys::KeyPrefix;

/// How many messages may wait for the bus's task. It never blocks, so they are few.
const INBOX: usize = 1024;

pub(super) struct RedisTransport {
    connection: Connection,
    channel: String,
    /// Held while a message gets its number and enters the connection's queue.
    order: Mutex<()>,
    /// The same for a cluster: held until the reply to the message.
    cluster_order: tokio::sync::Mutex<()>,
}

type Sending<'s> = Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 's>>;

impl RedisTransport {
    pub(super) fn new(connection: Connection, prefix: &KeyPrefix) -> Self {
        let channel = format!("{prefix}:changes");
        Self { connection, channel, order: Mutex::default(), cluster_order: tokio::sync::Mutex::default() }
    }

    pub(super) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Sends a message, and opens the connection first if there is none.
    async fn deliver(&self, message: Outgoing<'_>) -> Result<(), Trouble> {
        let sent = async {
            self.connection.ready().await?;
            if self.connection.is_cluster() {
                // The driver (redis 1.8.1) may reorder concurrent commands of one slot, so each
                // message waits for the reply to the one before.
                let _order = self.cluster_order.lock().await;
                return self.publish(message.bytes()).await;
            }
            let mut sending: Option<Sending<'_>> = None;
            poll_fn(|context| match &mut sending {
                Some(sending) => sending.as_mut().poll(context),
                None => {
                    // The first poll puts the message into the connection's queue, so messages
                    // leave in the order of their numbers.
                    let _order = self.order.lock();
                    let publishing = self.publish(message.bytes());
                    sending.insert(Box::pin(unconstrained(publishing))).as_mut().poll(context)
                }
            })
            .await
        };
        self.connection.within(sent).await
    }

    async fn publish(&self, message: &[u8]) -> Result<(), Trouble> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(&self.channel).arg(message);
        match self.connection.run(&command).await? {
            Value::Int(_) => Ok(()),
            _ => {
                self.connection.distrust();
                Err(Trouble::mismatched("publish"))
            }
        }
    }
}

#[async_trait]
impl Transport for RedisTransport {
    type Receiver = RedisReceiver;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, operation: &'static str, message: Outgoing<'_>) -> Result<()> {
        self.deliver(message).await.map_err(|trouble| trouble.into_error(operation))
    }

    fn receiver(&self) -> RedisReceiver {
        RedisReceiver { connection: self.connection(), channel: self.channel.clone(), line: None }
    }
}

impl fmt::Debug for RedisTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTransport")
            .field("connection", &self.connection)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Subscribes to the channel.
pub(super) struct RedisReceiver {
    connection: Connection,
    channel: String,
    line: Option<Line>,
}

/// A connection that is subscribed.
struct Line {
    messages: mpsc::Receiver<Vec<u8>>,
    state: Arc<LineState>,
    _listening: Listening,
}

/// What the driver reports besides messages.
#[derive(Default)]
struct LineState {
    ended: Notify,
    /// A message did not fit into the inbox.
    overflowed: AtomicBool,
}

#[async_trait]
impl Receiver for RedisReceiver {
    async fn connect(&mut self) -> Result<Continuity> {
        // The old connection is closed first.
        self.line = None;
        let line = Line::open(&self.connection, &self.channel).await;
        self.line = Some(line.map_err(|trouble| trouble.into_error("subscribe"))?);
        Ok(Continuity::Lossy)
    }

    async fn receive(&mut self) -> Result<Received> {
        let lost = || Error::unavailable(NAME, "subscribe").with_detail("the connection was lost");
        let line = self.line.as_mut().ok_or_else(lost)?;
        let message = tokio::select! {
            biased;
            () = line.state.ended.notified() => None,
            message = line.messages.recv() => message,
        };
        let received = Received::new(vec![message.ok_or_else(lost)?]);
        let overflowed = line.state.overflowed.swap(false, Ordering::Relaxed);
        Ok(if overflowed { received.with_gap() } else { received })
    }
}

impl Line {
    async fn open(connection: &Connection, channel: &str) -> Result<Self, Trouble> {
        let (sender, messages) = mpsc::channel(INBOX);
        let state = Arc::new(LineState::default());
        let reported = Arc::clone(&state);
        let receive = move |push: PushInfo| {
            match push.kind {
                // In a cluster it may be another node. The driver would subscribe again without a
                // report.
                PushKind::Disconnection => reported.ended.notify_one(),
                PushKind::Message if sender.try_send(payload(push.data)).is_err() => {
                    reported.overflowed.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
            Ok::<(), redis::aio::SendError>(())
        };
        let listening = connection.listen(channel, receive).await?;
        Ok(Self { messages, state, _listening: listening })
    }
}

/// Returns the bytes of a message. The channel comes first. Bytes that are too long for a message
/// are dropped here.
fn payload(mut data: Vec<Value>) -> Vec<u8> {
    match data.pop() {
        Some(Value::BulkString(bytes)) if bytes.len() <= Message::MAX_BYTES => bytes,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_too_long_for_a_message_are_dropped() {
        let push = |length| vec![Value::BulkString(b"channel".to_vec()), Value::BulkString(vec![7; length])];
        assert_eq!(payload(push(Message::MAX_BYTES)).len(), Message::MAX_BYTES);
        assert_eq!(payload(push(Message::MAX_BYTES + 1)).len(), 0);
        assert_eq!(payload(vec![]).len() + payload(vec![Value::Int(1)]).len(), 0);
    }
}
