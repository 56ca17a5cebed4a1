//! The operations of a store, each as one call with a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use session_mongo::MongoStore;
use session_servers::Proxy;

use super::lab::{Stores, wait_for};
use super::{DEADLINE, LATE, RECOVERY};

/// Every operation that uses the server, with both variants of those that have two.
pub(super) const CALLS: [&str; 13] = [
    "create",
    "create in a transaction",
    "create by compare-and-set",
    "load",
    "update",
    "touch",
    "end by id",
    "end of a user",
    "list",
    "expire",
    "purge",
    "erase",
    "stats",
];

/// Makes a call whose result is not empty as long as the session is stored and active.
pub(super) async fn call(stores: &Stores, name: &str, session: &Arc<SessionRecord>) -> Result<()> {
    let (store, ann) = (&stores.store, user("ann"));
    match name {
        "create" => store.create(Arc::new(full("ann")), None).await.map(drop),
        "create in a transaction" => sign_in(store, "ann").await,
        "create by compare-and-set" => sign_in(&stores.cas_store, "ann").await,
        "load" => found(store.load(&[session.id]).await?.len()),
        "update" => {
            let mut changed = SessionRecord::clone(session);
            changed.label = Some("changed".to_owned());
            store.update(Arc::new(changed), session.revision).await.map(drop)
        }
        "touch" => store.touch(&[touch(session.id, 5)], NOW).await.map(drop),
        // Ends a session that does not exist, because the other calls need this one.
        "end by id" => {
            store.end(&EndScope::id(record("ann").id), &logged_out(6), Timestamp::MAX).await.map(drop)
        }
        "end of a user" => store.end(&EndScope::User(ann), &logged_out(6), Timestamp::MAX).await.map(drop),
        "list" => found(store.list(&ListQuery::default()).await?.records.len()),
        "expire" => store.expire(at(4_000_000), 10).await.map(drop),
        "purge" => store.purge(at(7), 10).await.map(drop),
        "erase" => store.erase(&ann, 10).await.map(drop),
        "stats" => found(usize::from(store.stats(at(1)).await?.oldest.is_some())),
        other => panic!("no call {other}"),
    }
}

/// Signs a user in who may have at most three sessions.
pub(super) async fn sign_in(store: &MongoStore, name: &str) -> Result<()> {
    let limit = limit(3, OnExceed::EndOldest, 500);
    store.create(Arc::new(record_at(name, 1)), Some(&limit)).await.map(drop)
}

/// Fails if a stored session is not found, which is the one result that an outage must never cause.
fn found(records: usize) -> Result<()> {
    if records == 0 { Err(Error::not_found("test", "read")) } else { Ok(()) }
}

/// Waits for a call as an application does, and drops its future at the deadline.
///
/// A busy machine wakes all tasks late, so a second task measures the lag.
pub(super) async fn in_time<T>(
    deadline: Duration,
    what: &str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let began = Instant::now();
    let lag = tokio::spawn(async move {
        tokio::time::sleep(deadline).await;
        began.elapsed().saturating_sub(deadline)
    });
    let result = tokio::time::timeout(deadline, call).await;
    let took = began.elapsed();
    if took >= deadline + LATE {
        let lag = lag.await.unwrap();
        assert!(took < deadline + LATE + 2 * lag, "{what} took {took:?}, with a lag of {lag:?}");
    } else {
        lag.abort();
    }
    result.unwrap_or_else(|_| Err(Error::timeout("test", "wait")))
}

/// Waits for a call, and drops its future when this time has passed since the call triggered the
/// proxy's fault. A call that is slow to trigger it gets more time.
pub(super) async fn after_met<T>(
    proxy: &Proxy,
    patience: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let expired = async {
        proxy.until_met().await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        result = call => result,
        () = expired => Err(Error::timeout("test", "wait")),
    }
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

/// Asserts that the call failed with this kind of error.
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

/// Makes all calls at once while the server is unavailable, and returns their errors.
pub(super) async fn all_fail(
    stores: &Stores,
    session: &Arc<SessionRecord>,
    deadline: Duration,
) -> Vec<Error> {
    let calls = CALLS.map(|name| async move {
        let result = in_time(deadline, name, call(stores, name, session)).await;
        assert_transient(name, result)
    });
    join_all(calls).await
}

/// Stores a session of a user.
pub(super) async fn given(store: &MongoStore, name: &str) -> Arc<SessionRecord> {
    create(store, record(name)).await
}

pub(super) async fn create(store: &MongoStore, record: SessionRecord) -> Arc<SessionRecord> {
    let session = Arc::new(record);
    store.create(Arc::clone(&session), None).await.unwrap();
    session
}

/// Makes every call once, on a new session.
async fn try_all(stores: &Stores, deadline: Duration) -> Result<()> {
    let (store, session) = (&stores.store, Arc::new(record("bob")));
    in_time(deadline, "create", store.create(Arc::clone(&session), None)).await?;
    for name in CALLS {
        in_time(deadline, name, call(stores, name, &session)).await?;
    }
    let loaded = in_time(deadline, "load", store.load(&[session.id])).await?;
    let stored = loaded.first().ok_or_else(|| Error::not_found("test", "load"))?;
    assert_eq!(stored.label.as_deref(), Some("changed"));
    Ok(())
}

/// Asserts that all operations work.
pub(super) async fn assert_works(stores: &Stores) {
    try_all(stores, RECOVERY).await.unwrap();
}

/// Asserts that all operations work again within [`RECOVERY`], and returns the time it took.
pub(super) async fn assert_recovers(stores: &Stores) -> Duration {
    let works = async || match try_all(stores, DEADLINE).await {
        Ok(()) => true,
        Err(error) => {
            assert!(error.is_transient(), "{error:?}");
            false
        }
    };
    wait_for(RECOVERY, "all operations work", works).await
}
