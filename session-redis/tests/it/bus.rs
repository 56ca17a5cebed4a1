//! The bus on real servers, healthy and failing.

mod failures;
mod lab;

mod conformance {
    use session_redis::{Connection, RedisBus};

    use crate::support::fresh_prefix;

    fn nodes(connect: impl Fn() -> Connection + Send + Sync) -> impl Fn() -> RedisBus + Send + Sync {
        let prefix = fresh_prefix();
        move || RedisBus::new(connect()).with_prefix(prefix.clone())
    }

    session_conformance::session_bus_suite!(
        redis_bus,
        env "SESSION_TEST_REDIS_URL",
        |url: String| async move { nodes(move || Connection::open(&*url).expect("a URL")) },
    );

    #[cfg(feature = "cluster")]
    session_conformance::session_bus_suite!(
        redis_cluster_bus,
        env "SESSION_TEST_REDIS_CLUSTER_URL",
        |urls: String| async move {
            let nodes_of = move || redis::cluster::ClusterClientBuilder::new(urls.split(','));
            nodes(move || Connection::cluster(nodes_of()).expect("URLs"))
        },
    );
}

use futures_util::FutureExt;
use session_conformance::fixtures::SCOPE;
use session_core::{BusHealth, ErrorKind, InvalidationBus};
use session_redis::{Connection, RedisBus, redis};
use tokio::time::Instant;

use lab::*;

#[tokio::test]
async fn a_clone_is_the_same_node() {
    let Some(server) = server() else { return };
    let ((a, mut at_a), (b, _at_b)) = (node(&server.url()).await, node(&server.url()).await);
    a.clone().publish(SCOPE, &[change(1)]).await.unwrap();
    b.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut at_a).await, [2]);
}

#[tokio::test]
async fn buses_with_other_prefixes_receive_nothing() {
    let Some(server) = server() else { return };
    let shop = publisher(&server.url()).await.with_prefix("shop".parse().unwrap());
    let (a, mut at_a) = node(&server.url()).await;
    let mut at_shop = subscribed(&shop).await;
    shop.publish(SCOPE, &[change(1)]).await.unwrap();
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    let other = publisher(&server.url()).await;
    let other_shop = other.clone().with_prefix("shop".parse().unwrap());
    other.publish(SCOPE, &[change(3)]).await.unwrap();
    other_shop.publish(SCOPE, &[change(4)]).await.unwrap();
    assert_eq!((changed(&mut at_a).await, changed(&mut at_shop).await), (vec![3], vec![4]));
}

#[tokio::test]
async fn subscriptions_of_a_node_share_a_connection() {
    let Some(server) = server() else { return };
    let mut raw = RawClient::at(&server).await;
    let ((a, _at_a), (b, mut first)) = (node(&server.url()).await, node(&server.url()).await);
    let mut second = b.subscribe().await.unwrap();
    until(SOON, "one of each node", async || raw.subscribed().await == 2).await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!((changed(&mut first).await, changed(&mut second).await), (vec![1], vec![1]));
    drop(first);
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut second).await, [2]);
}

#[tokio::test]
async fn too_many_changes_are_invalid_and_none_need_no_server() {
    let nowhere = bus("redis://127.0.0.1:1/");
    let many: Vec<_> = (1..=501).map(change).collect();
    assert_eq!(nowhere.publish(SCOPE, &many).await.unwrap_err().kind(), ErrorKind::Invalid);
    nowhere.publish(SCOPE, &[]).await.unwrap();
    assert_eq!(nowhere.publish(SCOPE, &many[..1]).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_message_in_no_bus_format_is_ignored_and_counted() {
    let Some(server) = server() else { return };
    let (mut raw, (b, mut at_b)) = (RawClient::at(&server).await, node(&server.url()).await);
    let mut next_version = changes(1);
    next_version[2] = 2;
    let mut cut = changes(1);
    cut.pop();
    for garbage in [&b"hello"[..], &[], &next_version, &cut, &vec![b'S'; 1 << 20]] {
        raw.publish(garbage).await;
    }
    raw.publish(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    assert_quiet(&mut at_b, GAP_REPORTED).await;
    assert_eq!((b.ignored(), b.health()), (5, BusHealth::Healthy));
}

#[tokio::test]
async fn a_message_of_a_later_release_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut raw, (_b, mut at_b)) = (RawClient::at(&server).await, node(&server.url()).await);
    raw.publish(&header(b'Z', 0)).await;
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
}

#[tokio::test]
async fn a_repeated_message_is_delivered_once() {
    let Some(server) = server() else { return };
    let (mut raw, (_b, mut at_b)) = (RawClient::at(&server).await, node(&server.url()).await);
    for number in [1, 1, 2, 1, 2, 3] {
        raw.publish(&changes(number)).await;
    }
    for number in [1, 2, 3] {
        assert_eq!(changed(&mut at_b).await, [number]);
    }
    assert_quiet(&mut at_b, GAP_REPORTED).await;
}

#[tokio::test]
async fn a_missing_number_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut raw, (_b, mut at_b)) = (RawClient::at(&server).await, node(&server.url()).await);
    raw.publish(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    raw.publish(&changes(3)).await;
    let received = until_resync(&mut at_b, SILENCE).await;
    assert!(received.is_empty() || received == [3], "{received:?}");
}

#[tokio::test]
async fn a_heartbeat_with_an_unknown_number_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut raw, (_b, mut at_b)) = (RawClient::at(&server).await, node(&server.url()).await);
    raw.publish(&changes(1)).await;
    raw.publish(&beat(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    raw.publish(&beat(2)).await;
    assert!(until_resync(&mut at_b, SILENCE).await.is_empty());
}

#[tokio::test]
async fn an_evicted_node_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut raw, (_b, mut at_b)) = (RawClient::at(&server).await, node(&server.url()).await);
    let numbers: Vec<_> = (0..=Senders::MAX).collect();
    // In chunks, because all of them at once would overflow the queue.
    for numbers in numbers.chunks(256) {
        let mut pipeline = redis::pipe();
        for number in numbers {
            let mut message = beat(0);
            message[4..12].copy_from_slice(&number.to_be_bytes());
            pipeline.cmd("PUBLISH").arg("session-kit:changes").arg(message).ignore();
        }
        pipeline.exec_async(&mut raw.0).await.unwrap();
    }
    // Long before the silence of any node could be noticed.
    assert!(until_resync(&mut at_b, SILENCE).await.is_empty());
}

#[tokio::test]
async fn a_cancelled_publication_is_a_resync_on_other_nodes() {
    let Some(server) = server() else { return };
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    // The connection's task has not run when the caller gives up.
    assert!(a.publish(SCOPE, &[change(1)]).now_or_never().is_none());
    assert!(until_resync(&mut at_b, HEARTBEAT * 4).await.is_empty());
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [2]);
}

#[tokio::test]
async fn a_publication_cancelled_while_connecting_is_a_resync() {
    let Some(server) = server() else { return };
    let (a, (_b, mut at_b)) = (bus(&server.url()), node(&server.url()).await);
    assert!(a.publish(SCOPE, &[change(1)]).now_or_never().is_none());
    assert!(until_resync(&mut at_b, HEARTBEAT * 4).await.is_empty());
}

#[tokio::test]
async fn a_full_message_queue_is_a_resync() {
    let Some(server) = server() else { return };
    let (_b, mut at_b) = node(&server.url()).await;
    // This runtime has one thread, so the listener reads nothing until all messages have arrived.
    let client = redis::Client::open(server.url()).unwrap();
    let publish = std::thread::spawn(move || {
        let mut pipeline = redis::pipe();
        for _ in 0..20_000 {
            pipeline.cmd("PUBLISH").arg("session-kit:changes").arg(beat(0)).ignore();
        }
        pipeline.exec(&mut client.get_connection().unwrap()).unwrap();
    });
    publish.join().unwrap();
    assert!(until_resync(&mut at_b, SILENCE).await.is_empty(), "none of them named a number");
}

#[tokio::test]
async fn a_node_that_joins_late_resyncs() {
    let Some(server) = server() else { return };
    let (a, _at_a) = node(&server.url()).await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    let (_b, mut at_b) = node(&server.url()).await;
    assert!(until_resync(&mut at_b, HEARTBEAT * 4).await.is_empty());
}

#[tokio::test]
async fn a_bus_without_subscribers_is_degraded() {
    let Some(server) = server() else { return };
    let mut raw = RawClient::at(&server).await;
    let bus = publisher(&server.url()).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
    bus.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(bus.health(), BusHealth::Degraded);
    let subscription = subscribed(&bus).await;
    until(SOON, "subscribed", async || raw.subscribed().await == 1).await;
    drop(subscription);
    until(SOON, "unsubscribed", async || raw.subscribed().await == 0).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
    let _again = subscribed(&bus).await;
    until(SOON, "subscribed", async || raw.subscribed().await == 1).await;
}

#[tokio::test]
async fn a_cancelled_subscription_leaves_nothing_behind() {
    let Some(server) = server() else { return };
    let (mut raw, bus) = (RawClient::at(&server).await, bus(&server.url()));
    let mut subscribe = Box::pin(bus.subscribe());
    until(SOON, "subscribing", async || {
        assert!(subscribe.as_mut().now_or_never().is_none_or(|result| result.is_ok()));
        true
    })
    .await;
    drop(subscribe);
    until(SOON, "unsubscribed", async || raw.subscribed().await == 0).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
}

#[tokio::test]
async fn no_connection_or_task_is_left_after_the_last_drop() {
    let Some(server) = server() else { return };
    let mut raw = RawClient::at(&server).await;
    let (a, mut at_a) = node(&server.url()).await;
    until(SOON, "connected twice", async || raw.other_connections().await == 2).await;
    drop(a);
    raw.publish(&changes(1)).await;
    assert_eq!(changed(&mut at_a).await, [1], "a subscription outlives its bus");
    drop(at_a);
    until(SOON, "closed", async || raw.other_connections().await == 0).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    until(SOON, "without tasks", async || metrics.num_alive_tasks() <= 1).await;
}

#[tokio::test]
async fn a_silent_node_is_a_resync() {
    let Some(server) = server() else { return };
    let (mut raw, (_b, mut at_b)) = (RawClient::at(&server).await, node(&server.url()).await);
    let published = Instant::now();
    raw.publish(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    assert!(until_resync(&mut at_b, SILENCE + HEARTBEAT * 3).await.is_empty());
    assert!(published.elapsed() >= SILENCE, "{:?}", published.elapsed());
}

#[tokio::test]
async fn a_connection_of_the_application_can_publish_but_not_subscribe() {
    let Some(server) = server() else { return };
    let given = RawClient::at(&server).await.0;
    let (a, (_b, mut at_b)) = (RedisBus::new(Connection::from(given)), node(&server.url()).await);
    let refused = a.subscribe().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);
}
