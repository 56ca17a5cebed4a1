//! What needs the inside of a bus. The conformance suite has the rest.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use session_core::{BusEvent, BusHealth, ErrorKind, InvalidationBus};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::{Instant, sleep, timeout};

use super::listener::Listener;
use super::*;

fn bus() -> LocalBus {
    Bus::new(LocalChannel::new().transport())
}

#[tokio::test]
async fn an_event_sent_before_the_bus_is_healthy_reaches_the_subscriber() {
    let bus = bus();
    // The test takes the place of the task.
    *bus.life.task.lock() = Some(tokio::spawn(pending()));
    let mut subscribing = bus.subscribe();
    assert!(subscribing.as_mut().now_or_never().is_none());
    bus.shared.events.send(BusEvent::Resync).unwrap();
    bus.shared.state.send_replace(State::Healthy);
    let mut subscription = subscribing.await.unwrap();
    assert_eq!(subscription.next().now_or_never(), Some(BusEvent::Resync));
}

#[tokio::test]
async fn a_heartbeat_that_was_long_under_way_proves_nothing() {
    let mut bus = bus();
    Arc::get_mut(&mut bus.shared).unwrap().born -= Duration::from_secs(60);
    let listener = Listener::new(&bus.shared);
    assert!(!listener.proves(56_000), "four seconds old");
    assert!(!listener.proves(90_000), "of the future");
    assert_eq!(bus.shared.proven(), bus.shared.born);
    assert!(listener.proves(59_900));
    assert!(listener.proves(59_800), "a late one");
    assert_eq!(bus.shared.proven(), bus.shared.born + Duration::from_millis(59_900));
}

#[tokio::test]
async fn subscribing_during_the_last_unsubscribe_finds_no_stopping_receiver() {
    let bus = bus();
    let shared = &bus.shared;
    shared.state.send_replace(State::Healthy);
    shared.subscriptions.send_replace(1);
    assert!(!shared.is_deserted() && matches!(*shared.state.borrow(), State::Healthy));
    shared.subscriptions.send_replace(0);
    assert!(shared.is_deserted() && matches!(*shared.state.borrow(), State::Idle));
}

#[tokio::test(start_paused = true)]
async fn resyncs_are_gathered_but_none_is_forgotten() {
    let bus = bus();
    let mut events = bus.shared.events.subscribe();
    let mut listener = Listener::new(&bus.shared);
    listener.resync();
    assert_eq!(events.try_recv(), Ok(BusEvent::Resync), "the first at once");
    assert_eq!(listener.resyncs.due, None);
    listener.resync();
    listener.resync();
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(listener.resyncs.due, Some(Instant::now() + Duration::from_secs(1)));
    listener.resync_now();
    assert_eq!(events.try_recv(), Ok(BusEvent::Resync));
    assert_eq!(listener.resyncs.due, None);
}

/// A transport that fails as a test wants it to.
#[derive(Debug, Default)]
struct Broken {
    inner: Option<LocalTransport>,
    is_out: Arc<std::sync::atomic::AtomicBool>,
    resumes: bool,
}

struct BrokenReceiver {
    inner: LocalReceiver,
    is_out: Arc<std::sync::atomic::AtomicBool>,
    resumes: bool,
}

fn out() -> Error {
    Error::unavailable("broken", "test")
}

#[async_trait]
impl Transport for Broken {
    type Receiver = BrokenReceiver;

    fn name(&self) -> &'static str {
        "broken"
    }

    async fn send(&self, operation: &'static str, message: Outgoing<'_>) -> Result<()> {
        if self.is_out.load(Ordering::SeqCst) {
            return Err(out());
        }
        self.inner.as_ref().unwrap().send(operation, message).await
    }

    fn receiver(&self) -> BrokenReceiver {
        let inner = self.inner.as_ref().unwrap().receiver();
        BrokenReceiver { inner, is_out: Arc::clone(&self.is_out), resumes: self.resumes }
    }
}

#[async_trait]
impl Receiver for BrokenReceiver {
    async fn connect(&mut self) -> Result<Continuity> {
        if self.is_out.load(Ordering::SeqCst) {
            return Err(out());
        }
        if self.resumes { Ok(Continuity::Resumed) } else { self.inner.connect().await }
    }

    async fn receive(&mut self) -> Result<Received> {
        loop {
            if let Ok(received) = timeout(Duration::from_millis(10), self.inner.receive()).await {
                return received;
            }
            if self.is_out.load(Ordering::SeqCst) {
                return Err(out());
            }
        }
    }
}

async fn outage(resumes: bool) -> Vec<BusEvent> {
    let channel = LocalChannel::new();
    let is_out = Arc::<std::sync::atomic::AtomicBool>::default();
    let bus = Bus::new(Broken { inner: Some(channel.transport()), is_out: Arc::clone(&is_out), resumes });
    let mut subscription = bus.subscribe().await.unwrap();
    assert_eq!(bus.health(), BusHealth::Healthy);
    is_out.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
    assert_eq!(bus.subscribe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    is_out.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bus.health(), BusHealth::Healthy);
    std::iter::from_fn(|| subscription.next().now_or_never()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_replaced_and_resyncs_unless_the_transport_resumes() {
    assert_eq!(outage(false).await, [BusEvent::Resync]);
    assert_eq!(outage(true).await, []);
}
