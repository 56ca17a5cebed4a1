//! A server that is down, does not reply, or has lost its data.

use std::time::Duration;

use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, at, full, record};
use session_core::{ErrorKind, SessionCache};
use session_redis::{Connection, RedisCache};
use session_servers::Server;
use tokio::time::Instant;

use super::lab::{
    LONG, Lab, assert_holds, cache_connected, cache_on, entry, eventually, given, key, put, tombstone,
};
use crate::faults::calls::in_time;

/// Asserts that every call fails with this kind within the limit.
async fn assert_all_fail(cache: &RedisCache, kind: ErrorKind, within: Duration) {
    let record = full("ann");
    // Concurrently: each has the whole time.
    let (got, put, removed) = tokio::join!(
        in_time(within, "get", cache.get(SCOPE, record.id)),
        in_time(within, "put", cache.put_if_newer(tombstone(&record, 2, at(0)), LONG)),
        in_time(within, "remove", cache.remove(SCOPE, record.id)),
    );
    assert_kind(got, kind);
    assert_kind(put, kind);
    assert_kind(removed, kind);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_up_later_is_found() {
    let Some(mut lab) = Lab::start() else { return };
    lab.server(Server::stop);
    let cache = cache_on(lab.connection());
    for _ in 0..3 {
        assert_all_fail(&cache, ErrorKind::Unavailable, Duration::from_millis(200)).await;
    }
    lab.server(Server::start_again);
    let put = entry(&full("ann"), 1, at(0));
    eventually("the server is found", async || cache.put_if_newer(put.clone(), LONG).await.is_ok()).await;
    assert_holds(&cache, &put).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_is_a_timeout_until_it_resumes() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let Some(mut lab) = Lab::start() else { return };
    let cache = cache_connected(lab.connection().with_timeout(TIMEOUT));
    let (held, damaged) = (entry(&full("ann"), 1, at(0)), full("bob"));
    given(&cache, &held).await;
    lab.store(damaged.id, b"garbage").await;
    lab.server(Server::pause);
    // Concurrently, because the connection must outlive the calls.
    tokio::join!(
        assert_all_fail(&cache, ErrorKind::Timeout, TIMEOUT),
        assert_all_fail(&cache, ErrorKind::Timeout, TIMEOUT),
    );
    lab.server(Server::resume);
    eventually("it answers again", async || cache.get(SCOPE, held.id).await.is_ok()).await;
    // No late reply is used for a later command.
    for _ in 0..20 {
        assert_holds(&cache, &held).await;
        assert_eq!(cache.get(SCOPE, record("ann").id).await.unwrap(), None);
    }
    lab.assert_refused(&cache, damaged.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_entries_and_nothing_else() {
    let Some(mut lab) = Lab::start() else { return };
    let cache = lab.cache();
    let held = entry(&full("ann"), 1, at(0));
    given(&cache, &held).await;
    lab.server(Server::kill);
    assert_all_fail(&cache, ErrorKind::Unavailable, Duration::from_millis(200)).await;
    lab.server(Server::start_again);
    eventually("it works again", async || cache.get(SCOPE, held.id).await.is_ok()).await;
    assert_eq!(cache.get(SCOPE, held.id).await.unwrap(), None);
    given(&cache, &held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_server_has_no_entries() {
    let Some(lab) = Lab::start() else { return };
    let cache = lab.cache();
    let (held, end) = (entry(&full("ann"), 1, at(0)), tombstone(&full("bob"), 1, at(0)));
    given(&cache, &held).await;
    given(&cache, &end).await;
    let () = lab.ask("FLUSHALL").await;
    assert_eq!(cache.get(SCOPE, held.id).await.unwrap(), None);
    assert_eq!(cache.get(SCOPE, end.id).await.unwrap(), None);
    given(&cache, &held).await;
}

/// A restored entry is as old as it was: it has the same verification time, and expires when it
/// would have expired.
#[tokio::test(flavor = "multi_thread")]
async fn entries_of_an_old_snapshot_are_no_younger_than_they_were() {
    let Some(mut lab) = Lab::start() else { return };
    let cache = lab.cache_with_keys(&[1]);
    let (ended, updated, brief) = (full("ann"), full("bob"), full("eve"));
    let short = Duration::from_millis(300);
    for record in [&ended, &updated] {
        given(&cache, &entry(record, 1, at(0))).await;
    }
    assert!(cache.put_if_newer(entry(&brief, 1, at(0)), short).await.unwrap());
    let expired = Instant::now() + short;
    let () = lab.ask("SAVE").await;
    given(&cache, &tombstone(&ended, 2, at(10))).await;
    given(&cache, &entry(&updated, 2, at(10))).await;
    lab.server(Server::kill);
    tokio::time::sleep_until(expired).await;
    lab.server(Server::start_again);

    eventually("it works again", async || cache.get(SCOPE, brief.id).await.is_ok()).await;
    assert_eq!(cache.get(SCOPE, brief.id).await.unwrap(), None, "its time is over");
    for record in [&ended, &updated] {
        assert_holds(&cache, &entry(record, 1, at(0))).await;
        let remaining: u64 = lab.ask(&format!("PTTL {}", key(record.id))).await;
        assert!(u128::from(remaining) <= (LONG - short).as_millis(), "{remaining} ms");
    }
    given(&cache, &tombstone(&ended, 2, at(10))).await;
    given(&cache, &entry(&updated, 2, at(10))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_sent_again_after_the_server_lost_them() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    for revision in 1..4 {
        let () = lab.ask("SCRIPT FLUSH").await;
        given(&cache, &entry(&record, revision, at(0))).await;
        let () = lab.ask("SCRIPT FLUSH").await;
        assert!(!put(&cache, &entry(&record, revision, at(0))).await.unwrap());
        let garbage = full("bob");
        lab.store(garbage.id, b"garbage").await;
        let () = lab.ask("SCRIPT FLUSH").await;
        lab.assert_refused(&cache, garbage.id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_reported_as_unavailable() {
    let Some(lab) = Lab::start_with(["--requirepass", "right"]) else { return };
    let id = full("ann").id;
    for (user, detail) in [("", "asks for a password"), (":wrong@", "the password is wrong")] {
        let address = lab.url().replace("redis://", &format!("redis://{user}"));
        let cache = cache_on(Connection::open(address).unwrap());
        let error = assert_kind(cache.get(SCOPE, id).await, ErrorKind::Unavailable);
        assert!(error.to_string().contains(detail), "{error}");
        let error = assert_kind(put(&cache, &entry(&full("ann"), 1, at(0))).await, ErrorKind::Unavailable);
        assert!(!format!("{error:?}").contains("wrong@"), "{error:?}");
    }
    let address = lab.url().replace("redis://", "redis://:right@");
    given(&cache_connected(Connection::open(address).unwrap()), &entry(&full("ann"), 1, at(0))).await;
}

/// A server that became a replica refuses writes, and the cache reconnects when it is the primary
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_server_is_unavailable() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    given(&cache, &entry(&record, 1, at(0))).await;
    let () = lab.ask("REPLICAOF 127.0.0.1 1").await;
    let error = assert_kind(put(&cache, &tombstone(&record, 2, at(0))).await, ErrorKind::Unavailable);
    assert!(error.to_string().contains("replica"), "{error}");
    let () = lab.ask("REPLICAOF NO ONE").await;
    let end = tombstone(&record, 2, at(0));
    eventually("it is the primary again", async || cache.put_if_newer(end.clone(), LONG).await.is_ok()).await;
    assert_holds(&cache, &end).await;
}

/// A dropped call leaves the old entry or the new one, and does not shift the replies of later
/// calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_leaves_one_of_two_entries() {
    let Some(lab) = Lab::start() else { return };
    let (cache, record) = (lab.cache(), full("ann"));
    given(&cache, &entry(&record, 1, at(0))).await;
    let mut highest = 1;
    for revision in 2..200 {
        let patience = Duration::from_micros(revision % 20 * 20);
        let putting = cache.put_if_newer(entry(&record, revision, at(0)), LONG);
        let is_done = tokio::time::timeout(patience, putting).await.is_ok();
        let reading = cache.get(SCOPE, record.id);
        let _ = tokio::time::timeout(patience, reading).await;
        let found = cache.get(SCOPE, record.id).await.unwrap().expect("an entry").entry.revision.get();
        assert!(found == revision || (!is_done && found >= highest), "{found} after {revision}");
        highest = found;
    }
}
