//! A transport within one process.

use async_trait::async_trait;
use parking_lot::Mutex;
use session_core::Result;
use session_core::bus::Outgoing;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Bus, Continuity, Received, Receiver, Transport};

/// How many messages a receiver may be behind.
const CHANNEL: usize = 1024;

/// A bus within one process: several managers over one store, or tests.
///
/// # Examples
/// ```
/// use session_core::{BusEvent, Invalidation, InvalidationBus, Revision, Scope, SessionId};
/// use session_runtime::bus::{Bus, LocalChannel};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> session_core::Result<()> {
/// let channel = LocalChannel::new();
/// let (here, there) = (Bus::new(channel.transport()), Bus::new(channel.transport()));
/// let mut received = there.subscribe().await?;
///
/// let scope = Scope::new("shop", None)?;
/// let ended = Invalidation::new(SessionId::derive("example", b"", None), Revision::FIRST, true);
/// here.publish(scope, &[ended]).await?;
/// assert_eq!(received.next().await, BusEvent::Changed(scope, vec![ended]));
/// # Ok(())
/// # }
/// ```
pub type LocalBus = Bus<LocalTransport>;

/// Connects the buses of one process.
#[derive(Debug, Clone)]
pub struct LocalChannel {
    messages: broadcast::Sender<Vec<u8>>,
}

impl LocalChannel {
    /// Makes a channel without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self { messages: broadcast::Sender::new(CHANNEL) }
    }

    /// Makes the transport of one more node.
    #[must_use]
    pub fn transport(&self) -> LocalTransport {
        LocalTransport { channel: self.clone(), order: Mutex::new(()) }
    }

    /// Sends bytes as they are, for tests: a message of another node, or none at all.
    pub fn inject(&self, bytes: &[u8]) {
        // It fails if there is no receiver.
        let _ = self.messages.send(bytes.to_vec());
    }
}

impl Default for LocalChannel {
    fn default() -> Self {
        Self::new()
    }
}

/// The [`Transport`] of a [`LocalBus`].
#[derive(Debug)]
pub struct LocalTransport {
    channel: LocalChannel,
    /// Held while a message gets its number and enters the channel.
    order: Mutex<()>,
}

/// The [`Receiver`] of a [`LocalBus`].
#[derive(Debug)]
pub struct LocalReceiver {
    channel: LocalChannel,
    messages: broadcast::Receiver<Vec<u8>>,
}

#[async_trait]
impl Transport for LocalTransport {
    type Receiver = LocalReceiver;

    fn name(&self) -> &'static str {
        "local"
    }

    async fn send(&self, _operation: &'static str, message: Outgoing<'_>) -> Result<()> {
        let _order = self.order.lock();
        self.channel.inject(message.bytes());
        Ok(())
    }

    fn receiver(&self) -> LocalReceiver {
        LocalReceiver { channel: self.channel.clone(), messages: self.channel.messages.subscribe() }
    }
}

#[async_trait]
impl Receiver for LocalReceiver {
    async fn connect(&mut self) -> Result<Continuity> {
        self.messages = self.channel.messages.subscribe();
        Ok(Continuity::Lossy)
    }

    async fn receive(&mut self) -> Result<Received> {
        match self.messages.recv().await {
            Ok(message) => Ok(Received::new(vec![message])),
            Err(RecvError::Lagged(_) | RecvError::Closed) => Ok(Received::default().with_gap()),
        }
    }
}
