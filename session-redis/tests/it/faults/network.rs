//! A network that drops, delays or closes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_conformance::fixtures::{NOW, logged_out, record, touch};
use session_core::prelude::*;
use session_redis::Connection;

use super::DEADLINE;
use super::calls::{all_fail, assert_fails, assert_recovers, assert_works, given, in_time};
use super::lab::{Lab, is_open, wait_until};
use crate::support::connected;

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_drops_everything_is_an_outage() {
    let Some(lab) = Lab::start() else { return };
    let proxy = lab.proxy().await;
    let store = lab.store_behind(&proxy);
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    proxy.freeze();
    // On the open connection, then on those that are opened meanwhile. A call in flight when the
    // silence is noticed fails with `Unavailable`.
    for _ in 0..2 {
        for error in all_fail(&store, &session, DEADLINE).await {
            assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error:?}");
        }
    }
    proxy.pass_new();
    println!("recovered after {:?}", assert_recovers(&store).await);
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}

/// A dead connection is detected without any call.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_falls_silent_is_replaced() {
    let Some(lab) = Lab::start() else { return };
    let proxy = lab.proxy().await;
    let store = lab.store_behind(&proxy);
    let session = given(&store, "dora").await;
    let began = Instant::now();
    proxy.freeze();
    wait_until("the silence is noticed", async || !is_open(&store)).await;
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_900), "{took:?} is too soon");
    proxy.pass_new();
    connected(store.connection());
    assert_eq!(in_time(DEADLINE, "load", store.load(&[session.id])).await.unwrap().len(), 1);
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_delays_calls_until_they_time_out() {
    let Some(lab) = Lab::start() else { return };
    let proxy = lab.proxy().await;
    let patience = Duration::from_millis(800);
    let store = lab.store_on(Connection::open(proxy.url(&lab.url())).unwrap().with_timeout(patience));
    connected(store.connection());
    let direct = lab.store();
    // Afterwards the server knows all scripts, so each call takes one request.
    assert_works(&direct).await;
    let session = given(&direct, "dora").await;
    let slow = Duration::from_millis(100);
    proxy.delay(slow);
    let began = Instant::now();
    let loaded = in_time(patience, "load", store.load(&[session.id])).await.unwrap();
    assert!(loaded.len() == 1 && began.elapsed() >= slow);
    in_time(patience, "create", store.create(Arc::new(record("ann")), None)).await.unwrap();
    in_time(patience, "touch", store.touch(&[touch(session.id, 3)], NOW)).await.unwrap();

    proxy.delay(2 * patience);
    let ended = logged_out(50);
    let scope = EndScope::id(session.id);
    let ids = [session.id];
    let (load, end) = tokio::join!(
        in_time(patience, "load", store.load(&ids)),
        in_time(patience, "end", store.end(&scope, &ended, Timestamp::MAX)),
    );
    assert_fails("load", ErrorKind::Timeout, load);
    assert_fails("end", ErrorKind::Timeout, end);
    proxy.delay(Duration::ZERO);
    wait_until("it is fast again", async || store.load(&ids).await.is_ok()).await;
    wait_until("the end arrived", async || direct.load(&ids).await.unwrap()[0].ended() == Some(&ended)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_for_idleness_are_replaced() {
    let Some(lab) = Lab::start_set(&["--timeout", "1"]) else { return };
    let store = lab.store();
    let session = given(&store, "dora").await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        if let Err(error) = store.load(&[session.id]).await {
            // The server closed the connection during the call.
            assert!(error.is_transient() && !is_open(&store), "{error:?}");
            connected(store.connection());
        }
        assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
        assert_works(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closed_while_idle_is_replaced() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let session = given(&store, "dora").await;
    let mut raw = lab.raw().await;
    for round in 0..5 {
        let killed: u32 = raw.ask("CLIENT KILL TYPE normal SKIPME yes").await;
        assert_eq!(killed, 1, "round {round}");
        wait_until("it is noticed", async || !is_open(&store)).await;
        assert_eq!(in_time(DEADLINE, "load", store.load(&[session.id])).await.unwrap().len(), 1);
        assert!(is_open(&store));
    }
    assert_works(&store).await;
}
