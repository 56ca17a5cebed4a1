use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use session_core::{BusEvent, BusHealth, Invalidation, InvalidationBus, Revision, SessionId, Subscription};
use tokio::time::{Instant, sleep, timeout};

use crate::fixtures::SCOPE;

/// The longest time to wait for an event.
const PATIENCE: Duration = Duration::from_secs(20);

/// A factory of nodes that share one bus. A closure that returns a bus is a network.
pub trait BusNetwork: Send + Sync + 'static {
    /// Creates one more node.
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

/// A bus without nodes. Cases add the nodes.
#[derive(Clone)]
pub struct BusHarness {
    network: Arc<dyn BusNetwork>,
}

impl BusHarness {
    /// Wraps a bus that no other test uses.
    #[must_use]
    pub fn new(network: impl BusNetwork) -> Self {
        Self { network: Arc::new(network) }
    }

    /// Creates a node that only publishes.
    #[must_use]
    pub fn node(&self) -> Arc<dyn InvalidationBus> {
        self.network.node()
    }

    /// Creates a node and subscribes it.
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

/// Subscribes a node, retries as often as a busy server requires, and waits until the bus is
/// healthy.
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

/// A subscription, with the assertions that cases need.
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

    /// Waits for `count` changes and returns their numbers. A resync fails the case.
    pub async fn many(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.extend(self.numbers().await);
        }
        numbers
    }

    /// Fails the case if an event arrives within the given time.
    pub async fn assert_quiet(&mut self, time: Duration) {
        let event = timeout(time, self.0.next()).await;
        assert!(event.is_err(), "expected no event, not {event:?}");
    }
}

/// Creates a change whose revision is its number. Every second change is an end.
pub(super) fn change(number: u64) -> Invalidation {
    let id = SessionId::derive("bus", &number.to_be_bytes(), None);
    Invalidation::new(id, Revision::new(number).expect("a revision"), number.is_multiple_of(2))
}

/// Returns the number of a change from [`change`].
pub(super) fn number(invalidation: &Invalidation) -> u64 {
    let number = invalidation.revision.get();
    assert_eq!(*invalidation, change(number), "a change arrived altered");
    number
}
