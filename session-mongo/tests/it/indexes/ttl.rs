//! The server's own deletion of ended sessions.

use std::time::Duration;

use mongodb::bson::{Bson, DateTime, doc};
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, touch};
use session_core::prelude::*;
use session_mongo::MongoStore;
use tokio::time::{sleep, timeout};

use crate::support::{Lab, create, ids, key};

const RETENTION: Duration = Duration::from_secs(50 * 86_400);

/// Returns the server's time in milliseconds.
async fn server_time(lab: &Lab) -> i64 {
    let hello = lab.database.run_command(doc! { "hello": 1 }).await.unwrap();
    hello.get_datetime("localTime").unwrap().timestamp_millis()
}

async fn purge_at(lab: &Lab, id: SessionId) -> Option<i64> {
    match lab.document(id).await.get("purgeAt") {
        Some(Bson::DateTime(time)) => Some(time.timestamp_millis()),
        Some(Bson::Null) => None,
        other => panic!("{other:?}"),
    }
}

async fn assert_purge_time(lab: &Lab, id: SessionId, what: &str) {
    const MINUTE: u64 = 60_000;
    let purged = purge_at(lab, id).await.unwrap();
    let due = server_time(lab).await + i64::try_from(RETENTION.as_millis()).unwrap();
    assert!(purged.abs_diff(due) < MINUTE, "{what}: {purged}, {due}");
}

/// Clock skew of the callers does not affect the deletion.
#[tokio::test(flavor = "multi_thread")]
async fn server_deletes_only_ended_sessions_by_its_own_clock() {
    let Some((lab, _)) = Lab::start().await else { return };
    let store: MongoStore = lab.builder().retention(RETENTION).build().unwrap();
    let [out, swept, evicted] = ["bob", "eve", "ann"].map(full);
    let (out, swept, evicted) =
        (create(&store, out).await, create(&store, swept).await, create(&store, evicted).await);
    for session in [&out, &swept, &evicted] {
        assert_eq!(purge_at(&lab, session.id).await, None);
    }
    store.update(Arc::clone(&out), out.revision).await.unwrap();
    store.touch(&[touch(out.id, 20)], NOW).await.unwrap();
    assert_eq!(purge_at(&lab, out.id).await, None, "active");

    store.end(&EndScope::id(out.id), &logged_out(1_000_000_000_000), Timestamp::MAX).await.unwrap();
    assert_purge_time(&lab, out.id, "end").await;
    let new = Arc::new(record_at("ann", 1));
    store.create(Arc::clone(&new), Some(&limit(1, OnExceed::EndOldest, 2))).await.unwrap();
    assert_purge_time(&lab, evicted.id, "eviction").await;
    assert_eq!(purge_at(&lab, new.id).await, None, "the new session");
    store.expire(at(3_000_000), 10).await.unwrap();
    assert_purge_time(&lab, swept.id, "sweep").await;
    assert_eq!(
        lab.documents().count_documents(doc! { "_id": key(swept.id), "state": "ended" }).await.unwrap(),
        1
    );
}

/// Sets the period of the server's TTL monitor, and returns the previous one. Returns `None` if the
/// server does not allow it.
async fn set_period(lab: &Lab, seconds: i64) -> Option<i64> {
    let set = doc! { "setParameter": 1, "ttlMonitorSleepSecs": seconds };
    let reply = lab.database.client().database("admin").run_command(set).await.ok()?;
    let was = reply.get("was")?;
    was.as_i64().or_else(|| was.as_i32().map(i64::from))
}

#[tokio::test(flavor = "multi_thread")]
async fn server_deletes_due_sessions_and_keeps_active_ones() {
    let Some((lab, store)) = Lab::start().await else { return };
    // The deadlines of all three sessions are long past.
    let (active, recent) = (create(&store, full("ann")).await, create(&store, full("bob")).await);
    let due = create(&store, full("eve")).await;
    store.end(&EndScope::Ids(vec![recent.id, due.id]), &logged_out(3), Timestamp::MAX).await.unwrap();
    let past = doc! { "$set": { "purgeAt": DateTime::from_millis(server_time(&lab).await - 1_000) } };
    lab.documents().update_one(doc! { "_id": key(due.id) }, past).await.unwrap();

    let Some(before) = set_period(&lab, 1).await else {
        println!("skipped: the period of this server's TTL monitor cannot be set");
        return;
    };
    let deleted = timeout(Duration::from_secs(75), async {
        while !store.load(&[due.id]).await.unwrap().is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let deleted = deleted.await;
    set_period(&lab, before).await;
    deleted.expect("the server did not delete the due session");
    let mut left = vec![active.id, recent.id];
    left.sort_unstable();
    assert_eq!(ids(&store.load(&[active.id, recent.id, due.id]).await.unwrap()), left);
}
