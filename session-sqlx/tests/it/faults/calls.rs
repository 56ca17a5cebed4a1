//! The operations of a store, each as one call with a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use session_sqlx::SqlStore;

use super::target::Target;
use super::{DEADLINE, LATE, LONG_DEADLINE, RECOVERY};

/// Every operation that queries the database.
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

/// Makes a call that finds something while the session is stored and active.
pub(super) async fn call<D: Target>(
    store: &SqlStore<D>,
    name: &str,
    session: &Arc<SessionRecord>,
) -> Result<()> {
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
        other => panic!("no call {other}"),
    }
}

/// Fails if nothing was found: during an outage a stored session must never be reported as missing.
fn found(records: usize) -> Result<()> {
    if records == 0 { Err(Error::not_found("test", "read")) } else { Ok(()) }
}

/// Waits for a call as an application does, and asserts that it returns soon after its deadline.
pub(super) async fn within<T>(
    deadline: Duration,
    what: &str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let began = Instant::now();
    let result = tokio::time::timeout(deadline, call).await;
    let took = began.elapsed();
    assert!(took < deadline + LATE, "{what} took {took:?}");
    result.unwrap_or_else(|_| Err(Error::timeout("test", "wait")))
}

/// Asserts that the call failed with a transient error.
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

/// Asserts that the call failed with a transient error of this kind.
#[track_caller]
pub(super) fn assert_fails<T>(what: &str, kind: ErrorKind, result: Result<T>) -> Error {
    let error = assert_transient(what, result);
    assert_eq!(error.kind(), kind, "{what}: {error:?}");
    error
}

/// Makes every call at once while the database is down, and asserts that each fails.
pub(super) async fn assert_all_fail<D: Target>(store: &SqlStore<D>, session: &Arc<SessionRecord>) {
    let calls = CALLS.map(|name| async move {
        let result = within(DEADLINE, name, call(store, name, session)).await;
        assert_transient(name, result)
    });
    join_all(calls).await;
}

/// Stores a session of a user.
pub(super) async fn given<D: Target>(store: &SqlStore<D>, name: &str) -> Arc<SessionRecord> {
    let session = Arc::new(record(name));
    store.create(Arc::clone(&session), None).await.unwrap();
    session
}

/// Makes every call once, on a new session.
async fn try_all<D: Target>(store: &SqlStore<D>, deadline: Duration) -> Result<()> {
    let session = Arc::new(record("bob"));
    within(deadline, "create", store.create(Arc::clone(&session), None)).await?;
    for name in CALLS {
        within(deadline, name, call(store, name, &session)).await?;
    }
    let stored = store.load(&[session.id]).await?.pop().ok_or_else(|| Error::not_found("test", "load"))?;
    assert_eq!(stored.label.as_deref(), Some("changed"));
    Ok(())
}

/// Asserts that all operations work.
pub(super) async fn assert_works<D: Target>(store: &SqlStore<D>) {
    try_all(store, LONG_DEADLINE).await.unwrap();
}

/// Asserts that all operations work again within [`RECOVERY`], without help. Returns the time that
/// it took.
pub(super) async fn assert_recovers<D: Target>(store: &SqlStore<D>) -> Duration {
    let began = Instant::now();
    loop {
        match try_all(store, DEADLINE).await {
            Ok(()) => return began.elapsed(),
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                assert!(began.elapsed() < RECOVERY, "still not after {:?}: {error:?}", began.elapsed());
            }
        }
    }
}
