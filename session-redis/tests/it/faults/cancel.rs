//! Calls whose futures are dropped at any point.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use session_conformance::fixtures::{NOW, at, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_redis::RedisStore;
use tokio::task::JoinSet;

use super::audit::assert_consistent;
use super::calls::assert_works;
use super::lab::Lab;

/// How often each call is dropped.
const ROUNDS: u64 = 120;

/// Maximum number of live sessions of a user.
const MAX: usize = 2;

const CALLS: [&str; 6] = ["create", "create under a limit", "update", "touch", "end", "expire"];

#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_leave_the_old_state_or_the_new_one() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    assert_works(&store).await;
    let mut tasks = JoinSet::new();
    for (name, number) in CALLS.into_iter().zip(0..) {
        for user in 0..2 {
            tasks.spawn(drop_often(Arc::clone(&store), name, format!("user {number} {user}")));
        }
    }
    tasks.join_all().await;
    // Calls that were sent have finished when this one has.
    assert_works(&store).await;
    let count = assert_consistent(&store, &lab.keys, &mut [lab.raw().await]).await;
    println!("{count} sessions");
}

async fn drop_often(store: Arc<RedisStore>, name: &'static str, user_name: String) {
    let (limit, scope) = (limit(2, OnExceed::EndLeastRecentlySeen, 500), EndScope::User(user(&user_name)));
    let mut finished = 0;
    // A sweep queries every shard.
    let rounds = if name == "expire" { ROUNDS / 5 } else { ROUNDS };
    for round in 0..rounds {
        let mut session = record_at(&user_name, round);
        // The sweeps find only their own sessions.
        session.expires_at = at(if name == "expire" { 5_000 } else { 50_000 } + round);
        let session = Arc::new(session);
        if !name.starts_with("create") {
            store.create(Arc::clone(&session), None).await.unwrap();
        }
        let mut changed = SessionRecord::clone(&session);
        changed.label = Some("changed".to_owned());
        let touches = [touch(session.id, round + 1)];
        let ended = logged_out(round + 2);
        let call = async {
            match name {
                "create" => store.create(Arc::clone(&session), None).await.map(drop),
                "create under a limit" => store.create(Arc::clone(&session), Some(&limit)).await.map(drop),
                "update" => store.update(Arc::new(changed), session.revision).await.map(drop),
                "touch" => store.touch(&touches, NOW).await.map(drop),
                "end" => store.end(&scope, &ended, Timestamp::MAX).await.map(drop),
                _ => store.expire(at(5_000 + round), 10).await.map(drop),
            }
        };
        let is_finished = if round % 2 == 0 {
            tokio::time::timeout(Duration::from_micros(round * 17 % 2_000), call).await.is_ok()
        } else {
            after_polls(call, round / 2 % 8).await
        };
        finished += u64::from(is_finished);
        let found = store.load(&[session.id]).await.unwrap();
        let Some(stored) = found.first() else {
            assert!(name.starts_with("create") && !is_finished, "{name} lost a session");
            continue;
        };
        assert_eq!(stored.label.is_some(), stored.revision != session.revision && name == "update", "{name}");
        if name == "create under a limit" {
            let query =
                ListQuery::default().with_user(user(&user_name)).with_state(StateFilter::Live(at(500)));
            assert!(store.list(&query).await.unwrap().records.len() <= MAX);
        }
    }
    println!("{name}: {finished} of {rounds} finished");
    assert!(finished < rounds, "{name} was never dropped");
}

/// Drops a future after a number of polls, each when it is ready for one. Returns true if it
/// finished.
async fn after_polls(future: impl Future, polls: u64) -> bool {
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
