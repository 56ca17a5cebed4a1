//! The bus while its server or its network fails.

use session_conformance::fixtures::SCOPE;
use std::time::Duration;

use futures_util::FutureExt;
use session_core::{BusEvent, BusHealth, ErrorKind, InvalidationBus, Subscription};
use session_servers::{Options, PgBouncer, Proxy, Server};
use session_sqlx::PostgresBus;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::time::{Instant, timeout};

use super::lab::{
    HEARTBEAT, Lab, RESYNC_DELAY, SILENCE, SOON, assert_quiet, change, changed, fails_in_time, listening,
    next, until, until_health, until_resync,
};
use crate::support::fresh_table;

/// Tolerance for a slow server or a shared processor.
const MARGIN: Duration = Duration::from_secs(10);

async fn assert_works(a: &PostgresBus, at_b: &mut Box<dyn Subscription>) {
    until(SOON, "published", async || a.publish(SCOPE, &[change(77)]).await.is_ok()).await;
    // A resync from before may still be pending, and may stand for this message.
    let received = async {
        loop {
            match at_b.next().await {
                BusEvent::Resync => drop(a.publish(SCOPE, &[change(77)]).await),
                event if event == BusEvent::Changed(SCOPE, vec![change(77)]) => break,
                _ => {}
            }
        }
    };
    timeout(SOON, received).await.expect("the published change");
}

/// A node with the default timeout for publications.
fn with_default_timeout(lab: &Lab) -> PostgresBus {
    lab.bus().with_timeout(PostgresBus::TIMEOUT).unwrap()
}

fn start_again(server: &mut Server) {
    tokio::task::block_in_place(|| server.start_again()).unwrap();
}

/// The listening connection is closed repeatedly while another node publishes. All messages arrive,
/// in order.
#[tokio::test]
async fn messages_during_a_lost_connection_arrive_without_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let mut client = lab.client().await;
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, lab.node().await);
    for round in 0..3 {
        until(SOON, "listening", async || client.listening().await == 2).await;
        assert_eq!(client.kill_listening().await, 2);
        for number in 1..=20 {
            a.publish(SCOPE, &[change(round * 20 + number)]).await.unwrap();
        }
        for number in 1..=20 {
            assert_eq!(changed(&mut at_b).await, [round * 20 + number]);
        }
        until_health(&b, BusHealth::Healthy, SOON).await;
    }
    assert_quiet(&mut at_b, RESYNC_DELAY).await;
}

/// The node is cut off for so long that it is degraded.
#[tokio::test]
async fn messages_during_an_outage_arrive_without_a_resync() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = Proxy::to(lab.server.as_ref().unwrap().port()).await.unwrap();
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, listening(lab.bus_at(&proxy.url(&lab.url))).await);
    proxy.refuse();
    let noticed = until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    println!("degraded after {noticed:?}");
    for number in 1..=300 {
        a.publish(SCOPE, &[change(number)]).await.unwrap();
    }
    assert!(at_b.next().now_or_never().is_none());
    proxy.pass_new();
    for number in 1..=300 {
        assert_eq!(changed(&mut at_b).await, [number]);
    }
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_quiet(&mut at_b, RESYNC_DELAY).await;
}

#[tokio::test]
async fn an_outage_longer_than_the_retention_is_a_resync() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = Proxy::to(lab.server.as_ref().unwrap().port()).await.unwrap();
    let (a, _at_a) = listening(lab.bus().with_retention(Duration::from_secs(1)).unwrap()).await;
    let (b, mut at_b) = listening(lab.bus_at(&proxy.url(&lab.url))).await;
    proxy.refuse();
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    let mut client = lab.client().await;
    let sent = client.query("SELECT MAX(seq) FROM {t}").await.unwrap();
    let oldest = "SELECT MIN(seq) FROM {t}";
    until(SOON * 6, "removed", async || client.query(oldest).await.is_some_and(|seq| seq > sent)).await;
    proxy.pass_new();
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn emptied_tables_are_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let mut client = lab.client().await;
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, lab.node().await);
    for text in ["TRUNCATE {t}", "DELETE FROM {t}", "TRUNCATE {t}_head, {t}"] {
        client.query(text).await;
        // Unread messages are gone, or a new log began.
        a.publish(SCOPE, &[change(1)]).await.unwrap();
        client.query(text).await;
        until_health(&b, BusHealth::Healthy, SOON).await;
        assert_works(&a, &mut at_b).await;
    }
    client.query("TRUNCATE {t}_head, {t}").await;
    until_resync(&mut at_b, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_degrades_the_bus_until_it_is_back() {
    let Some(mut lab) = Lab::start().await else { return };
    let ((a, _at_a), (b, mut at_b)) = (listening(with_default_timeout(&lab)).await, lab.node().await);
    until(SOON, "published", async || a.publish(SCOPE, &[change(1)]).await.is_ok()).await;
    while next(&mut at_b).await != BusEvent::Changed(SCOPE, vec![change(1)]) {}
    lab.server.as_mut().unwrap().kill().unwrap();
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    fails_in_time(&a).await;
    assert!(b.subscribe().await.unwrap_err().is_transient());
    assert!(at_b.next().now_or_never().is_none(), "no event before the server is back");

    start_again(lab.server.as_mut().unwrap());
    assert!(until_resync(&mut at_b, SOON + MARGIN).await.is_empty(), "the crash emptied the table");
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_restart_of_the_server_loses_nothing() {
    let Some(mut lab) = Lab::start().await else { return };
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, lab.node().await);
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);
    tokio::task::block_in_place(|| lab.server.as_mut().unwrap().stop()).unwrap();
    start_again(lab.server.as_mut().unwrap());
    // Retries until it succeeds. A failed attempt uses a number, which causes a resync; so does a
    // message that a heartbeat overtook.
    until(SOON, "published", async || a.publish(SCOPE, &[change(2)]).await.is_ok()).await;
    let is_expected = |event| event == BusEvent::Resync || event == BusEvent::Changed(SCOPE, vec![change(2)]);
    timeout(SOON, async { while !is_expected(at_b.next().await) {} }).await.unwrap();
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_degrades_the_bus_until_it_resumes() {
    let Some(mut lab) = Lab::start().await else { return };
    let ((a, _at_a), (b, mut at_b)) = (listening(with_default_timeout(&lab)).await, lab.node().await);
    let paused = Instant::now();
    lab.server.as_mut().unwrap().pause().unwrap();
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    assert!(paused.elapsed() > HEARTBEAT, "{:?}: the connection was not closed", paused.elapsed());
    fails_in_time(&a).await;
    lab.server.as_mut().unwrap().resume().unwrap();
    until_resync(&mut at_b, SILENCE * 2 + MARGIN).await;
    until_health(&b, BusHealth::Healthy, SOON * 2).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_and_replaced() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = Proxy::to(lab.server.as_ref().unwrap().port()).await.unwrap();
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, listening(lab.bus_at(&proxy.url(&lab.url))).await);
    let frozen = Instant::now();
    proxy.freeze();
    proxy.pass_new();
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    assert!(frozen.elapsed() > HEARTBEAT, "{:?}: the connection was not closed", frozen.elapsed());
    let mut received = Vec::new();
    while !received.contains(&BusEvent::Changed(SCOPE, vec![change(1)])) {
        received.push(next(&mut at_b).await);
    }
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
    // The connections of the other node were not affected.
    until_health(&a, BusHealth::Healthy, SOON).await;
}

#[tokio::test]
async fn a_node_that_cannot_write_is_a_resync_on_other_nodes() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = Proxy::to(lab.server.as_ref().unwrap().port()).await.unwrap();
    let ((a, _at_a), (_b, mut at_b)) = (listening(lab.bus_at(&proxy.url(&lab.url))).await, lab.node().await);
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);
    proxy.refuse();
    assert!(a.publish(SCOPE, &[change(2)]).await.unwrap_err().is_transient());
    assert!(until_resync(&mut at_b, SOON).await.is_empty(), "the node is silent");
    proxy.pass_new();
    assert!(until_resync(&mut at_b, SOON).await.is_empty(), "its heartbeat names the missing number");
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn a_lock_that_is_never_released_fails_publications_in_time() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (b, mut at_b)) = (listening(with_default_timeout(&lab)).await, lab.node().await);
    let mut holder = lab.client().await;
    holder.query("BEGIN; SELECT seq FROM {t}_head FOR UPDATE").await;
    assert_eq!(fails_in_time(&a).await, [ErrorKind::Timeout; 3]);
    until_health(&b, BusHealth::Degraded, SILENCE + MARGIN).await;
    holder.query("ROLLBACK").await;
    until_resync(&mut at_b, SOON * 2).await;
    assert_works(&a, &mut at_b).await;
    // No statement still waits for the lock on behalf of a caller that gave up.
    until(SOON, "without waiting statements", async || holder.waiting().await == 0).await;
}

#[tokio::test]
async fn dropped_calls_leave_nothing_open() {
    let Some(lab) = Lab::start().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    for round in 1..200 {
        let limit = Duration::from_micros(round % 40 * 25);
        let _ = timeout(limit, a.publish(SCOPE, &[change(round)])).await;
        let _ = timeout(limit, a.subscribe()).await;
    }
    let mut client = lab.client().await;
    let open = "SELECT COUNT(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    until(SOON, "without open transactions", async || client.query(open).await == Some(0)).await;
    until(SOON, "at few connections", async || client.other_connections().await <= 4).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn missing_tables_fail_subscribe_until_they_are_created() {
    let Some(lab) = Lab::shared().await else { return };
    let bus = lab.bus().with_table(fresh_table());
    until(SOON, "reported", async || {
        let error = bus.subscribe().await.unwrap_err();
        error.kind() == ErrorKind::Unavailable && error.to_string().contains("`migrate` creates it")
    })
    .await;
    assert_eq!(bus.publish(SCOPE, &[change(1)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    bus.migrate().await.unwrap();
    until(SOON, "subscribed", async || bus.subscribe().await.is_ok()).await;
}

/// `LISTEN` does not work behind such a pooler, so messages are read at the next heartbeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_transaction_pooler_changes_are_late_but_not_lost() {
    let Some(lab) = Lab::start().await else { return };
    let server = lab.server.as_ref().unwrap();
    let Some(bouncer) = PgBouncer::for_test(server, &Options::default()).unwrap() else { return };
    if !bouncer.tracks_prepared_statements() {
        return println!("skipped: this PgBouncer mixes up prepared statements");
    }
    let options: PgConnectOptions = bouncer.url().parse().unwrap();
    let pool = PgPool::connect_lazy_with(options.extra_float_digits(None));
    let (a, _at_a) = lab.node().await;
    let (b, mut at_b) = listening(PostgresBus::new(pool).with_table(lab.table.clone())).await;
    let mut least = Duration::MAX;
    for number in 1..=5 {
        a.publish(SCOPE, &[change(number)]).await.unwrap();
        let began = Instant::now();
        assert_eq!(changed(&mut at_b).await, [number]);
        least = least.min(began.elapsed());
    }
    assert!(least < HEARTBEAT * 2, "{least:?}");
    until_health(&b, BusHealth::Healthy, SOON).await;
}
