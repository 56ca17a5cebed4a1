//! The bus in PostgreSQL, on real servers.

mod failures;
mod lab;

mod conformance {
    use super::lab::Lab;

    session_conformance::session_bus_suite!(
        postgres_bus,
        env "SESSION_TEST_POSTGRES_URL",
        |url: String| async move {
            let lab = Lab::at(url, None).await;
            move || lab.bus()
        },
    );
}

use session_conformance::fixtures::SCOPE;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use session_core::{BusEvent, BusHealth, ErrorKind, InvalidationBus};
use session_sqlx::PostgresBus;
use sqlx::PgPool;
use tokio::time::{Instant, timeout};

use lab::{
    HEARTBEAT, Lab, RESYNC_DELAY, SILENCE, SOON, assert_quiet, beat, change, changed, changes, fails_in_time,
    header, listening, next, subscribed, until, until_gap, until_health, until_resync,
};

#[tokio::test]
async fn a_change_reaches_the_other_nodes_and_not_its_own() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, mut at_a), (b, mut at_b)) = (lab.node().await, lab.node().await);
    let began = Instant::now();
    for number in 1..=10 {
        a.publish(SCOPE, &[change(number), change(number + 1)]).await.unwrap();
        assert_eq!(next(&mut at_b).await, BusEvent::Changed(SCOPE, vec![change(number), change(number + 1)]));
    }
    // Without a notification each message arrives with the next heartbeat.
    assert!(began.elapsed() < HEARTBEAT * 7, "{:?}: the node was not notified", began.elapsed());
    b.publish(SCOPE, &[change(3)]).await.unwrap();
    assert_eq!(changed(&mut at_a).await, [3], "its own changes are not delivered");
    tokio::join!(assert_quiet(&mut at_a, RESYNC_DELAY), assert_quiet(&mut at_b, RESYNC_DELAY));
}

#[tokio::test]
async fn a_clone_is_the_same_node() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, mut at_a), (b, _at_b)) = (lab.node().await, lab.node().await);
    a.clone().publish(SCOPE, &[change(1)]).await.unwrap();
    b.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut at_a).await, [2]);
}

#[tokio::test]
async fn buses_with_different_tables_are_separate() {
    let Some((lab, shop)) = Lab::shared().await.zip(Lab::shared().await) else { return };
    let ((_a, mut at_a), (_b, mut at_shop)) = (lab.node().await, shop.node().await);
    lab.bus().publish(SCOPE, &[change(1)]).await.unwrap();
    shop.bus().publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!((changed(&mut at_a).await, changed(&mut at_shop).await), (vec![1], vec![2]));
}

/// Numbers follow the order in which messages become visible, so no reader skips a message that is
/// not committed yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_many_nodes_at_once_arrive_without_a_gap() {
    const NODES: u64 = 8;
    const EACH: u64 = 100;
    let Some(lab) = Lab::shared().await else { return };
    let (_b, mut at_b) = lab.node().await;
    let publish = |node: u64| {
        let bus = lab.bus();
        tokio::spawn(async move {
            for number in 1..=EACH {
                bus.publish(SCOPE, &[change(node * EACH + number)]).await.unwrap();
            }
            bus
        })
    };
    let tasks: Vec<_> = (0..NODES).map(publish).collect();
    let mut received = Vec::new();
    while received.len() < usize::try_from(NODES * EACH).unwrap() {
        received.extend(changed(&mut at_b).await);
    }
    let _buses = join_all(tasks).await;
    received.sort_unstable();
    assert!(received.into_iter().eq(1..=NODES * EACH));
    assert_quiet(&mut at_b, RESYNC_DELAY).await;
}

/// One transaction is slow to commit: later messages wait for it, and no reader skips it.
#[tokio::test]
async fn an_uncommitted_message_is_not_skipped() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    let (mut slow, mut watcher) = (lab.client().await, lab.client().await);
    slow.query("BEGIN").await;
    slow.write(&changes(1)).await;
    let second = [change(2)];
    let (published, ()) = tokio::join!(a.publish(SCOPE, &second), async {
        until(SOON, "waiting for the lock", async || watcher.waiting().await > 0).await;
        slow.query("COMMIT").await;
    });
    published.unwrap();
    assert_eq!((changed(&mut at_b).await, changed(&mut at_b).await), (vec![1], vec![2]));
}

#[tokio::test]
async fn subscriptions_of_a_node_share_a_connection() {
    let Some(lab) = Lab::shared().await else { return };
    let mut client = lab.client().await;
    let ((a, _at_a), (b, mut first)) = (lab.node().await, lab.node().await);
    let mut second = subscribed(&b).await;
    until(SOON, "at one connection per node", async || client.listening().await == 2).await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!((changed(&mut first).await, changed(&mut second).await), (vec![1], vec![1]));
    drop(first);
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    assert_eq!(changed(&mut second).await, [2]);
}

#[tokio::test]
async fn publish_checks_its_arguments_before_it_connects() {
    let nowhere = PostgresBus::new(PgPool::connect_lazy("postgres://user@127.0.0.1:1/none").unwrap());
    let many: Vec<_> = (1..=501).map(change).collect();
    assert_eq!(nowhere.publish(SCOPE, &many).await.unwrap_err().kind(), ErrorKind::Invalid);
    nowhere.publish(SCOPE, &[]).await.unwrap();
    fails_in_time(&nowhere).await;
}

#[tokio::test]
async fn foreign_messages_are_ignored_and_counted() {
    let Some(lab) = Lab::shared().await else { return };
    let ((b, mut at_b), mut client) = (lab.node().await, lab.client().await);
    let mut next_version = changes(1);
    next_version[2] = 2;
    let mut cut = changes(1);
    cut.pop();
    for garbage in [&b"hello"[..], &[], &next_version, &cut, &vec![b'S'; 1 << 20]] {
        client.write(garbage).await;
    }
    client.write(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1], "read without a notification");
    assert_quiet(&mut at_b, RESYNC_DELAY).await;
    assert_eq!(b.ignored(), 5);
    until_health(&b, BusHealth::Healthy, SOON).await;
}

#[tokio::test]
async fn a_missing_message_of_a_node_is_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let ((_b, mut at_b), mut client) = (lab.node().await, lab.client().await);
    for number in [1, 1, 2, 1, 2] {
        client.write(&changes(number)).await;
    }
    client.write(&beat(2)).await;
    assert_eq!(
        (changed(&mut at_b).await, changed(&mut at_b).await),
        (vec![1], vec![2]),
        "delivered once each"
    );
    client.write(&changes(4)).await;
    let received = until_gap(&mut at_b, &mut client, &beat(4)).await;
    assert!(received.is_empty() || received == [4], "{received:?}");
    client.write(&beat(5)).await;
    until_gap(&mut at_b, &mut client, &beat(5)).await;
    client.write(&header(b'Z', 0)).await;
    assert!(until_gap(&mut at_b, &mut client, &beat(5)).await.is_empty(), "a message of a later release");
}

#[tokio::test]
async fn a_cancelled_publication_is_a_resync_on_other_nodes() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    // The publication still waits for the lock when its caller gives up.
    let mut held = lab.client().await;
    held.query("BEGIN; SELECT seq FROM {t}_head FOR UPDATE").await;
    let _ = timeout(Duration::from_millis(100), a.publish(SCOPE, &[change(1)])).await.unwrap_err();
    held.query("ROLLBACK").await;
    a.publish(SCOPE, &[change(2)]).await.unwrap();
    // The server may have completed the first publication; then nothing is missing.
    let mut events = vec![next(&mut at_b).await];
    while events.last() != Some(&BusEvent::Changed(SCOPE, vec![change(2)])) {
        events.push(next(&mut at_b).await);
    }
    let is_resync = timeout(RESYNC_DELAY, at_b.next()).await.is_ok_and(|event| event == BusEvent::Resync);
    let is_first = events[0] == BusEvent::Changed(SCOPE, vec![change(1)]);
    assert!(is_resync || is_first || events.contains(&BusEvent::Resync), "{events:?}");
}

#[tokio::test]
async fn a_publication_cancelled_before_a_connection_is_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let (a, (_b, mut at_b)) = (lab.bus(), lab.node().await);
    assert!(a.publish(SCOPE, &[change(1)]).now_or_never().is_none());
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
}

#[tokio::test]
async fn a_node_that_subscribes_late_resyncs() {
    let Some(lab) = Lab::shared().await else { return };
    let (a, _at_a) = lab.node().await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    let (_b, mut at_b) = lab.node().await;
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
}

#[tokio::test]
async fn a_bus_without_subscriptions_is_degraded() {
    let Some(lab) = Lab::shared().await else { return };
    let (mut client, bus) = (lab.client().await, lab.bus());
    assert_eq!(bus.health(), BusHealth::Degraded);
    bus.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(bus.health(), BusHealth::Degraded);
    let (bus, subscription) = listening(bus).await;
    until(SOON, "at one connection", async || client.listening().await == 1).await;
    drop(subscription);
    until(SOON, "disconnected", async || client.listening().await == 0).await;
    assert_eq!(bus.health(), BusHealth::Degraded);
    let _again = listening(bus).await;
    until(SOON, "at one connection", async || client.listening().await == 1).await;
}

#[tokio::test]
async fn nothing_is_left_when_everything_is_dropped() {
    let Some(lab) = Lab::start().await else { return };
    let mut client = lab.client().await;
    let (a, mut at_a) = lab.node().await;
    until(SOON, "at two connections", async || client.other_connections().await == 2).await;
    drop(a);
    client.write(&changes(1)).await;
    assert_eq!(changed(&mut at_a).await, [1], "a subscription outlives its bus");
    drop(at_a);
    until(SOON, "closed", async || client.other_connections().await == 0).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    until(SOON, "without tasks", async || metrics.num_alive_tasks() <= 1).await;
}

#[tokio::test]
async fn leaving_or_only_publishing_is_not_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let (_b, mut at_b) = lab.node().await;
    let (leaves, publishes) = (lab.bus(), lab.bus());
    for bus in [&leaves, &publishes] {
        bus.publish(SCOPE, &[change(1)]).await.unwrap();
        assert_eq!(changed(&mut at_b).await, [1]);
    }
    drop(leaves);
    assert_quiet(&mut at_b, SILENCE + HEARTBEAT * 2).await;
}

#[tokio::test]
async fn a_node_that_falls_silent_is_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let ((_b, mut at_b), mut client) = (lab.node().await, lab.client().await);
    let sent = Instant::now();
    client.write(&changes(1)).await;
    assert_eq!(changed(&mut at_b).await, [1]);
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
    assert!(sent.elapsed() >= SILENCE, "{:?}", sent.elapsed());
}

#[tokio::test]
async fn old_messages_are_removed_and_young_ones_are_not() {
    const OLD: i64 = 1_700;
    let Some(lab) = Lab::shared().await else { return };
    let mut client = lab.client().await;
    let bus = lab.bus();
    bus.publish(SCOPE, &[change(1)]).await.unwrap();
    client
        .query(&format!(
            "WITH head AS (UPDATE {{t}}_head SET seq = seq + {OLD} RETURNING seq)
                INSERT INTO {{t}} SELECT head.seq - {OLD} + n, 0, '' FROM head, generate_series(1, {OLD}) AS n;
                UPDATE {{t}} SET at = 0"
        ))
        .await;
    until(SOON * 4, "removed", async || client.rows().await < 100).await;
    assert!(client.rows().await > 0, "the heartbeats of the last minute");
}
