//! The table is created and checked, under any name and in any schema.

use futures_util::future::join_all;
use session_conformance::fixtures::{SCOPE, at, full};
use session_core::{CacheEntry, ErrorKind, SessionCache};
use session_sqlx::{MigrateError, Missing, PostgresBus, PostgresCache, TableName};
use sqlx::{PgPool, Postgres};

use super::lab::LONG_TIMEOUT;
use crate::support::{EmptyDatabase, Tested, connect, fresh_table};

fn caches(database: &EmptyDatabase<Postgres>) -> PostgresCache {
    PostgresCache::new(database.pool.clone()).with_timeout(LONG_TIMEOUT).unwrap()
}

#[tokio::test]
async fn a_cache_and_a_bus_migrate_concurrently_without_a_store() {
    let Some(database) = EmptyDatabase::<Postgres>::new().await else { return };
    let (cache, bus) = (caches(&database), PostgresBus::new(database.pool.clone()));
    for result in join_all((0..8).map(|_| cache.migrate())).await {
        result.unwrap();
    }
    for result in join_all((0..8).map(|_| bus.migrate())).await {
        result.unwrap();
    }
    cache.verify().await.unwrap();
    bus.verify().await.unwrap();
    let put = CacheEntry::of(SCOPE, full("ann").into(), at(0));
    assert!(cache.put_if_newer(put.clone(), LONG_TIMEOUT).await.unwrap());
    cache.migrate().await.unwrap();
    assert_eq!(
        cache.get(SCOPE, put.id).await.unwrap().map(|hit| hit.entry),
        Some(put),
        "migrate keeps the entries"
    );
}

#[tokio::test]
async fn migration_sql_creates_the_same_tables_as_migrate() {
    let Some(by_text) = EmptyDatabase::<Postgres>::new().await else { return };
    let Some(by_program) = EmptyDatabase::<Postgres>::new().await else { return };
    by_text.script(&PostgresCache::migration_sql(&PostgresCache::default_table())).await;
    by_text.script(&PostgresBus::migration_sql(&PostgresBus::default_table())).await;
    caches(&by_program).migrate().await.unwrap();
    PostgresBus::new(by_program.pool.clone()).migrate().await.unwrap();
    assert_eq!(by_text.catalogue().await, by_program.catalogue().await);
    caches(&by_text).verify().await.unwrap();
    PostgresBus::new(by_text.pool.clone()).verify().await.unwrap();
}

#[tokio::test]
async fn missing_parts_are_named() {
    let Some(database) = EmptyDatabase::<Postgres>::new().await else { return };
    let (cache, bus) = (caches(&database), PostgresBus::new(database.pool.clone()));
    let missing = |error: Result<(), MigrateError>| match error.unwrap_err() {
        MigrateError::Missing(missing) => missing,
        other => panic!("{other}"),
    };
    let names =
        |names: &[&str]| names.iter().map(|name| Missing::Table((*name).to_owned())).collect::<Vec<_>>();
    assert_eq!(missing(cache.verify().await)[..1], names(&["session_cache"]));
    assert_eq!(missing(bus.verify().await), names(&["session_changes_head", "session_changes"]));
    let error = cache.get(SCOPE, full("ann").id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("`migrate` creates it"), "{error}");

    database.script("CREATE TABLE session_cache (id UUID, expires_at BIGINT)").await;
    let absent = missing(cache.migrate().await);
    assert!(absent.contains(&Missing::Column("session_cache.body".to_owned())), "{absent:?}");
    database.script("DROP TABLE session_cache").await;
    cache.migrate().await.unwrap();
    database.script("DROP INDEX session_cache_expires_idx").await;
    assert_eq!(missing(cache.verify().await), [Missing::Index("session_cache_expires_idx".to_owned())]);
}

/// The table before entries had a scope.
const WITHOUT_SCOPE: &str = "CREATE UNLOGGED TABLE session_cache (
        id UUID NOT NULL PRIMARY KEY, revision BIGINT NOT NULL, verified_at BIGINT NOT NULL,
        tombstone BOOLEAN NOT NULL, ttl_ms BIGINT NOT NULL, expires_at BIGINT NOT NULL, body BYTEA NOT NULL
    );
    CREATE INDEX session_cache_expires_idx ON session_cache (expires_at);
    INSERT INTO session_cache VALUES (gen_random_uuid(), 1, 0, FALSE, 1000, 9000000000000, '')";

fn lacks_the_scope(result: Result<(), MigrateError>) -> bool {
    let column = Missing::Column("session_cache.scope".to_owned());
    matches!(result, Err(MigrateError::Missing(missing)) if missing == [column])
}

#[tokio::test]
async fn a_table_without_scopes_is_reported_and_replaced() {
    let Some(database) = EmptyDatabase::<Postgres>::new().await else { return };
    let Some(new) = EmptyDatabase::<Postgres>::new().await else { return };
    database.script(WITHOUT_SCOPE).await;
    let cache = caches(&database);
    assert!(lacks_the_scope(cache.verify().await));
    for result in join_all((0..8).map(|_| cache.migrate())).await {
        result.unwrap();
    }
    cache.verify().await.unwrap();
    caches(&new).migrate().await.unwrap();
    assert_eq!(database.catalogue().await, new.catalogue().await);
    let put = CacheEntry::of(SCOPE, full("ann").into(), at(0));
    assert!(cache.put_if_newer(put, LONG_TIMEOUT).await.unwrap());
}

#[tokio::test]
async fn a_foreign_table_is_not_dropped() {
    let Some(database) = EmptyDatabase::<Postgres>::new().await else { return };
    database.script(WITHOUT_SCOPE).await;
    database.script("ALTER TABLE session_cache ADD COLUMN note TEXT").await;
    assert!(lacks_the_scope(caches(&database).migrate().await));
    let rows: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM session_cache").fetch_one(&database.pool).await.unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_table_may_have_any_name_in_any_schema() {
    let Some(database) = EmptyDatabase::<Postgres>::new().await else { return };
    let (pool, schema) = Postgres::with_schema(&database.name).await;
    let long = "x".repeat(48);
    for name in [format!("{schema}.cache"), format!("{schema}.{long}"), "Order".to_owned()] {
        let table: TableName = name.parse().unwrap();
        let cache =
            PostgresCache::new(pool.clone()).with_table(table.clone()).with_timeout(LONG_TIMEOUT).unwrap();
        cache.migrate().await.unwrap();
        let put = CacheEntry::of(SCOPE, full("ann").into(), at(0));
        assert!(cache.put_if_newer(put.clone(), LONG_TIMEOUT).await.unwrap());
        assert_eq!(cache.get(SCOPE, put.id).await.unwrap().map(|hit| hit.entry), Some(put));
    }
}

#[tokio::test]
async fn no_connection_is_opened_before_it_is_needed() {
    let Some(database) = EmptyDatabase::<Postgres>::new().await else { return };
    let pool = connect::<Postgres>(&database.name).await;
    let cache = PostgresCache::new(pool.clone()).with_table(fresh_table());
    drop((cache, PostgresBus::new(pool)));
    let error = PostgresCache::connect("postgres://user@127.0.0.1:1/none").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(PostgresCache::connect("not a URL").await.unwrap_err().kind(), ErrorKind::Other);
}

#[tokio::test]
async fn the_password_of_the_database_is_not_shown() {
    let pool = PgPool::connect_lazy("postgres://app:hunter2@127.0.0.1:1/none").unwrap();
    let (cache, bus) = (PostgresCache::new(pool.clone()), PostgresBus::new(pool));
    let error = cache.get(SCOPE, full("ann").id).await.unwrap_err();
    for text in [format!("{cache:?}"), format!("{bus:?}"), format!("{error:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}
