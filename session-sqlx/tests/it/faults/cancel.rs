//! Calls whose futures are dropped at any point.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use session_core::SessionStore;
use session_sqlx::SqlStore;
use tokio::task::JoinSet;

use super::calls::{CALLS, assert_works, call, given};
use super::lab::{Lab, pool_of};
use super::on_each_database;
use super::target::Target;

on_each_database!(dropped_calls_leave_no_transaction_no_lock_and_no_connection);

const POOL: u32 = 5;

/// How often each call is made; many of the calls are dropped.
const ROUNDS: u32 = 200;

/// The limit until the database notices a dropped call.
const NOTICE_LIMIT: Duration = Duration::from_secs(15);

async fn dropped_calls_leave_no_transaction_no_lock_and_no_connection<D: Target>() {
    let Some(lab) = Lab::<D>::start().await else { return };
    let pool = pool_of::<D>(POOL).connect(&lab.url).await.unwrap();
    let store = Arc::new(lab.store_on(pool.clone()));
    assert_works(&*store).await;
    let mut tasks = JoinSet::new();
    for name in CALLS {
        tasks.spawn(drop_often(Arc::clone(&store), name));
    }
    tasks.join_all().await;

    let mut watcher = lab.raw().await;
    watcher.wait_for(D::IDLE_IN_TRANSACTION, NOTICE_LIMIT, |open| open == 0).await;
    watcher.wait_for(D::CLIENTS, NOTICE_LIMIT, |clients| clients <= i64::from(POOL) + 3).await;
    assert!(pool.size() <= POOL, "{} connections", pool.size());
    if D::KIND.is_none() {
        watcher.run("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE; ROLLBACK").await;
    }
    assert_works(&*store).await;
    // The pool can still give out all of its connections at once.
    let mut all = Vec::new();
    for _ in 0..POOL {
        all.push(tokio::time::timeout(NOTICE_LIMIT, pool.acquire()).await.unwrap().unwrap());
    }
}

async fn drop_often<D: Target>(store: Arc<SqlStore<D>>, name: &'static str) {
    let session = given(&store, "dora").await;
    let mut finished = 0;
    for round in 0..ROUNDS {
        let call = call(&store, name, &session);
        let is_finished = if round % 2 == 0 {
            tokio::time::timeout(Duration::from_micros(u64::from(round) * 40), call).await.is_ok()
        } else {
            after_polls(call, round / 2 % 25).await
        };
        finished += u32::from(is_finished);
    }
    println!("{name}: {finished} of {ROUNDS} completed");
    assert!(finished < ROUNDS, "{name} was never dropped");
    assert!(store.load(&[session.id]).await.unwrap().len() < 2);
}

/// Polls a future so many times, each time when it is ready to be polled, and drops it. Returns
/// true if it completed.
async fn after_polls(future: impl Future, polls: u32) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
