//! An exhausted pool, and how many connections a store opens.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::fixtures::{logged_out, record};
use session_core::{EndScope, ErrorKind, SessionStore, Timestamp};
use tokio::task::JoinSet;

use super::calls::{
    CALLS, assert_fails, assert_recovers, assert_transient, assert_works, call, given, within,
};
use super::lab::{Lab, pool_of};
use super::target::Target;
use super::{DEADLINE, LONG_DEADLINE, on_each_database, on_each_server};

on_each_database!(requests_and_revocations_work_while_the_pool_is_exhausted);

mod connections {
    super::on_each_server!(
        a_store_opens_at_most_three_connections_beyond_its_pool,
        a_full_server_is_an_outage
    );

    use super::{a_full_server_is_an_outage, a_store_opens_at_most_three_connections_beyond_its_pool};
}

/// How long the pool of these tests waits for a connection.
const ACQUIRE: Duration = Duration::from_millis(300);

async fn requests_and_revocations_work_while_the_pool_is_exhausted<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let pool = pool_of::<D>(2).acquire_timeout(ACQUIRE).connect(&lab.url).await.unwrap();
    let store = lab.store_on(pool.clone());
    store.connect().await.unwrap();
    let session = given(&store, "ann").await;
    let held = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());

    let create = within(LONG_DEADLINE, "create", store.create(Arc::new(record("bob")), None));
    let requests = async {
        assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
        let ended = store.end(&EndScope::id(session.id), &logged_out(2), Timestamp::MAX).await.unwrap();
        assert_eq!(ended.len(), 1);
        assert!(store.load(&[session.id]).await.unwrap()[0].ended().is_some());
    };
    let (created, ()) = tokio::join!(create, requests);
    let error = assert_fails("create", ErrorKind::Unavailable, created);
    assert_eq!(
        error.to_string(),
        format!("{} create: unavailable (the pool has no connection to give)", error.backend())
    );

    // Until here no call could get one of these connections.
    drop(held);
    assert_works(&store).await;
}

async fn a_store_opens_at_most_three_connections_beyond_its_pool<D: Target>() {
    const POOL: u32 = 5;
    let Some(lab) = Lab::<D>::start().await else { return };
    let mut watcher = lab.raw_alone().await;
    let store = Arc::new(lab.store(pool_of(POOL)));
    let session = given(&store, "dora").await;
    let mut calls = JoinSet::new();
    for number in 0..200 {
        let (store, session) = (Arc::clone(&store), Arc::clone(&session));
        calls.spawn(async move {
            match call(&store, CALLS[number % CALLS.len()], &session).await {
                // All tasks update the same revision of a session that a sweep ends, and one of
                // them is first.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Ended) => {}
                result => result.unwrap(),
            }
        });
    }
    let mut most = 0;
    while !calls.is_empty() {
        most = most.max(watcher.number(D::CLIENTS).await);
        while let Some(call) = calls.try_join_next() {
            call.unwrap();
        }
    }
    // The connections stay open.
    most = most.max(watcher.number(D::CLIENTS).await);
    println!("at most {most} connections");
    assert!((4..=i64::from(POOL) + 3).contains(&most), "{most} connections");
}

async fn a_full_server_is_an_outage<D: Target>() {
    let Some(lab) = Lab::<D>::start_with(false, &[("max_connections", "12")]).await else { return };
    let _watcher = lab.raw_alone().await;
    let store = lab.store(pool_of(1));
    let session = given(&store, "dora").await;
    let mut others = Vec::new();
    while let Ok(other) = <D::Connection as sqlx::Connection>::connect(&lab.url).await {
        others.push(other);
    }
    assert!(others.len() > 4, "only {} connections", others.len());
    // Works on the connection that the store already has.
    given(&store, "ann").await;

    let late = lab.store(pool_of(2).acquire_timeout(ACQUIRE));
    let calls = CALLS.map(|name| {
        let (store, session) = (&late, &session);
        async move {
            let result = within(LONG_DEADLINE, name, call(store, name, session)).await;
            assert_fails(name, ErrorKind::Unavailable, result)
        }
    });
    join_all(calls).await;
    assert_transient("connect", within(DEADLINE, "connect", late.connect()).await);
    drop(others);
    assert_recovers(&late).await;
    assert_recovers(&store).await;
}
