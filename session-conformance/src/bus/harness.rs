use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use session_core::{BusEvent, BusHealth, Invalidation, InvalidationBus, Revision, SessionId, Subscription};
use tokio::time::{Instant, sleep, timeout};

use crate::fixtures::SCOPE;

/// The longest time that an event may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes nodes that share one bus. A closure that returns a bus is a network.
pub trait BusNetwork: Send + Sync + 'static {
    /// Makes one more node.
    fn node(&self) -> Arc<dyn InvalidationBus>;
}

impl<F, B> BusNetwork for F
where
    F: Fn() -> B + Send + Sync + 'static,
    B: InvalidationBus,
{
    fn node(&self) -> Arc<dyn InvalidationBus> {
        Arc::new(self())
    }
}

/// A bus without nodes. Cases add them.
#[derive(Clone)]
pub struct BusHarness {
    network: Arc<dyn BusNetwork>,
}

impl BusHarness {
    /// Takes a bus that no other test uses.
    #[must_use]
    pub fn new(network: impl BusNetwork) -> Self {
        Self { network: Arc::new(network) }
    }

    /// Makes a node that only publishes.
    #[must_use]
    pub fn node(&self) -> Arc<dyn InvalidationBus> {
        self.network.node()
    }

    /// Makes a node and subscribes it.
    pub async fn subscribed(&self) -> (Arc<dyn InvalidationBus>, Received) {
        let bus = self.node();
        let subscription = subscribe(&bus).await;
        (bus, subscription)
    }
}

impl fmt::Debug for BusHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusHarness").finish_non_exhaustive()
    }
}

/// Subscribes a node, with as many attempts as a busy server needs, and waits until it is healthy.
pub(super) async fn subscribe(bus: &Arc<dyn InvalidationBus>) -> Received {
    let began = Instant::now();
    loop {
        match bus.subscribe().await {
            Ok(subscription) if bus.health() == BusHealth::Healthy => return Received(subscription),
            result => assert!(began.elapsed() < PATIENCE, "subscribe: {result:?}, {:?}", bus.health()),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A subscription, with the questions that cases ask.
#[derive(Debug)]
pub struct Received(pub(super) Box<dyn Subscription>);

impl Received {
    /// Waits for the next event.
    pub async fn event(&mut self) -> BusEvent {
        timeout(PATIENCE, self.0.next()).await.expect("an event within 20 seconds")
    }

    /// Waits for the next changes of [`SCOPE`] and returns their numbers. A resync fails the case.
    pub async fn numbers(&mut self) -> Vec<u64> {
        match self.event().await {
            BusEvent::Changed(SCOPE, changes) => changes.iter().map(number).collect(),
            other => panic!("expected changes, not {other:?}"),
        }
    }

    /// Waits for the numbers of so many changes. A resync fails the case.
    pub async fn many(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.extend(self.numbers().await);
        }
        numbers
    }

    /// Fails the case if there is an event within a time.
    pub async fn assert_quiet(&mut self, time: Duration) {
        let event = timeout(time, self.0.next()).await;
        assert!(event.is_err(), "expected no event, not {event:?}");
    }
}

/// Makes a change whose revision is its number. Every second one is an end.
pub(super) fn change(number: u64) -> Invalidation {
    let id = SessionId::derive("bus", &number.to_be_bytes(), None);
    Invalidation::new(id, Revision::new(number).expect("a revision"), number.is_multiple_of(2))
}

/// Returns the number of a change that [`change`] made.
pub(super) fn number(invalidation: &Invalidation) -> u64 {
    let number = invalidation.revision.get();
    assert_eq!(*invalidation, change(number), "a change arrived altered");
    number
}
