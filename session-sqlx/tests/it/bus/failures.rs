//! What the bus does when its server, or the way to it, fails.

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
    GAP_IS_TOLD, Lab, SOON, assert_quiet, change, changed, fails_in_time, listening, next, until,
    until_health, until_resync,
};
use crate::support::fresh_table;

/// A server is late, or a processor is shared.
const MARGIN: Duration = Duration::from_secs(10);

async fn assert_works(a: &PostgresBus, at_b: &mut Box<dyn Subscription>) {
    until(SOON, "published", async || a.publish(SCOPE, &[change(77)]).await.is_ok()).await;
    // The time before may still be a resync, and that may stand for what was published.
    let heard = async {
        loop {
            match at_b.next().await {
                BusEvent::Resync => drop(a.publish(SCOPE, &[change(77)]).await),
                event if event == BusEvent::Changed(SCOPE, vec![change(77)]) => break,
                _ => {}
            }
        }
    };
    timeout(SOON, heard).await.expect("what was published");
}

/// A node that gives a publication no more time than applications do.
fn impatient(lab: &Lab) -> PostgresBus {
    lab.bus().with_timeout(PostgresBus::TIMEOUT)
}

fn start_again(server: &mut Server) {
    tokio::task::block_in_place(|| server.start_again()).unwrap();
}

/// The listening connection is closed again and again while others publish: all of it arrives, in order.
#[tokio::test]
async fn what_was_said_while_the_connection_was_lost_arrives_without_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let mut stranger = lab.stranger().await;
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, lab.node().await);
    for round in 0..3 {
        until(SOON, "listening", async || stranger.listening().await == 2).await;
        assert_eq!(stranger.kill_listening().await, 2);
        for number in 1..=20 {
            a.publish(SCOPE, &[change(round * 20 + number)]).await.unwrap();
        }
        for number in 1..=20 {
            assert_eq!(changed(&mut at_b).await, [round * 20 + number]);
        }
        until_health(&b, BusHealth::Healthy, SOON).await;
    }
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

/// For so long that the node was degraded.
#[tokio::test]
async fn what_was_said_while_a_node_was_cut_off_arrives_without_a_resync() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = Proxy::to(lab.server.as_ref().unwrap().port()).await.unwrap();
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, listening(lab.bus_at(&proxy.url(&lab.url))).await);
    proxy.refuse();
    let noticed = until_health(&b, BusHealth::Degraded, PostgresBus::SILENCE + MARGIN).await;
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
    assert_quiet(&mut at_b, GAP_IS_TOLD).await;
}

#[tokio::test]
async fn a_node_that_was_cut_off_for_longer_than_messages_are_kept_resyncs() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = Proxy::to(lab.server.as_ref().unwrap().port()).await.unwrap();
    let (a, _at_a) = listening(lab.bus().with_retention(Duration::from_secs(1))).await;
    let (b, mut at_b) = listening(lab.bus_at(&proxy.url(&lab.url))).await;
    proxy.refuse();
    until_health(&b, BusHealth::Degraded, PostgresBus::SILENCE + MARGIN).await;
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    let mut stranger = lab.stranger().await;
    let said = stranger.ask("SELECT MAX(seq) FROM {t}").await.unwrap();
    let oldest = "SELECT MIN(seq) FROM {t}";
    until(SOON * 6, "removed", async || stranger.ask(oldest).await.is_some_and(|seq| seq > said)).await;
    proxy.pass_new();
    assert!(until_resync(&mut at_b, SOON).await.is_empty());
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn emptied_tables_are_a_resync() {
    let Some(lab) = Lab::shared().await else { return };
    let mut stranger = lab.stranger().await;
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, lab.node().await);
    for text in ["TRUNCATE {t}", "DELETE FROM {t}", "TRUNCATE {t}_head, {t}"] {
        stranger.ask(text).await;
        // What nobody had read yet is gone, or the log began anew.
        a.publish(SCOPE, &[change(1)]).await.unwrap();
        stranger.ask(text).await;
        until_health(&b, BusHealth::Healthy, SOON).await;
        assert_works(&a, &mut at_b).await;
    }
    stranger.ask("TRUNCATE {t}_head, {t}").await;
    until_resync(&mut at_b, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_degrades_the_bus_until_it_is_back() {
    let Some(mut lab) = Lab::start().await else { return };
    let ((a, _at_a), (b, mut at_b)) = (listening(impatient(&lab)).await, lab.node().await);
    until(SOON, "published", async || a.publish(SCOPE, &[change(1)]).await.is_ok()).await;
    while next(&mut at_b).await != BusEvent::Changed(SCOPE, vec![change(1)]) {}
    lab.server.as_mut().unwrap().kill().unwrap();
    until_health(&b, BusHealth::Degraded, PostgresBus::SILENCE + MARGIN).await;
    fails_in_time(&a).await;
    assert!(b.subscribe().await.unwrap_err().is_transient());
    assert!(at_b.next().now_or_never().is_none(), "nothing to tell before it is back");

    start_again(lab.server.as_mut().unwrap());
    assert!(until_resync(&mut at_b, SOON + MARGIN).await.is_empty(), "the crash emptied the table");
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_restarted_in_order_loses_nothing() {
    let Some(mut lab) = Lab::start().await else { return };
    let ((a, _at_a), (b, mut at_b)) = (lab.node().await, lab.node().await);
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);
    tokio::task::block_in_place(|| lab.server.as_mut().unwrap().stop()).unwrap();
    start_again(lab.server.as_mut().unwrap());
    // As many attempts as it takes. Those that fail use a number, and are a resync; so is one that a beat has overtaken.
    until(SOON, "published", async || a.publish(SCOPE, &[change(2)]).await.is_ok()).await;
    let told = |event| event == BusEvent::Resync || event == BusEvent::Changed(SCOPE, vec![change(2)]);
    timeout(SOON, async { while !told(at_b.next().await) {} }).await.unwrap();
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_degrades_the_bus_until_it_goes_on() {
    let Some(mut lab) = Lab::start().await else { return };
    let ((a, _at_a), (b, mut at_b)) = (listening(impatient(&lab)).await, lab.node().await);
    let paused = Instant::now();
    lab.server.as_mut().unwrap().pause().unwrap();
    until_health(&b, BusHealth::Degraded, PostgresBus::SILENCE + MARGIN).await;
    assert!(paused.elapsed() > PostgresBus::BEAT, "{:?}: the connection was not closed", paused.elapsed());
    fails_in_time(&a).await;
    lab.server.as_mut().unwrap().resume().unwrap();
    until_resync(&mut at_b, PostgresBus::SILENCE * 2 + MARGIN).await;
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
    until_health(&b, BusHealth::Degraded, PostgresBus::SILENCE + MARGIN).await;
    assert!(frozen.elapsed() > PostgresBus::BEAT, "{:?}: the connection was not closed", frozen.elapsed());
    let mut heard = Vec::new();
    while !heard.contains(&BusEvent::Changed(SCOPE, vec![change(1)])) {
        heard.push(next(&mut at_b).await);
    }
    until_health(&b, BusHealth::Healthy, SOON).await;
    assert_works(&a, &mut at_b).await;
    // Its own connections were well.
    until_health(&a, BusHealth::Healthy, SOON).await;
}

#[tokio::test]
async fn a_node_that_cannot_write_is_a_resync_elsewhere() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = Proxy::to(lab.server.as_ref().unwrap().port()).await.unwrap();
    let ((a, _at_a), (_b, mut at_b)) = (listening(lab.bus_at(&proxy.url(&lab.url))).await, lab.node().await);
    a.publish(SCOPE, &[change(1)]).await.unwrap();
    assert_eq!(changed(&mut at_b).await, [1]);
    proxy.refuse();
    assert!(a.publish(SCOPE, &[change(2)]).await.unwrap_err().is_transient());
    assert!(until_resync(&mut at_b, SOON).await.is_empty(), "it has fallen silent");
    proxy.pass_new();
    assert!(until_resync(&mut at_b, SOON).await.is_empty(), "it says how far it had counted");
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn a_lock_that_is_never_released_fails_publications_in_time() {
    let Some(lab) = Lab::shared().await else { return };
    let ((a, _at_a), (b, mut at_b)) = (listening(impatient(&lab)).await, lab.node().await);
    let mut holder = lab.stranger().await;
    holder.ask("BEGIN; SELECT seq FROM {t}_head FOR UPDATE").await;
    assert_eq!(fails_in_time(&a).await, [ErrorKind::Timeout; 3]);
    until_health(&b, BusHealth::Degraded, PostgresBus::SILENCE + MARGIN).await;
    holder.ask("ROLLBACK").await;
    until_resync(&mut at_b, SOON * 2).await;
    assert_works(&a, &mut at_b).await;
    // Nobody waits any more on behalf of callers that are gone.
    until(SOON, "without waiting", async || holder.waiting().await == 0).await;
}

#[tokio::test]
async fn dropped_calls_leave_nothing_open() {
    let Some(lab) = Lab::start().await else { return };
    let ((a, _at_a), (_b, mut at_b)) = (lab.node().await, lab.node().await);
    for round in 1..200 {
        let patience = Duration::from_micros(round % 40 * 25);
        let _ = timeout(patience, a.publish(SCOPE, &[change(round)])).await;
        let _ = timeout(patience, a.subscribe()).await;
    }
    let mut stranger = lab.stranger().await;
    let open = "SELECT COUNT(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    until(SOON, "nothing open", async || stranger.ask(open).await == Some(0)).await;
    until(SOON, "few connections", async || stranger.others().await <= 4).await;
    assert_works(&a, &mut at_b).await;
}

#[tokio::test]
async fn tables_that_are_missing_are_told_when_subscribing_and_found_when_they_are_there() {
    let Some(lab) = Lab::shared().await else { return };
    let bus = lab.bus().with_table(fresh_table());
    until(SOON, "told", async || {
        let error = bus.subscribe().await.unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        error.kind() == ErrorKind::Unavailable && source.contains("`migrate` makes it")
    })
    .await;
    assert_eq!(bus.publish(SCOPE, &[change(1)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    bus.migrate().await.unwrap();
    until(SOON, "subscribed", async || bus.subscribe().await.is_ok()).await;
}

/// `LISTEN` does not work there: what is published is read at the next beat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_of_transactions_changes_are_late_and_not_lost() {
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
    assert!(least < PostgresBus::BEAT * 2, "{least:?}");
    until_health(&b, BusHealth::Healthy, SOON).await;
}
