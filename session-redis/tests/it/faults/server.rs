//! A server that is down, stopped, killed or emptied.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_conformance::fixtures::{NOW, at, limit, logged_out, record_at, user};
use session_core::prelude::*;
use session_redis::Connection;
use session_servers::{Options, Server};

use super::audit::assert_consistent;
use super::calls::{
    CALLS, all_fail, assert_recovers, assert_recovers_in, assert_transient, assert_works, call, given,
    in_time,
};
use super::lab::{Lab, wait_for, wait_until};
use super::load::Load;
use super::{DEADLINE, RECOVERY};
use crate::support::{PATIENT, connected};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_up_later_is_found() {
    let Some(mut lab) = Lab::start() else { return };
    lab.server(Server::stop);
    let store = lab.store_at(&lab.url());
    let session = Arc::new(record_at("dora", 0));
    let refused = Duration::from_millis(400);
    let error = assert_transient("the first call", in_time(refused, "load", store.load(&[session.id])).await);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    all_fail(&store, &session, refused).await;
    assert_eq!(store.connection().check().await.unwrap_err().kind(), ErrorKind::Unavailable);
    lab.server(Server::start_again);
    println!("found after {:?}", assert_recovers(&store).await);
}

/// There is not one timeout after the other: between two attempts to connect, calls fail with the
/// last error.
#[tokio::test(flavor = "multi_thread")]
async fn calls_between_two_attempts_to_connect_fail_immediately() {
    let Some(lab) = Lab::start() else { return };
    let proxy = lab.proxy().await;
    proxy.freeze();
    let store = lab.store_at(&proxy.url(&lab.url()));
    let session = Arc::new(record_at("dora", 0));
    let began = Instant::now();
    let mut at_once = 0;
    while at_once <= 20 {
        assert!(began.elapsed() < PATIENT, "only {at_once} calls were answered at once");
        let asked = Instant::now();
        assert_transient("load", in_time(DEADLINE, "load", store.load(&[session.id])).await);
        at_once += u32::from(asked.elapsed() < Duration::from_millis(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (attempts, took) = (proxy.accepted() as u64, began.elapsed());
    assert!(attempts <= took.as_secs() + 2, "{attempts} attempts in {took:?}");
    proxy.pass_new();
    println!("found after {:?}", assert_recovers_in(&store, PATIENT).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_no_confirmed_write() {
    let Some(mut lab) = Lab::start_with(&Options::default().with_durable(true)) else { return };
    let store = lab.store();
    let load = Load::start(&store);
    load.wait_for_rounds(200).await;
    for is_crash in [true, false, true] {
        lab.server(|server| if is_crash { server.kill() } else { server.stop() });
        load.wait_for_failures().await;
        lab.server(Server::start_again);
        let began = Instant::now();
        load.wait_for_rounds(100).await;
        println!("crash: {is_crash}, 100 sessions after {:?}", began.elapsed());
    }
    assert!(load.failures() > 0);
    load.assert_kept().await;
    assert_works(&store).await;
    let count = assert_consistent(&store, &lab.keys, &mut [lab.raw().await]).await;
    println!("{count} sessions are consistent");
}

/// Without persistence the sessions are really gone, so an empty result is correct and not an
/// error.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_its_sessions_accepts_new_ones() {
    let Some(mut lab) = Lab::start() else { return };
    let store = lab.store();
    let session = given(&store, "dora").await;
    lab.server(Server::kill);
    let error = in_time(DEADLINE, "load", store.load(&[session.id])).await;
    assert_transient("load", error);
    lab.server(Server::start_again);
    assert_recovers(&store).await;
    assert!(store.load(&[session.id]).await.unwrap().is_empty());
    let query = ListQuery::default().with_user(user("dora"));
    assert!(store.list(&query).await.unwrap().records.is_empty());
    store.create(Arc::clone(&session), None).await.unwrap();
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_is_a_timeout() {
    let Some(mut lab) = Lab::start() else { return };
    let store = lab.store();
    assert_works(&store).await;
    let session = given(&store, "dora").await;
    lab.server(Server::pause);
    // On the open connection, then on those that are opened meanwhile.
    for may_be_closed in [false, true] {
        for error in all_fail(&store, &session, DEADLINE).await {
            let is_closed = may_be_closed && error.kind() == ErrorKind::Unavailable;
            assert!(error.kind() == ErrorKind::Timeout || is_closed, "{error:?}");
        }
    }
    lab.server(Server::resume);
    println!("recovered after {:?}", assert_recovers(&store).await);
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_end_at_the_configured_deadline() {
    let Some(mut lab) = Lab::start() else { return };
    let patience = Duration::from_millis(150);
    let store = lab.store_on(Connection::open(lab.url()).unwrap().with_timeout(patience));
    let session = given(&lab.store(), "dora").await;
    connected(store.connection());
    lab.server(Server::pause);
    let (asked, session) = (&store, &session);
    // Concurrently, because the connection must outlive the calls.
    join_all(CALLS.map(|name| async move {
        let began = Instant::now();
        let error = assert_transient(name, in_time(patience, name, call(asked, name, session)).await);
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(began.elapsed() >= patience, "{name}: {:?}", began.elapsed());
    }))
    .await;
    assert_eq!(store.connection().check().await.map(drop).map_err(|error| error.kind()), Ok(()));
    lab.server(Server::resume);
    wait_until("it answers", async || store.load(&[session.id]).await.is_ok_and(|found| found.len() == 1))
        .await;
}

/// The connection survives these pauses, and replies arrive for calls that were dropped.
#[tokio::test(flavor = "multi_thread")]
async fn late_replies_never_answer_other_commands() {
    let Some(mut lab) = Lab::start() else { return };
    let patience = Duration::from_millis(200);
    let store = lab.store_on(Connection::open(lab.url()).unwrap().with_timeout(patience));
    connected(store.connection());
    let mut raw = lab.raw().await;
    let before: u64 = raw.info("stats", "total_connections_received").await.unwrap().parse().unwrap();
    let load = Load::of((0..64).map(|task| format!("user {task}")), &store, patience);
    load.wait_for_rounds(100).await;
    let mut longest = Duration::ZERO;
    for _ in 0..4 {
        let began = Instant::now();
        lab.server(Server::pause);
        let failures = load.failures();
        wait_for(RECOVERY, "many are late", async || load.failures() >= failures + 32).await;
        lab.server(Server::resume);
        longest = longest.max(began.elapsed());
        load.wait_for_rounds(100).await;
    }
    let after: u64 = raw.info("stats", "total_connections_received").await.unwrap().parse().unwrap();
    // A longer silence would be noticed.
    assert!(after == before || longest > Duration::from_secs(1), "the connection was replaced");
    let store = lab.store();
    load.assert_kept_in(&store).await;
    assert_consistent(&store, &lab.keys, &mut [raw]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_server_has_no_sessions_and_no_index_members() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    let sessions = [given(&store, "dora").await, given(&store, "dora").await];
    store.end(&EndScope::id(sessions[1].id), &logged_out(1), Timestamp::MAX).await.unwrap();
    raw.run("FLUSHALL").await;
    assert!(store.load(&[sessions[0].id, sessions[1].id]).await.unwrap().is_empty());
    assert!(
        store.end(&EndScope::User(user("dora")), &logged_out(2), Timestamp::MAX).await.unwrap().is_empty()
    );
    assert_eq!(
        store.touch(&[session_conformance::fixtures::touch(sessions[0].id, 4)], NOW).await.unwrap(),
        0
    );
    let update = store.update(Arc::clone(&sessions[0]), sessions[0].revision).await;
    assert_eq!(update.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.expire(at(9_000_000), 10).await.unwrap().is_empty());
    assert!(store.list(&ListQuery::default()).await.unwrap().records.is_empty());
    assert_eq!(assert_consistent(&store, &lab.keys, &mut [lab.raw().await]).await, 0);
    assert_works(&store).await;

    // The same in the middle of a load.
    let load = Load::start(&store);
    load.wait_for_rounds(50).await;
    let promised = load.stop().await;
    raw.run("FLUSHALL").await;
    let lost = promised.lost(&store).await;
    assert_eq!(lost, (promised.created.lock().len(), 0));
    let one = limit(1, OnExceed::Refuse, 9);
    store.create(Arc::new(record_at("user 1", 9)), Some(&one)).await.unwrap();
    assert_eq!(assert_consistent(&store, &lab.keys, &mut [raw]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_sent_again_after_the_server_lost_them() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.patient_store();
    let mut raw = lab.raw().await;
    let load = Load::start_in(PATIENT, &store);
    for _ in 0..20 {
        load.wait_for_rounds(20).await;
        raw.run("SCRIPT FLUSH").await;
    }
    assert_eq!(load.failures(), 0, "{:?}", load.last_failure());
    assert!(raw.errors("NOSCRIPT").await >= 20);
    load.assert_kept().await;
    assert_consistent(&store, &lab.keys, &mut [raw]).await;
}
