//! An invalidation bus on [NATS](https://nats.io): [`Bus`](session_runtime::bus::Bus) does the rest.

use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, Subscriber, connection::State};
use futures_util::StreamExt;
use session_core::{Error, Result, async_trait, bus::Outgoing};
use session_runtime::bus::{Continuity, Received, Receiver, Transport};
use tokio::{sync::Mutex, time::timeout};

const NAME: &str = "nats";
const SUBSCRIBE: &str = "subscribe";
const LIMIT: Duration = Duration::from_secs(1);

/// Sends the messages of a session bus on one subject.
#[derive(Debug)]
pub struct NatsTransport {
    client: Client,
    order: Mutex<()>,
    server: String,
    subject: String,
}

impl NatsTransport {
    /// Sends through a client, and receives on connections of its own to the server.
    #[must_use]
    pub fn new(client: Client, server: &str, subject: &str) -> Self {
        Self { client, order: Mutex::default(), server: server.to_owned(), subject: subject.to_owned() }
    }
}

#[async_trait]
impl Transport for NatsTransport {
    type Receiver = NatsReceiver;

    fn name(&self) -> &'static str {
        NAME
    }

    async fn send(&self, operation: &'static str, message: Outgoing<'_>) -> Result<()> {
        if self.client.connection_state() != State::Connected {
            return Err(Error::unavailable(NAME, operation));
        }
        let send = async {
            let _order = self.order.lock().await;
            let sent = self.client.publish(self.subject.clone(), message.bytes().to_vec().into());
            sent.await.map_err(failed(operation))?;
            self.client.flush().await.map_err(failed(operation))
        };
        timeout(LIMIT, send).await.unwrap_or_else(|_| Err(Error::timeout(NAME, operation)))
    }

    fn receiver(&self) -> NatsReceiver {
        NatsReceiver { server: self.server.clone(), subject: self.subject.clone(), line: None }
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(operation: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::unavailable(NAME, operation).with_source(error)
}

/// Receives the messages of a subject.
#[derive(Debug)]
pub struct NatsReceiver {
    server: String,
    subject: String,
    line: Option<(Subscriber, Arc<AtomicBool>)>,
}

#[async_trait]
impl Receiver for NatsReceiver {
    async fn connect(&mut self) -> Result<Continuity> {
        let missed = Arc::<AtomicBool>::default();
        let misses = Arc::clone(&missed);
        // The client connects and subscribes again by itself. What was sent meanwhile is missing.
        let options = ConnectOptions::new().event_callback(move |event| {
            misses.fetch_or(matches!(event, Event::Disconnected | Event::SlowConsumer(_)), Ordering::Relaxed);
            std::future::ready(())
        });
        let open = async {
            let client = options.connect(&*self.server).await.map_err(failed(SUBSCRIBE))?;
            let messages = client.subscribe(self.subject.clone()).await.map_err(failed(SUBSCRIBE))?;
            // The server works in order: when the echo is here, the subscription counts.
            let inbox = client.new_inbox();
            let mut echo = client.subscribe(inbox.clone()).await.map_err(failed(SUBSCRIBE))?;
            client.publish(inbox, "".into()).await.map_err(failed(SUBSCRIBE))?;
            echo.next().await.map(|_| messages).ok_or_else(|| Error::unavailable(NAME, SUBSCRIBE))
        };
        self.line = Some((timeout(LIMIT, open).await.map_err(|_| Error::timeout(NAME, SUBSCRIBE))??, missed));
        Ok(Continuity::Lossy)
    }

    async fn receive(&mut self) -> Result<Received> {
        let closed = || Error::unavailable(NAME, SUBSCRIBE);
        let (messages, missed) = self.line.as_mut().ok_or_else(closed)?;
        let received = Received::new(vec![messages.next().await.ok_or_else(closed)?.payload.to_vec()]);
        Ok(if missed.swap(false, Ordering::Relaxed) { received.with_gap() } else { received })
    }
}
