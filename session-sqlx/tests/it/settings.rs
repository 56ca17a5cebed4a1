//! The settings of the builder, and the connections on which operations run.

use std::num::NonZeroUsize;
use std::sync::Arc;

use session_conformance::fixtures::{NOW, at, full, logged_out, record, touch, user};
use session_core::{EndScope, ErrorKind, ListQuery, Revision, SessionStore, Timestamp};
use session_sqlx::SqlStore;
use sqlx::Sqlite;

use crate::support::{EmptyDatabase, Tested, on_each_database, sqlite_memory, texts};

on_each_database!(
    connections_are_held_according_to_the_settings,
    data_is_limited_by_the_setting,
    only_listings_and_statistics_use_the_replica,
);

async fn connections_are_held_according_to_the_settings<D: Tested>(database: EmptyDatabase<D>) {
    let builder = SqlStore::builder(database.pool.clone());
    let store = builder.held_for_loads(NonZeroUsize::new(3).unwrap()).build().unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.capabilities().concurrent_loads.get(), 3);
    assert_eq!(store.held_connections().opened_for_loads, 0);
    store.connect().await.unwrap();
    let record = record("ann");
    store.create(Arc::new(record.clone()), None).await.unwrap();
    for _ in 0..20 {
        let ids = [record.id];
        let (one, two, three) = tokio::join!(store.load(&ids), store.load(&ids), store.load(&ids));
        assert_eq!([one, two, three].map(|loaded| loaded.unwrap().len()), [1, 1, 1]);
    }
    store.end(&EndScope::id(record.id), &logged_out(1), Timestamp::MAX).await.unwrap();
    let held = store.held_connections();
    assert_eq!((held.opened_for_loads, held.opened_for_ends), (3, 1), "opened once and kept");
}

async fn data_is_limited_by_the_setting<D: Tested>(database: EmptyDatabase<D>) {
    const LIMIT: usize = 1_000_000;
    let store = SqlStore::builder(database.pool.clone()).max_payload(LIMIT).build().unwrap();
    store.migrate().await.unwrap();
    let mut large = record("ann");
    large.data = vec![7; LIMIT].into();
    store.create(Arc::new(large.clone()), None).await.unwrap();
    assert_eq!(store.load(&[large.id]).await.unwrap()[0].data, large.data);
    large.data = vec![7; LIMIT + 1].into();
    let refused = store.update(Arc::new(large), Revision::FIRST).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

async fn only_listings_and_statistics_use_the_replica<D: Tested>(primary: EmptyDatabase<D>) {
    let Some(replica) = EmptyDatabase::<D>::new().await else { return };
    replica.store("sessions").migrate().await.unwrap();
    let store = SqlStore::builder(primary.pool.clone()).list_from(replica.pool.clone()).build().unwrap();
    store.migrate().await.unwrap();

    // The replica never catches up.
    let ann = full("ann");
    store.create(Arc::new(ann.clone()), None).await.unwrap();
    assert!(store.list(&ListQuery::default()).await.unwrap().records.is_empty());
    assert_eq!(store.stats(NOW).await.unwrap().live, 0);

    assert_eq!(store.load(&[ann.id]).await.unwrap().len(), 1);
    assert_eq!(store.touch(&[touch(ann.id, 10)], NOW).await.unwrap(), 1);
    let revision = store.update(Arc::new(ann.clone()), Revision::FIRST).await.unwrap();
    assert_eq!(revision, Revision::FIRST.next());
    let ended = store.end(&EndScope::User(user("ann")), &logged_out(20), Timestamp::MAX).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(store.erase(&user("ann"), 10).await.unwrap(), 1);
    assert_eq!(store.purge(at(21), 10).await.unwrap(), 1);
}

/// A trigger records the setting with which each transaction is committed.
#[tokio::test]
async fn only_touches_are_committed_without_waiting_for_the_disk() {
    let Some(database) = EmptyDatabase::<sqlx::Postgres>::new().await else { return };
    let store = database.store("sessions");
    store.migrate().await.unwrap();
    database
        .script(
            "CREATE TABLE commits (n SERIAL, how TEXT);
             CREATE FUNCTION note() RETURNS TRIGGER LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO commits (how) VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
             CREATE TRIGGER note AFTER INSERT OR UPDATE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION note()",
        )
        .await;
    let ann = record("ann");
    store.create(Arc::new(ann.clone()), None).await.unwrap();
    store.touch(&[touch(ann.id, 10)], NOW).await.unwrap();
    store.update(Arc::new(ann.clone()), Revision::FIRST).await.unwrap();
    store.end(&EndScope::id(ann.id), &logged_out(20), Timestamp::MAX).await.unwrap();
    let how = texts(&database.pool, "SELECT how FROM commits ORDER BY n").await;
    assert_eq!(how, ["on", "off", "on", "on"]);
}

#[tokio::test]
async fn settings_outside_their_range_are_refused() {
    let store = sqlite_memory().await;
    let pool = || sqlx::Pool::<Sqlite>::connect_lazy("sqlite::memory:").unwrap();
    let held = |held| SqlStore::builder(pool()).held_for_loads(NonZeroUsize::new(held).unwrap()).build();
    assert!(held(32).is_ok());
    assert_eq!(held(33).unwrap_err().kind(), ErrorKind::Invalid);
    for bytes in [0, 16 * 1024 * 1024 + 1] {
        let built = SqlStore::builder(pool()).max_payload(bytes).build();
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(store.capabilities().durability, session_core::Durability::Process);
}

#[tokio::test]
async fn the_place_is_the_table_with_its_schema() {
    let pool = || sqlx::Pool::<Sqlite>::connect_lazy("sqlite::memory:").unwrap();
    let place = |store: SqlStore<Sqlite>| store.capabilities().place.unwrap();
    assert_eq!(&*place(SqlStore::new(pool())), "sessions");
    let elsewhere = SqlStore::builder(pool()).table("auth.web_sessions".parse().unwrap());
    assert_eq!(&*place(elsewhere.build().unwrap()), "auth.web_sessions");
}
