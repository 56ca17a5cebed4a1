//! The bus when its server or its connection fails.

use session_conformance::fixtures::SCOPE;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use session_core::{BusEvent, BusHealth, ErrorKind, InvalidationBus, Subscription};
use session_redis::{Connection, RedisBus, redis};
use session_servers::{Options, Proxy, RedisSentinels};
use tokio::time::{Instant, timeout};

use super::lab::*;

/// Allowance for a slow server or a shared processor.
const MARGIN: Duration = Duration::from_secs(5);

/// Time within which sentinels agree on another primary.
const FAILOVER: Duration = Duration::from_secs(75);

async fn assert_works(a: &RedisBus, at_b: &mut Box<dyn Subscription>) {
    until_health(a, BusHealth::Healthy, SOON).await;
    a.publish(SCOPE, &[change(77)]).await.unwrap();
    // Earlier heartbeats may still cause a resync.
    let received = async { while at_b.next().await != BusEvent::Changed(SCOPE, vec![change(77)]) {} };
    timeout(SOON, received).await.expect("the published change");
}

#[tokio::test]
async fn a_killed_subscription_is_noticed_and_replaced() {
    let Some(server) = server() else { return };
    let mut raw = RawClient::at(&server).await;
    let ((a, mut at_a), (b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    let killed: usize = raw.ask("CLIENT KILL TYPE pubsub").await;
    assert_eq!(killed, 2);
    let began = Instant::now();
    assert!(until_resync(&mut at_b, SILENCE).await.is_empty());
    assert!(until_resync(&mut at_a, SILENCE).await.is_empty());
    assert!(began.elapsed() < SILENCE, "it was not the silence");
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
    assert_works(&b, &mut at_a).await;
}

#[tokio::test]
async fn messages_missed_by_a_lost_subscription_are_a_resync() {
    let Some(server) = server() else { return };
    let mut raw = RawClient::at(&server).await;
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    for round in 1..=3 {
        let _killed: usize = raw.ask("CLIENT KILL TYPE pubsub").await;
        a.publish(SCOPE, &[change(round)]).await.unwrap();
        let received = until_resync(&mut at_b, SOON).await;
        assert!(received.is_empty() || received == [round], "{received:?}");
    }
}

#[tokio::test]
async fn a_dead_server_degrades_the_bus_until_it_is_back() {
    let Some(mut server) = server() else { return };
    let ((a, _at_a), (b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    server.kill().unwrap();
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    assert_eq!(a.publish(SCOPE, &[change(1)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(b.subscribe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(at_b.next().now_or_never().is_none(), "no event before the server is back");

    let server = tokio::task::spawn_blocking(move || {
        server.start_again().unwrap();
        server
    })
    .await
    .unwrap();
    assert!(until_resync(&mut at_b, SOON * 2).await.is_empty());
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
    drop(server);
}

#[tokio::test]
async fn a_paused_server_degrades_the_bus_until_it_resumes() {
    let Some(mut server) = server() else { return };
    let ((a, _at_a), (b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    let paused = Instant::now();
    server.pause().unwrap();
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    let noticed = paused.elapsed();
    assert!(noticed > HEARTBEAT, "{noticed:?}: the connection was not closed");
    // Until the shared connection is known to be dead, the fate of the message is unknown.
    let unconfirmed = a.publish(SCOPE, &[change(1)]).await.unwrap_err().kind();
    assert!(matches!(unconfirmed, ErrorKind::Timeout | ErrorKind::Unavailable), "{unconfirmed:?}");
    server.resume().unwrap();
    until_resync(&mut at_b, SOON * 2).await;
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn a_half_open_subscription_is_noticed_and_replaced() {
    let Some(server) = server() else { return };
    let proxy = Proxy::to(server.port()).await.unwrap();
    let is_cut = Arc::new(AtomicBool::new(false));
    let is_dropping = Arc::clone(&is_cut);
    proxy.edit_replies(b"SUBSCRIBE", move |bytes| {
        if is_dropping.load(Ordering::SeqCst) { Vec::new() } else { bytes.to_vec() }
    });
    let ((a, _at_a), (b, mut at_b)) = (node(&server.url()).await, node(&proxy.url(&server.url())).await);
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);

    let cut = Instant::now();
    is_cut.store(true, Ordering::SeqCst);
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    b.publish(SCOPE, &[change(3)]).await.expect("only the subscription is dead");
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    let noticed = cut.elapsed();
    assert!(noticed > HEARTBEAT, "{noticed:?}: the connection was not closed");
    assert!(until_resync(&mut at_b, SILENCE).await.is_empty(), "the second change was dropped");
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
    // Its own subscription never failed.
    until_health(&a, BusHealth::Healthy, SOON).await;
}

#[tokio::test]
async fn a_failed_subscription_is_an_error_and_can_be_retried() {
    let Some(mut server) = server() else { return };
    let bus = bus(&server.url());
    server.kill().unwrap();
    let began = Instant::now();
    assert_eq!(bus.subscribe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(began.elapsed() < SILENCE + MARGIN, "{:?}", began.elapsed());
    let server = tokio::task::spawn_blocking(move || {
        server.start_again().unwrap();
        server
    })
    .await
    .unwrap();
    until(SOON, "subscribed", async || bus.subscribe().await.is_ok()).await;
    drop(server);
}

#[tokio::test]
async fn subscribing_to_a_paused_server_fails() {
    let Some(mut server) = server() else { return };
    let bus = bus(&server.url());
    server.pause().unwrap();
    let began = Instant::now();
    let kind = bus.subscribe().await.unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable), "{kind:?}");
    assert!(began.elapsed() < SILENCE + MARGIN, "{:?}", began.elapsed());
}

#[tokio::test]
async fn subscribing_without_the_right_to_publish_fails() {
    let Some(server) = server() else { return };
    let mut raw = RawClient::at(&server).await;
    let _: () = raw.ask("ACL SETUSER reader on >secret allchannels allkeys +@all -publish").await;
    let bus = bus(&format!("redis://reader:secret@127.0.0.1:{}/", server.port()));
    assert_eq!(bus.publish(SCOPE, &[change(1)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bus.subscribe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bus.health(), BusHealth::Degraded, "it cannot notice a loss");
}

#[tokio::test]
async fn the_bus_subscribes_to_the_new_primary_after_a_failover() {
    let Some(mut servers) = RedisSentinels::for_test(1, &Options::default()).unwrap() else { return };
    let urls = servers.sentinel_urls();
    let node = async || {
        use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
        let sentinels = urls.iter().map(|url| {
            let info = redis::IntoConnectionInfo::into_connection_info(url.as_str()).unwrap();
            info.addr().clone()
        });
        let client = SentinelClientBuilder::new(sentinels, "session", SentinelServerType::Master).unwrap();
        let bus = RedisBus::new(Connection::sentinel(client.build().unwrap()));
        let subscription = subscribed(&bus).await;
        (bus, subscription)
    };
    let ((a, _at_a), (b, mut at_b)) = (node().await, node().await);
    assert_works(&a, &mut at_b).await;
    servers.primary().kill().unwrap();
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    until_resync(&mut at_b, FAILOVER).await;
    until_health(&b, BusHealth::Healthy, SOON).await;
    until(SOON * 2, "published", async || a.publish(SCOPE, &[change(1)]).await.is_ok()).await;
    assert_works(&a, &mut at_b).await;
}

#[cfg(feature = "cluster")]
mod cluster {
    use session_servers::RedisCluster;

    use super::*;

    /// Time within which a replica takes over.
    const FAILOVER: Duration = Duration::from_secs(60);

    async fn node(url: &str) -> (RedisBus, Box<dyn Subscription>) {
        let nodes = redis::cluster::ClusterClientBuilder::new(url.split(','));
        let bus = RedisBus::new(Connection::cluster(nodes).unwrap());
        let subscription = subscribed(&bus).await;
        (bus, subscription)
    }

    #[tokio::test]
    async fn a_message_reaches_subscribers_on_other_nodes() {
        let Some(cluster) = RedisCluster::for_test(0, &Options::default()).unwrap() else { return };
        let [first, _, third] = cluster.nodes() else { panic!("three nodes") };
        let ((a, mut at_a), (b, mut at_b)) = (node(&first.url()).await, node(&third.url()).await);
        for number in 1..=100 {
            a.publish(SCOPE, &[change(number)]).await.unwrap();
            assert_eq!(changed(&mut at_b).await, [number]);
        }
        b.publish(SCOPE, &[change(101)]).await.unwrap();
        assert_eq!(changed(&mut at_a).await, [101]);
        // Publishes to a node of the cluster that has no subscribers.
        for (number, server) in (1..).zip(cluster.nodes()) {
            let mut raw = RawClient::at(server).await;
            let mut publish = redis::cmd("PUBLISH");
            publish.arg("session-kit:changes").arg(changes(number));
            let _: u64 = publish.query_async(&mut raw.0).await.unwrap();
            assert_eq!(changed(&mut at_a).await, [number]);
            assert_eq!(changed(&mut at_b).await, [number]);
        }
    }

    /// Returns the node that the subscriptions are on.
    async fn subscribed_node(cluster: &RedisCluster) -> usize {
        for (index, server) in cluster.nodes().iter().enumerate() {
            if RawClient::at(server).await.subscribed().await > 0 {
                return index;
            }
        }
        panic!("a node with subscribers");
    }

    #[tokio::test]
    async fn a_killed_subscription_is_a_resync_despite_the_driver() {
        let Some(cluster) = RedisCluster::for_test(0, &Options::default()).unwrap() else { return };
        let url = cluster.nodes()[0].url();
        let ((a, _at_a), (_b, mut at_b)) = (node(&url).await, node(&url).await);
        let server = &cluster.nodes()[subscribed_node(&cluster).await];
        let killed: usize = RawClient::at(server).await.ask("CLIENT KILL TYPE pubsub").await;
        assert_eq!(killed, 2);
        assert!(until_resync(&mut at_b, SILENCE).await.is_empty());
        assert_works(&a, &mut at_b).await;
    }

    #[tokio::test]
    async fn the_bus_subscribes_to_another_node_after_a_failure() {
        let Some(mut cluster) = RedisCluster::for_test(1, &Options::default()).unwrap() else { return };
        let ((a, _at_a), (b, mut at_b)) = (node(&cluster.url()).await, node(&cluster.url()).await);
        let subscribed = subscribed_node(&cluster).await;
        cluster.node(subscribed).kill().unwrap();
        until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
        until_resync(&mut at_b, FAILOVER).await;
        until_health(&b, BusHealth::Healthy, SOON).await;
        until(FAILOVER, "published", async || a.publish(SCOPE, &[change(1)]).await.is_ok()).await;
        assert_works(&a, &mut at_b).await;
    }
}
