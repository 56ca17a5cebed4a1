//! Transactions that the database rolls back because of other transactions.

use std::sync::Arc;

use futures_util::future::join_all;
use session_conformance::fixtures::{NOW, at, limit, logged_out, record_at, user};
use session_core::prelude::*;

use super::calls::{assert_works, given, within};
use super::lab::{Lab, on_connect, pool_of};
use super::target::Target;
use super::{LONG_DEADLINE, on_each_server};

on_each_server!(a_deadlock_is_retried, limits_are_exact_where_transactions_are_serializable,);

/// The server rolls back the store's transaction, because the other one wrote more or checks for
/// deadlocks later.
async fn a_deadlock_is_retried<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let store = Arc::new(lab.store(on_connect(pool_of(2), D::FIND_DEADLOCKS_SOON)));
    let sessions = [Arc::new(record_at("ann", 0)), Arc::new(record_at("ann", 1))];
    for session in &sessions {
        store.create(Arc::clone(session), None).await.unwrap();
    }
    let [first, second] = sessions.map(|session| D::id(session.id.as_bytes()));
    let (mut other, mut watcher) = (lab.raw().await, lab.raw().await);
    other.run("CREATE TABLE heavy (number INTEGER)").await;
    other.run(D::FIND_DEADLOCKS_LATE).await;
    let before = watcher.number(D::DEADLOCKS).await;

    other.run("BEGIN").await;
    for _ in 0..50 {
        other.run("INSERT INTO heavy VALUES (1), (2), (3), (4), (5), (6), (7), (8)").await;
    }
    other.run(&format!("UPDATE {{t}} SET label = 'locked' WHERE id = {second}")).await;
    let ending = Arc::clone(&store);
    let ending = tokio::spawn(async move {
        let scope = EndScope::User(user("ann"));
        within(LONG_DEADLINE, "end", ending.end(&scope, &logged_out(2), Timestamp::MAX)).await
    });
    watcher.wait_for(D::WAITING, LONG_DEADLINE, |waiting| waiting == 1).await;
    other.run(&format!("UPDATE {{t}} SET label = 'locked' WHERE id = {first}")).await;
    // The other transaction holds both rows now, and the store's second attempt waits for them.
    watcher.wait_for(D::WAITING, LONG_DEADLINE, |waiting| waiting == 1).await;
    other.run("ROLLBACK").await;

    let ended = ending.await.unwrap().unwrap();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|session| session.label.is_none()));
    assert_works(&*store).await;
    // PostgreSQL adds a connection's deadlocks to its statistics when the connection ends.
    drop(store);
    watcher.wait_for(D::DEADLOCKS, LONG_DEADLINE, |deadlocks| deadlocks > before).await;
    println!("{} deadlocks", watcher.number(D::DEADLOCKS).await - before);
}

async fn limits_are_exact_where_transactions_are_serializable<D: Target>() {
    const MAX: u32 = 3;
    let Some(lab) = Lab::<D>::start_with(false, &[(D::ISOLATION, "serializable")]).await else { return };
    let store = Arc::new(lab.store(pool_of(8)));
    let doomed = given(&store, "bob").await;
    let limit = limit(MAX, OnExceed::EndOldest, 500);
    let calls = (0..64).map(|number| {
        let (store, doomed) = (Arc::clone(&store), Arc::clone(&doomed));
        tokio::spawn(async move {
            let record = Arc::new(record_at("ann", number));
            let created = store.create(record, Some(&limit)).await.map(drop);
            let others = [
                store.update(Arc::clone(&doomed), doomed.revision).await.map(drop),
                store.touch(&[session_conformance::fixtures::touch(doomed.id, number)], NOW).await.map(drop),
                store.expire(at(1), 10).await.map(drop),
                store.load(&[doomed.id]).await.map(drop),
                store.stats(at(1)).await.map(drop),
            ];
            for answer in others.into_iter().chain([created.clone()]) {
                let is_honest = |error: &Error| error.kind() == ErrorKind::Conflict || error.is_transient();
                assert!(answer.as_ref().err().is_none_or(is_honest), "{answer:?}");
            }
            usize::from(created.is_ok())
        })
    });
    let mut watcher = lab.raw().await;
    let live =
        format!("SELECT COUNT(*) FROM {{t}} WHERE ended_at IS NULL AND created_at < {}", at(500).as_millis());
    let watched = async {
        loop {
            let live = watcher.number(&live).await;
            assert!(live <= i64::from(MAX) + 1, "{live} live sessions");
        }
    };
    let created: usize = tokio::select! {
        created = join_all(calls) => created.into_iter().map(Result::unwrap).sum(),
        () = watched => unreachable!(),
    };
    println!("{created} of 64 sign-ins");
    assert!(created >= 32, "only {created} sign-ins of 64");
    let query = ListQuery::default().with_user(user("ann")).with_state(StateFilter::Live(at(500)));
    assert_eq!(store.list(&query).await.unwrap().records.len(), MAX as usize);
}
