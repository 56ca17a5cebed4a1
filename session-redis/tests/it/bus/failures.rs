//! What the bus does when its server, or the way to it, fails.

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

/// A server is late, or a processor is shared.
const MARGIN: Duration = Duration::from_secs(5);

/// In which sentinels agree on another primary.
const FAILOVER: Duration = Duration::from_secs(75);

async fn assert_works(a: &RedisBus, at_b: &mut Box<dyn Subscription>) {
    until_health(a, BusHealth::Healthy, SOON).await;
    a.publish(SCOPE, &[change(77)]).await.unwrap();
    // Beats of the time before may still be a resync.
    let heard = async { while at_b.next().await != BusEvent::Changed(SCOPE, vec![change(77)]) {} };
    timeout(SOON, heard).await.expect("what was published");
}

#[tokio::test]
async fn a_killed_subscription_is_noticed_and_replaced() {
    let Some(server) = server() else { return };
    let mut stranger = Stranger::at(&server).await;
    let ((a, mut at_a), (b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    let killed: usize = stranger.ask("CLIENT KILL TYPE pubsub").await;
    assert_eq!(killed, 2);
    let began = Instant::now();
    assert!(until_resync(&mut at_b, RedisBus::SILENCE).await.is_empty());
    assert!(until_resync(&mut at_a, RedisBus::SILENCE).await.is_empty());
    assert!(began.elapsed() < RedisBus::SILENCE, "it was not the silence");
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
    assert_works(&b, &mut at_a).await;
}

#[tokio::test]
async fn what_was_said_while_the_subscription_was_lost_is_a_resync() {
    let Some(server) = server() else { return };
    let mut stranger = Stranger::at(&server).await;
    let ((a, _at_a), (_b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    for round in 1..=3 {
        let _killed: usize = stranger.ask("CLIENT KILL TYPE pubsub").await;
        a.publish(SCOPE, &[change(round)]).await.unwrap();
        let heard = until_resync(&mut at_b, SOON).await;
        assert!(heard.is_empty() || heard == [round], "{heard:?}");
    }
}

#[tokio::test]
async fn a_dead_server_degrades_the_bus_until_it_is_back() {
    let Some(mut server) = server() else { return };
    let ((a, _at_a), (b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    server.kill().unwrap();
    until_health(&b, BusHealth::Degraded, RedisBus::SILENCE + MARGIN).await;
    assert_eq!(a.publish(SCOPE, &[change(1)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(b.subscribe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(at_b.next().now_or_never().is_none(), "nothing to tell before it is back");

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
async fn a_paused_server_degrades_the_bus_until_it_goes_on() {
    let Some(mut server) = server() else { return };
    let ((a, _at_a), (b, mut at_b)) = (node(&server.url()).await, node(&server.url()).await);
    let paused = Instant::now();
    server.pause().unwrap();
    until_health(&b, BusHealth::Degraded, RedisBus::SILENCE + MARGIN).await;
    let noticed = paused.elapsed();
    assert!(noticed > RedisBus::BEAT, "{noticed:?}: the connection was not closed");
    // Until the shared connection is known to be dead, nobody can tell what became of the message.
    let unheard = a.publish(SCOPE, &[change(1)]).await.unwrap_err().kind();
    assert!(matches!(unheard, ErrorKind::Timeout | ErrorKind::Unavailable), "{unheard:?}");
    server.resume().unwrap();
    until_resync(&mut at_b, SOON * 2).await;
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn a_half_open_subscription_is_noticed_and_replaced() {
    let Some(server) = server() else { return };
    let proxy = Proxy::to(server.port()).await.unwrap();
    let is_deaf = Arc::new(AtomicBool::new(false));
    let is_swallowed = Arc::clone(&is_deaf);
    proxy.edit_replies(b"SUBSCRIBE", move |bytes| {
        if is_swallowed.load(Ordering::SeqCst) { Vec::new() } else { bytes.to_vec() }
    });
    let ((a, _at_a), (b, mut at_b)) = (node(&server.url()).await, node(&proxy.url(&server.url())).await);
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);

    let deaf = Instant::now();
    is_deaf.store(true, Ordering::SeqCst);
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    b.publish(SCOPE, &[change(3)]).await.expect("only the subscription is dead");
    until_health(&b, BusHealth::Degraded, RedisBus::SILENCE + MARGIN).await;
    let noticed = deaf.elapsed();
    assert!(noticed > RedisBus::BEAT, "{noticed:?}: the connection was not closed");
    assert!(until_resync(&mut at_b, RedisBus::SILENCE).await.is_empty(), "the second change was swallowed");
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
    // Its own subscription was well.
    until_health(&a, BusHealth::Healthy, SOON).await;
}

#[tokio::test]
async fn a_subscription_that_cannot_be_made_is_an_error_and_can_be_tried_again() {
    let Some(mut server) = server() else { return };
    let bus = bus(&server.url());
    server.kill().unwrap();
    let began = Instant::now();
    assert_eq!(bus.subscribe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(began.elapsed() < RedisBus::SILENCE + MARGIN, "{:?}", began.elapsed());
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
async fn a_server_that_does_not_answer_is_no_subscription() {
    let Some(mut server) = server() else { return };
    let bus = bus(&server.url());
    server.pause().unwrap();
    let began = Instant::now();
    let kind = bus.subscribe().await.unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable), "{kind:?}");
    assert!(began.elapsed() < RedisBus::SILENCE + MARGIN, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_node_that_may_not_publish_is_told_so_when_it_subscribes() {
    let Some(server) = server() else { return };
    let mut stranger = Stranger::at(&server).await;
    let _: () = stranger.ask("ACL SETUSER reader on >secret allchannels allkeys +@all -publish").await;
    let bus = bus(&format!("redis://reader:secret@127.0.0.1:{}/", server.port()));
    assert_eq!(bus.publish(SCOPE, &[change(1)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bus.subscribe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bus.health(), BusHealth::Degraded, "it cannot know what it does not hear");
}

#[tokio::test]
async fn after_a_failover_the_new_primary_is_heard() {
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
    until_health(&b, BusHealth::Degraded, RedisBus::SILENCE + MARGIN).await;
    until_resync(&mut at_b, FAILOVER).await;
    until_health(&b, BusHealth::Healthy, SOON).await;
    until(SOON * 2, "published", async || a.publish(SCOPE, &[change(1)]).await.is_ok()).await;
    assert_works(&a, &mut at_b).await;
}

#[cfg(feature = "cluster")]
mod cluster {
    use session_servers::RedisCluster;

    use super::*;

    /// In which a replica takes over.
    const FAILOVER: Duration = Duration::from_secs(60);

    async fn node(url: &str) -> (RedisBus, Box<dyn Subscription>) {
        let nodes = redis::cluster::ClusterClientBuilder::new(url.split(','));
        let bus = RedisBus::new(Connection::cluster(nodes).unwrap());
        let subscription = subscribed(&bus).await;
        (bus, subscription)
    }

    #[tokio::test]
    async fn a_message_reaches_those_who_came_through_another_node() {
        let Some(cluster) = RedisCluster::for_test(0, &Options::default()).unwrap() else { return };
        let [first, _, third] = cluster.nodes() else { panic!("three nodes") };
        let ((a, mut at_a), (b, mut at_b)) = (node(&first.url()).await, node(&third.url()).await);
        for number in 1..=100 {
            a.publish(SCOPE, &[change(number)]).await.unwrap();
            assert_eq!(changed(&mut at_b).await, [number]);
        }
        b.publish(SCOPE, &[change(101)]).await.unwrap();
        assert_eq!(changed(&mut at_a).await, [101]);
        // To a node of the cluster where nobody is subscribed.
        for (number, server) in (1..).zip(cluster.nodes()) {
            let mut stranger = Stranger::at(server).await;
            let mut publish = redis::cmd("PUBLISH");
            publish.arg("session-kit:changes").arg(changes(number));
            let _: u64 = publish.query_async(&mut stranger.0).await.unwrap();
            assert_eq!(changed(&mut at_a).await, [number]);
            assert_eq!(changed(&mut at_b).await, [number]);
        }
    }

    /// Which node the subscriptions are on.
    async fn carries(cluster: &RedisCluster) -> usize {
        for (index, server) in cluster.nodes().iter().enumerate() {
            if Stranger::at(server).await.subscribed().await > 0 {
                return index;
            }
        }
        panic!("a node with subscribers");
    }

    #[tokio::test]
    async fn a_killed_subscription_is_a_resync_although_the_driver_would_hide_it() {
        let Some(cluster) = RedisCluster::for_test(0, &Options::default()).unwrap() else { return };
        let url = cluster.nodes()[0].url();
        let ((a, _at_a), (_b, mut at_b)) = (node(&url).await, node(&url).await);
        let server = &cluster.nodes()[carries(&cluster).await];
        let killed: usize = Stranger::at(server).await.ask("CLIENT KILL TYPE pubsub").await;
        assert_eq!(killed, 2);
        assert!(until_resync(&mut at_b, RedisBus::SILENCE).await.is_empty());
        assert_works(&a, &mut at_b).await;
    }

    #[tokio::test]
    async fn when_a_node_is_gone_another_is_heard() {
        let Some(mut cluster) = RedisCluster::for_test(1, &Options::default()).unwrap() else { return };
        let ((a, _at_a), (b, mut at_b)) = (node(&cluster.url()).await, node(&cluster.url()).await);
        let carries = carries(&cluster).await;
        cluster.node(carries).kill().unwrap();
        until_health(&b, BusHealth::Degraded, RedisBus::SILENCE + MARGIN).await;
        until_resync(&mut at_b, FAILOVER).await;
        until_health(&b, BusHealth::Healthy, SOON).await;
        until(FAILOVER, "published", async || a.publish(SCOPE, &[change(1)]).await.is_ok()).await;
        assert_works(&a, &mut at_b).await;
    }
}
