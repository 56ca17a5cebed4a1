//! A server that is down, does not answer, or lost its data.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, at, full, record};
use session_core::{ErrorKind, SessionCache};
use session_servers::{Fault, Server};
use session_sqlx::PostgresCache;
use sqlx::Connection;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

use super::lab::{LONG, LONG_TIMEOUT, Lab, assert_holds, clients, entry, eventually, given, put, tombstone};

/// How long after its deadline a call may return.
const LATE: Duration = Duration::from_millis(100);

const TIMEOUT: Duration = Duration::from_millis(300);

/// Asserts that every call fails in time, with a kind that makes the next tier answer. On shared
/// processors some calls are late, but not all.
async fn assert_all_fail(cache: &PostgresCache, kinds: &[ErrorKind]) {
    let mut least = Duration::MAX;
    for _ in 0..5 {
        least = least.min(fail_all(cache, kinds).await);
    }
    assert!(least < TIMEOUT + LATE, "{least:?}");
}

async fn fail_all(cache: &PostgresCache, kinds: &[ErrorKind]) -> Duration {
    let record = full("ann");
    let start = Instant::now();
    // All at once: each call has the whole timeout.
    let (got, put, removed) = tokio::join!(
        cache.get(SCOPE, record.id),
        cache.put_if_newer(tombstone(&record, 2, at(0)), LONG),
        cache.remove(SCOPE, record.id),
    );
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    for error in [got.unwrap_err(), put.unwrap_err(), removed.unwrap_err()] {
        assert!(kinds.contains(&error.kind()), "{error:?}");
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_later_is_found() {
    let Some(mut lab) = Lab::start().await else { return };
    lab.server(Server::stop);
    let cache = lab.cache().with_timeout(TIMEOUT).unwrap();
    assert_all_fail(&cache, &[ErrorKind::Unavailable, ErrorKind::Timeout]).await;
    lab.server(Server::start_again);
    let put = entry(&full("ann"), 1, at(0));
    eventually("the server is found", async || cache.put_if_newer(put.clone(), LONG).await.is_ok()).await;
    let cache = cache.with_timeout(LONG_TIMEOUT).unwrap();
    assert_holds(&cache, &put).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answering_is_a_timeout_until_it_resumes() {
    let Some(mut lab) = Lab::start().await else { return };
    let cache = lab.cache().with_timeout(TIMEOUT).unwrap();
    let held = entry(&full("ann"), 1, at(0));
    eventually("it is stored", async || put(&cache, &held).await.is_ok()).await;
    lab.server(Server::pause);
    assert_all_fail(&cache, &[ErrorKind::Timeout]).await;
    lab.server(Server::resume);
    eventually("it answers again", async || cache.get(SCOPE, held.id).await.is_ok()).await;
    let cache = cache.with_timeout(LONG_TIMEOUT).unwrap();
    // No late reply goes to a later call.
    for _ in 0..20 {
        assert_holds(&cache, &held).await;
        assert_eq!(cache.get(SCOPE, record("ann").id).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_the_entries_and_nothing_else() {
    let Some(mut lab) = Lab::start().await else { return };
    let cache = lab.cache().with_timeout(TIMEOUT).unwrap();
    let held = entry(&full("ann"), 1, at(0));
    eventually("it is stored", async || put(&cache, &held).await.is_ok()).await;
    lab.server(Server::kill);
    assert_all_fail(&cache, &[ErrorKind::Unavailable, ErrorKind::Timeout]).await;
    lab.server(Server::start_again);
    eventually("it works again", async || cache.get(SCOPE, held.id).await.is_ok()).await;
    let cache = cache.with_timeout(LONG_TIMEOUT).unwrap();
    assert_eq!(cache.get(SCOPE, held.id).await.unwrap(), None);
    given(&cache, &held).await;
}

/// A clean restart keeps the entries, and the first call after it does not fail because of an old
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_first_call_works() {
    let Some(mut lab) = Lab::start().await else { return };
    let (cache, held) = (lab.cache(), entry(&full("ann"), 1, at(0)));
    given(&cache, &held).await;
    join_all((0..4).map(|_| assert_holds(&cache, &held))).await;
    lab.server(Server::stop);
    lab.server(Server::start_again);
    assert_holds(&cache, &held).await;
    cache.remove(SCOPE, held.id).await.unwrap();
    assert_eq!(cache.get(SCOPE, held.id).await.unwrap(), None);
}

/// The server stores the entry and the reply is lost. The cache repeats the statement, and the
/// entry is neither stored twice nor replaced by an older one.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_leaves_one_entry() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let cache = lab.cache_at(&proxy.url(&lab.url)).with_connections(NonZeroUsize::MIN).unwrap();
    let record = full("ann");
    for (revision, fault) in [(1, Fault::After), (3, Fault::Before), (5, Fault::Half), (7, Fault::Reset)] {
        // The outcome does not matter here; the call may retry on another connection.
        proxy.arm(fault, record.id.as_bytes());
        let stored = put(&cache, &entry(&record, revision, at(0))).await;
        assert!(stored.is_ok() || stored.is_err_and(|error| error.is_transient()), "{fault:?}");
        proxy.disarm();
        let newer = entry(&record, revision + 1, at(0));
        given(&cache, &newer).await;
        assert!(!put(&cache, &entry(&record, revision, at(0))).await.unwrap());
        assert_holds(&cache, &newer).await;
    }
}

/// The removal of a refused entry arrives after a valid entry was stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_valid_entry_that_was_put_meanwhile_is_not_removed() {
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    let cache = lab.cache_at(&proxy.url(&lab.url)).with_connections(NonZeroUsize::MIN).unwrap();
    let (record, garbage) = (full("ann"), "garbage that no reader can decode");
    given(&lab.cache(), &entry(&record, 9, at(0))).await;
    lab.forge(record.id, &format!("body = '{garbage}'")).await;
    proxy.arm(Fault::Hold, garbage.as_bytes());
    assert_kind(cache.get(SCOPE, record.id).await, ErrorKind::Corrupt);
    proxy.until_met().await;
    let good = entry(&record, 10, at(0));
    given(&lab.cache(), &good).await;
    proxy.disarm();
    // The cache has one connection, so this call runs after the removal.
    assert_holds(&cache, &good).await;
    assert_holds(&cache, &good).await;
}

/// Connecting takes longer than a call: each call gives up, and the next one uses the connection
/// that it began to open.
#[tokio::test(flavor = "multi_thread")]
async fn calls_too_short_to_connect_succeed_eventually() {
    const SHORT: Duration = Duration::from_millis(60);
    let Some(lab) = Lab::start().await else { return };
    let proxy = lab.proxy().await;
    // The proxy delays each reply, and two replies precede the first statement.
    proxy.delay(SHORT * 2 / 3);
    let cache = lab
        .cache_at(&proxy.url(&lab.url))
        .with_connections(NonZeroUsize::MIN)
        .unwrap()
        .with_timeout(SHORT * 2)
        .unwrap();
    let id = full("ann").id;
    let first = cache.get(SCOPE, id).await;
    println!("{first:?}");
    eventually("a call succeeds", async || cache.get(SCOPE, id).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_application_pool_does_not_delay_calls() {
    let Some(lab) = Lab::start().await else { return };
    let pool = PgPoolOptions::new().max_connections(1).connect(&lab.url).await.unwrap();
    let _busy = pool.acquire().await.unwrap();
    let (cache, put) = (lab.cache_on(pool.clone()), entry(&full("ann"), 1, at(0)));
    given(&cache, &put).await;
    assert_holds(&cache, &put).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_opens_at_most_its_limit_of_connections() {
    let Some(lab) = Lab::start().await else { return };
    let mut watcher = lab.alone().await;
    let cache = Arc::new(lab.cache().with_connections(NonZeroUsize::new(3).unwrap()).unwrap());
    let mut calls = JoinSet::new();
    for number in 0..300 {
        let (cache, put) = (Arc::clone(&cache), entry(&full("ann"), 1, at(number)));
        calls.spawn(async move {
            given(&cache, &put).await;
            assert_holds(&cache, &put).await;
        });
    }
    let mut most = 0;
    while let Some(call) = calls.join_next().await {
        call.unwrap();
        most = most.max(clients(&mut watcher).await);
    }
    assert!((1..=3).contains(&most), "{most}");
}

/// A server without a free connection is an outage, and the cache works again once there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_an_outage() {
    let Some(lab) = Lab::start_with(&["max_connections=8"]).await else { return };
    let cache = lab.cache().with_timeout(TIMEOUT).unwrap();
    let mut others = vec![lab.alone().await];
    while let Ok(other) = sqlx::PgConnection::connect(&lab.url).await {
        others.push(other);
    }
    assert_all_fail(&cache, &[ErrorKind::Unavailable, ErrorKind::Timeout]).await;
    drop(others);
    let id = full("ann").id;
    eventually("the cache works again", async || cache.get(SCOPE, id).await.is_ok()).await;
}

/// A dropped call leaves the old entry or the new one, and no transaction. The next call receives
/// its own reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_leaves_one_of_two_entries_and_nothing_open() {
    let Some(lab) = Lab::start().await else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    given(&cache, &entry(&record, 1, at(0))).await;
    let mut highest = 1;
    for revision in 2..200 {
        let limit = Duration::from_micros(revision % 20 * 40);
        let putting = cache.put_if_newer(entry(&record, revision, at(0)), LONG);
        let is_done = tokio::time::timeout(limit, putting).await.is_ok();
        let _ = tokio::time::timeout(limit, cache.get(SCOPE, record.id)).await;
        let found = cache.get(SCOPE, record.id).await.unwrap().expect("an entry").entry.revision.get();
        assert!(found == revision || (!is_done && found >= highest), "{found} after {revision}");
        highest = found;
    }
    eventually("no transaction is open", async || lab.left_open().await == 0).await;
    eventually("few connections are open", async || lab.clients().await <= 4).await;
}

/// All connections of the cache are killed at once, and none of its calls fails.
#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_are_replaced_without_a_failure() {
    let Some(lab) = Lab::start().await else { return };
    let (cache, held) = (lab.cache(), entry(&full("ann"), 1, at(0)));
    given(&cache, &held).await;
    for _ in 0..5 {
        join_all((0..8).map(|_| assert_holds(&cache, &held))).await;
        lab.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        .await;
        join_all((0..8).map(|_| assert_holds(&cache, &held))).await;
    }
}
