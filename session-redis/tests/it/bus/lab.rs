//! Nodes, their subscriptions, and another client on the channel.

use session_conformance::fixtures::SCOPE;
use std::time::Duration;

pub(super) use session_core::bus::Senders;
use session_core::{BusEvent, BusHealth, Invalidation, InvalidationBus, Revision, SessionId, Subscription};
use session_redis::redis::aio::MultiplexedConnection;
use session_redis::{Connection, RedisBus, redis};
pub(super) use session_runtime::bus::{HEARTBEAT, SILENCE};
use session_servers::{Kind, Options, Server};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENT, connect, driver_config};

/// Time within which a gap in received messages is reported, with a margin.
pub(super) const GAP_REPORTED: Duration = Duration::from_millis(1300);

/// A generous limit for events that need no heartbeat.
pub(super) const SOON: Duration = Duration::from_secs(5);

pub(super) fn server() -> Option<Server> {
    Server::for_test(Kind::Redis, &Options::default()).unwrap()
}

pub(super) fn bus(url: &str) -> RedisBus {
    RedisBus::new(Connection::open(url).unwrap())
}

/// Returns a subscribed node.
pub(super) async fn node(url: &str) -> (RedisBus, Box<dyn Subscription>) {
    let bus = bus(url);
    let subscription = subscribed(&bus).await;
    (bus, subscription)
}

/// Returns a node that is connected and can publish.
pub(super) async fn publisher(url: &str) -> RedisBus {
    let connection = Connection::open(url).unwrap();
    connect(&connection).await;
    RedisBus::new(connection)
}

/// Subscribes, which may take more than one attempt.
pub(super) async fn subscribed(bus: &RedisBus) -> Box<dyn Subscription> {
    let began = Instant::now();
    loop {
        match bus.subscribe().await {
            Ok(subscription) if bus.health() == BusHealth::Healthy => return subscription,
            result => assert!(began.elapsed() < PATIENT, "{result:?}, {:?}", bus.health()),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Returns a change that its revision distinguishes from others.
pub(super) fn change(revision: u64) -> Invalidation {
    let id = SessionId::derive("test", b"bus", None);
    Invalidation::new(id, Revision::new(revision).unwrap(), revision.is_multiple_of(2))
}

pub(super) async fn next(subscription: &mut Box<dyn Subscription>) -> BusEvent {
    timeout(SOON, subscription.next()).await.expect("an event")
}

/// Returns the revisions of the next message, which must not be a resync.
pub(super) async fn changed(subscription: &mut Box<dyn Subscription>) -> Vec<u64> {
    match next(subscription).await {
        BusEvent::Changed(SCOPE, changes) => changes.iter().map(|change| change.revision.get()).collect(),
        other => panic!("{other:?}"),
    }
}

/// Returns the revisions that arrive before the next resync.
pub(super) async fn until_resync(subscription: &mut Box<dyn Subscription>, limit: Duration) -> Vec<u64> {
    let mut revisions = Vec::new();
    let resync = async {
        while let BusEvent::Changed(_, changes) = subscription.next().await {
            revisions.extend(changes.iter().map(|change| change.revision.get()));
        }
    };
    timeout(limit, resync).await.expect("a resync");
    revisions
}

/// Asserts that no event arrives, not even a delayed resync.
pub(super) async fn assert_quiet(subscription: &mut Box<dyn Subscription>, time: Duration) {
    let event = timeout(time, subscription.next()).await;
    assert!(event.is_err(), "{event:?}");
}

/// Polls a condition, because health has no event to wait for.
pub(super) async fn until(limit: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < limit, "not {what} after {limit:?}");
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

pub(super) async fn until_health(bus: &RedisBus, health: BusHealth, limit: Duration) -> Duration {
    until(limit, &format!("{health:?}"), async || bus.health() == health).await
}

/// Another client on the channel.
pub(super) struct RawClient(pub(super) MultiplexedConnection);

impl RawClient {
    pub(super) async fn at(server: &Server) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        Self(client.get_multiplexed_async_connection_with_config(&driver_config()).await.unwrap())
    }

    pub(super) async fn ask<T: redis::FromRedisValue>(&mut self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        asked.arg(words.collect::<Vec<_>>());
        asked.query_async(&mut self.0).await.unwrap()
    }

    pub(super) async fn publish(&mut self, message: &[u8]) {
        let mut command = redis::cmd("PUBLISH");
        command.arg("session-kit:changes").arg(message);
        let receivers: u64 = command.query_async(&mut self.0).await.unwrap();
        assert_ne!(receivers, 0, "no node is subscribed");
    }

    pub(super) async fn subscribed(&mut self) -> usize {
        self.ask::<String>("CLIENT LIST TYPE pubsub").await.lines().count()
    }

    /// Returns the number of all connections but this one.
    pub(super) async fn other_connections(&mut self) -> usize {
        self.ask::<String>("CLIENT LIST").await.lines().count() - 1
    }
}

/// Returns the hand-written header of a message from a node that does not exist.
pub(super) fn header(kind: u8, number: u64) -> Vec<u8> {
    let mut message = b"SK\x01".to_vec();
    message.push(kind);
    message.extend(b"a node elsewhere");
    message.extend(number.to_be_bytes());
    message
}

/// Returns a message whose revision is its number.
pub(super) fn changes(number: u64) -> Vec<u8> {
    let mut message = header(b'C', number);
    message.extend(SCOPE.as_bytes());
    message.extend([0, 1]);
    message.extend(change(number).id.as_bytes());
    message.extend(number.to_be_bytes());
    message.push(0);
    message
}

pub(super) fn beat(number: u64) -> Vec<u8> {
    let mut message = header(b'B', number);
    message.extend([0; 8]);
    message
}
