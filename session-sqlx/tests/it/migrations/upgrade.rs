//! Sessions survive schema changes.

use std::sync::Arc;

use session_conformance::fixtures::{NOW, anonymous, full, limit, logged_out, record, record_at, touch};
use session_core::{EndScope, ListQuery, OnExceed, Revision, SessionRecord, SessionStore, Timestamp};
use session_sqlx::SqlStore;

use super::{down, taken, up};
use crate::support::{EmptyDatabase, Tested, on_each_database};

on_each_database!(
    upgrades_keep_sessions_of_every_earlier_version,
    sessions_survive_a_downgrade,
    limits_count_sessions_of_earlier_versions,
);

async fn upgrades_keep_sessions_of_every_earlier_version<D: Tested>(database: EmptyDatabase<D>) {
    let latest = SqlStore::<D>::latest_version();
    for version in 1..latest {
        let store = database.store(&format!("sessions_{version}"));
        store.migrate_to(version).await.unwrap();
        let stored = store_some(&store).await;
        assert_eq!(taken(&store.migrate().await.unwrap()), up(version, latest));
        assert_kept(&store, &stored).await;
    }
}

async fn sessions_survive_a_downgrade<D: Tested>(database: EmptyDatabase<D>) {
    let store = database.store("sessions");
    let latest = SqlStore::<D>::latest_version();
    store.migrate().await.unwrap();
    let stored = store_some(&store).await;
    for version in (1..latest).rev() {
        assert_eq!(taken(&store.migrate_to(version).await.unwrap()), down(version + 1, version));
        assert_kept(&store, &stored).await;
    }
    store.migrate().await.unwrap();
    assert_kept(&store, &stored).await;
}

async fn limits_count_sessions_of_earlier_versions<D: Tested>(database: EmptyDatabase<D>) {
    for version in 1..SqlStore::<D>::latest_version() {
        let store = database.store(&format!("sessions_{version}"));
        store.migrate_to(version).await.unwrap();
        let old = record_at("ann", 1);
        store.create(old.clone().into(), None).await.unwrap();
        store.migrate().await.unwrap();
        let one = limit(1, OnExceed::EndOldest, 3);
        let evicted = store.create(record_at("ann", 2).into(), Some(&one)).await.unwrap();
        assert_eq!(evicted.iter().map(|record| record.id).collect::<Vec<_>>(), [old.id]);
    }
}

/// Stores sessions in every state with the current statements, and returns them as they must be
/// loaded. A version that these statements no longer fit needs statements of its own here.
async fn store_some<D: Tested>(store: &SqlStore<D>) -> Vec<SessionRecord> {
    let untouched = [full("ann"), record("O'Neil; -- \u{1f600} "), anonymous()];
    let (mut seen, saved, ended) = (full("ann"), full("ann"), full("ben"));
    for record in untouched.iter().chain([&seen, &saved, &ended]) {
        store.create(record.clone().into(), None).await.unwrap();
    }

    let update = touch(seen.id, 60_000);
    assert_eq!(store.touch(std::slice::from_ref(&update), NOW).await.unwrap(), 1);
    assert!(seen.touch(&update, NOW));

    let mut changed = saved.clone();
    changed.label = Some("a new label".to_owned());
    changed.data = Arc::from([0, 255, 39, 92]);
    store.update(Arc::new(changed.clone()), Revision::FIRST).await.unwrap();

    let end = logged_out(5);
    assert_eq!(store.end(&EndScope::id(ended.id), &end, Timestamp::MAX).await.unwrap().len(), 1);

    let mut all = untouched.to_vec();
    all.extend([seen, saved.updated_by(&changed), ended.into_ended(end)]);
    all.sort_by_key(|record| record.id);
    all
}

async fn assert_kept<D: Tested>(store: &SqlStore<D>, stored: &[SessionRecord]) {
    let ids: Vec<_> = stored.iter().map(|record| record.id).collect();
    let mut loaded = store.load(&ids).await.unwrap();
    loaded.sort_by_key(|record| record.id);
    assert!(loaded.iter().map(|record| &**record).eq(stored), "{loaded:#?}\nis not\n{stored:#?}");

    let mut expected: Vec<_> = stored.iter().map(SessionRecord::redacted).collect();
    expected.sort_by_key(|record| std::cmp::Reverse((record.created_at, record.id)));
    let page = store.list(&ListQuery::default()).await.unwrap();
    assert!(page.records.iter().map(|record| &**record).eq(&expected), "{page:#?}\nis not\n{expected:#?}");
}
