//! The operations of a store, each as one call that must end in time.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use session_redis::RedisStore;

use super::{DEADLINE, LATE, RECOVERY};

/// How often a test measures how late it is woken.
const TICK: Duration = Duration::from_millis(50);

/// Every operation that uses the server.
pub(super) const CALLS: [&str; 11] = [
    "create",
    "create under a limit",
    "load",
    "update",
    "touch",
    "end",
    "list",
    "expire",
    "purge",
    "erase",
    "stats",
];

/// The operations that write nothing.
pub(super) const READS: [&str; 3] = ["load", "list", "stats"];

/// Makes a call that has a result other than "nothing" while the session is stored and active.
pub(super) async fn call(store: &RedisStore, name: &str, session: &Arc<SessionRecord>) -> Result<()> {
    let ann = user("ann");
    match name {
        "create" => store.create(Arc::new(full("ann")), None).await.map(drop),
        "create under a limit" => {
            let limit = limit(3, OnExceed::EndOldest, 500);
            store.create(Arc::new(record_at("ann", 1)), Some(&limit)).await.map(drop)
        }
        "load" => found(store.load(&[session.id]).await?.len()),
        "update" => {
            let mut changed = SessionRecord::clone(session);
            changed.label = Some("changed".to_owned());
            store.update(Arc::new(changed), session.revision).await.map(drop)
        }
        "touch" => store.touch(&[touch(session.id, 5)], NOW).await.map(drop),
        "end" => store.end(&EndScope::User(ann), &logged_out(6), Timestamp::MAX).await.map(drop),
        "list" => found(store.list(&ListQuery::default()).await?.records.len()),
        "expire" => store.expire(at(4_000_000), 10).await.map(drop),
        "purge" => store.purge(at(7), 10).await.map(drop),
        "erase" => store.erase(&ann, 10).await.map(drop),
        "stats" => found(usize::from(store.stats(at(1)).await?.oldest.is_some())),
        other => panic!("unknown call {other}"),
    }
}

/// Fails if nothing was found: an outage must never make a stored session look absent.
fn found(records: usize) -> Result<()> {
    if records == 0 { Err(Error::not_found("test", "read")) } else { Ok(()) }
}

/// Waits for a call, which must end in time by itself.
///
/// A busy machine wakes every task late; the lag is measured beside the call.
pub(crate) async fn in_time<T>(
    deadline: Duration,
    what: &str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (mut call, mut lag) = (pin!(call), Duration::ZERO);
    let (began, mut woke) = (Instant::now(), Instant::now());
    let result = loop {
        let result = tokio::time::timeout(TICK, &mut call).await;
        lag += woke.elapsed().saturating_sub(TICK);
        woke = Instant::now();
        match result {
            Ok(result) => break result,
            Err(_) => assert!(began.elapsed() < 2 * deadline + RECOVERY + 2 * lag, "{what} does not end"),
        }
    };
    let took = began.elapsed();
    assert!(took < deadline + LATE + 2 * lag, "{what} took {took:?}, with a lag of {lag:?}");
    result
}

/// Asserts that the failure is transient.
#[track_caller]
pub(super) fn assert_transient<T>(what: &str, result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("{what} succeeded"),
        Err(error) => {
            assert!(error.is_transient(), "{what}: {error:?}");
            error
        }
    }
}

/// Asserts that the call fails with this kind.
#[track_caller]
pub(super) fn assert_fails<T>(what: &str, kind: ErrorKind, result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("{what} succeeded"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{what}: {error:?}");
            error
        }
    }
}

/// Makes every call at once while the server is down, and returns the errors.
pub(super) async fn all_fail(
    store: &RedisStore,
    session: &Arc<SessionRecord>,
    deadline: Duration,
) -> Vec<Error> {
    let calls = CALLS.map(|name| async move {
        let result = in_time(deadline, name, call(store, name, session)).await;
        assert_transient(name, result)
    });
    join_all(calls).await
}

/// Stores a session of the named user.
pub(super) async fn given(store: &RedisStore, name: &str) -> Arc<SessionRecord> {
    create(store, record(name)).await
}

pub(super) async fn create(store: &RedisStore, record: SessionRecord) -> Arc<SessionRecord> {
    let session = Arc::new(record);
    store.create(Arc::clone(&session), None).await.unwrap();
    session
}

/// Makes every call once, on a session of its own.
async fn try_all(store: &RedisStore) -> Result<()> {
    let session = Arc::new(record("bob"));
    in_time(DEADLINE, "create", store.create(Arc::clone(&session), None)).await?;
    for name in CALLS {
        in_time(DEADLINE, name, call(store, name, &session)).await?;
    }
    let stored = store.load(&[session.id]).await?.pop().ok_or_else(|| Error::not_found("test", "load"))?;
    assert_eq!(stored.label.as_deref(), Some("changed"));
    in_time(DEADLINE, "end", store.end(&EndScope::id(session.id), &logged_out(6), Timestamp::MAX))
        .await
        .map(drop)
}

/// Asserts that all operations work.
pub(super) async fn assert_works(store: &RedisStore) {
    try_all(store).await.unwrap();
}

/// Asserts that all operations work again within [`RECOVERY`], without help.
pub(super) async fn assert_recovers(store: &RedisStore) -> Duration {
    assert_recovers_in(store, RECOVERY).await
}

pub(super) async fn assert_recovers_in(store: &RedisStore, patience: Duration) -> Duration {
    let began = Instant::now();
    loop {
        match try_all(store).await {
            Ok(()) => return began.elapsed(),
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                assert!(began.elapsed() < patience, "still not after {:?}: {error:?}", began.elapsed());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

pub(super) fn ids(records: &[Arc<SessionRecord>]) -> Vec<SessionId> {
    let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
    ids.sort_unstable();
    ids
}
