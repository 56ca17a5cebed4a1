//! The server's limits: the time of a statement or a lock, idle connections, and read-only mode.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_conformance::fixtures::logged_out;
use session_core::{EndScope, ErrorKind, SessionStore, Timestamp};

use super::calls::{CALLS, assert_fails, assert_recovers, assert_works, call, given, within};
use super::lab::{Lab, on_connect, pool_of};
use super::target::Target;
use super::{LONG_DEADLINE, RECOVERY, on_each_server};

on_each_server!(
    a_statement_that_takes_too_long_is_a_timeout,
    a_lock_that_is_not_released_in_time_is_a_timeout,
    a_read_only_server_refuses_writes_and_answers_reads,
    connections_closed_for_idleness_are_replaced,
);

/// The server's time limit. It is below the deadline of a call, so that the server ends the call.
const LIMIT: Duration = Duration::from_millis(400);

async fn a_statement_that_takes_too_long_is_a_timeout<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(on_connect(pool_of(3), D::LIMIT_STATEMENTS));
    let session = given(&lab.store(pool_of(1)), "dora").await;
    store.connect().await.unwrap();
    let opened = store.held_connections();
    let mut other = lab.raw().await;
    other.run(D::LOCK_TABLE).await;
    let began = Instant::now();
    let calls = CALLS.map(|name| {
        let (store, session) = (&store, &session);
        async move {
            let result = within(LONG_DEADLINE, name, call(store, name, session)).await;
            assert_fails(name, ErrorKind::Timeout, result)
        }
    });
    let errors = futures_util::future::join_all(calls).await;
    assert!(began.elapsed() >= LIMIT);
    for error in errors {
        assert!(error.backend() != "test", "the server did not end {error}");
    }
    other.run(D::UNLOCK_TABLE).await;
    assert_recovers(&store).await;
    let replaced = store.held_connections();
    assert!(replaced.opened_for_loads > opened.opened_for_loads, "{replaced:?}");
    assert!(replaced.opened_for_ends > opened.opened_for_ends, "{replaced:?}");
}

async fn a_lock_that_is_not_released_in_time_is_a_timeout<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(on_connect(pool_of(3), D::LIMIT_LOCKS));
    let session = given(&store, "ann").await;
    let mut other = lab.raw().await;
    other.run("BEGIN").await;
    other
        .run(&format!("UPDATE {{t}} SET label = 'locked' WHERE id = {}", D::id(session.id.as_bytes())))
        .await;
    for name in ["update", "touch", "end"] {
        let result = within(LONG_DEADLINE, name, call(&store, name, &session)).await;
        let error = assert_fails(name, ErrorKind::Timeout, result);
        assert!(error.backend() != "test", "the server did not end {error}");
    }
    // Reads, sign-ins and sweeps do not wait for the lock; the row is still locked.
    for name in ["load", "create", "list", "expire", "stats"] {
        within(LONG_DEADLINE, name, call(&store, name, &session)).await.unwrap();
    }
    other.run("ROLLBACK").await;
    let ended = store.end(&EndScope::id(session.id), &logged_out(3), Timestamp::MAX).await.unwrap();
    assert_eq!(ended[0].label, None);
    assert_works(&store).await;
}

async fn a_read_only_server_refuses_writes_and_answers_reads<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let mut root = lab.raw().await;
    for statement in D::COMMON_USER {
        root.run(statement).await;
    }
    let (admin, _) = lab.url.split_once('@').unwrap();
    let url = lab.url.replacen(admin, &format!("{}://common", admin.split_once(':').unwrap().0), 1);
    let store = Arc::new(lab.store_at(&url, pool_of(3)));
    let session = given(&store, "dora").await;
    assert_works(&*store).await;
    for statement in D::READ_ONLY {
        root.run(statement).await;
    }
    let mut probe = lab.raw_at(&url).await;
    let end = Instant::now() + RECOVERY;
    while probe.try_run("DELETE FROM {t} WHERE revision = -7").await.is_ok() {
        assert!(Instant::now() < end, "the server is never read-only");
        probe = lab.raw_at(&url).await;
    }
    for name in CALLS {
        let result = within(LONG_DEADLINE, name, call(&store, name, &session)).await;
        if ["load", "list", "stats"].contains(&name) {
            result.unwrap();
        } else {
            let error = assert_fails(name, ErrorKind::Unavailable, result);
            assert!(error.to_string().ends_with("(the server is read-only)"), "{error}");
        }
    }
    for statement in D::READ_WRITE {
        root.run(statement).await;
    }
    assert_recovers(&*store).await;
}

async fn connections_closed_for_idleness_are_replaced<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = lab.store(on_connect(pool_of(3), D::LIMIT_IDLENESS));
    store.connect().await.unwrap();
    assert_works(&store).await;
    lab.raw().await.wait_for(D::CLIENTS, 2 * RECOVERY, |clients| clients == 0).await;
    assert_works(&store).await;
}
