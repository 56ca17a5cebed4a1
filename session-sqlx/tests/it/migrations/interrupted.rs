//! A migration can stop at any moment, and the next one continues from there.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use session_core::ErrorKind;
use session_sqlx::{MigrateError, SqlStore, Step};
use sqlx::{MySql, Pool, Postgres};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{down, taken, up, use_store};
use crate::support::{EmptyDatabase, Tested, connect, on_each_database, store_on, texts};

on_each_database!(a_dropped_migration_is_completed_by_the_next);
on_each_database!(on postgres_only Postgres: a_killed_transaction_leaves_nothing);
on_each_database!(on mysql_only MySql:
    the_next_process_continues_after_one_that_died,
    a_killed_step_is_repeated_by_the_next_process,
    a_failed_step_releases_the_lock,
);

async fn a_dropped_migration_is_completed_by_the_next<D: Tested>(database: EmptyDatabase<D>) {
    let others = connect::<D>(&database.name).await;
    let latest = SqlStore::<D>::latest_version();
    for (start, target) in [(0, latest), (latest, 0)] {
        let mut dropped = 0;
        // The number of waits depends on timing, so a migration that completed does not end the
        // loop.
        for waits in 0..24 {
            let table = format!("sessions_{target}_{waits}");
            let store = database.store(&table);
            store.migrate_to(start).await.unwrap();
            dropped += usize::from(!ends_within(waits, store.migrate_to(target)).await);
            let next = store_on(&others, &table);
            next.migrate_to(target).await.unwrap_or_else(|error| panic!("after {waits} waits: {error:?}"));
            next.migrate().await.unwrap_or_else(|error| panic!("after {waits} waits: {error:?}"));
            use_store(&next).await;
        }
        assert!(dropped > 0);
    }
}

/// Polls a future until it has waited that often, then drops it. Returns true if it completed.
async fn ends_within<T>(waits: usize, future: impl Future<Output = Result<T, MigrateError>>) -> bool {
    let (mut future, mut left) = (pin!(future), waits);
    poll_fn(|context| match (future.as_mut().poll(context), left) {
        (Poll::Ready(result), _) => Poll::Ready(result.map(|_| true).unwrap()),
        (Poll::Pending, 0) => Poll::Ready(false),
        (Poll::Pending, _) => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

async fn a_killed_transaction_leaves_nothing(database: EmptyDatabase<Postgres>) {
    // A statement that creates an index of this name waits until this transaction ends.
    let mut blocker = database.pool.begin().await.unwrap();
    let taken_name = "CREATE TABLE other (id INTEGER); CREATE INDEX sessions_username_idx ON other (id)";
    sqlx::raw_sql(taken_name).execute(&mut *blocker).await.unwrap();
    let migrating = start(&database);
    let stuck = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let stuck = first(&database.pool, stuck, &migrating).await;
    database.script(&format!("SELECT pg_terminate_backend({stuck})")).await;
    assert_unavailable(migrating.await.unwrap());
    blocker.rollback().await.unwrap();

    assert_eq!(database.catalogue().await, [""; 0]);
    let latest = SqlStore::<Postgres>::latest_version();
    assert_eq!(taken(&database.store("sessions").migrate().await.unwrap()), up(0, latest));
}

async fn a_killed_step_is_repeated_by_the_next_process(database: EmptyDatabase<MySql>) {
    let store = database.store("sessions");
    store.migrate_to(1).await.unwrap();
    // A table that a transaction has read cannot be altered until the transaction ends.
    let mut blocker = database.pool.begin().await.unwrap();
    sqlx::raw_sql("SELECT * FROM sessions").execute(&mut *blocker).await.unwrap();
    let migrating = start(&database);
    let stuck = "SELECT CAST(id AS CHAR) FROM information_schema.processlist
        WHERE db = DATABASE() AND state = 'Waiting for table metadata lock'";
    let stuck = first(&database.pool, stuck, &migrating).await;
    database.script(&format!("KILL {stuck}")).await;
    assert_unavailable(migrating.await.unwrap());
    blocker.rollback().await.unwrap();

    assert_eq!(taken(&store.migrate().await.unwrap()), up(1, SqlStore::<MySql>::latest_version()));
}

/// Migrates on a separate pool, as another process would.
fn start<D: Tested>(database: &EmptyDatabase<D>) -> JoinHandle<Result<Vec<Step>, MigrateError>> {
    let name = database.name.clone();
    tokio::spawn(async move { store_on(&connect::<D>(&name).await, "sessions").migrate().await })
}

/// Repeats a query until it returns a row, while a task runs.
async fn first<D: Tested, T>(pool: &Pool<D>, query: &str, task: &JoinHandle<T>) -> String {
    loop {
        if let Some(answer) = texts(pool, query).await.pop() {
            return answer;
        }
        assert!(!task.is_finished(), "the task ended before it waited");
    }
}

fn assert_unavailable(result: Result<Vec<Step>, MigrateError>) {
    match result {
        Err(MigrateError::Database(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
        other => panic!("{other:?}"),
    }
}

async fn the_next_process_continues_after_one_that_died(database: EmptyDatabase<MySql>) {
    let latest = SqlStore::<MySql>::latest_version();
    let forget = "DELETE FROM sessions_migrations";
    let track =
        "CREATE TABLE sessions_migrations (version BIGINT NOT NULL PRIMARY KEY, name VARCHAR(100) NOT NULL)";
    for (version, died, next) in [
        (0, track.to_owned(), 0),
        (1, format!("DROP TABLE sessions_locks; {forget}"), 0),
        (1, format!("DELETE FROM sessions_locks WHERE stripe > 100; {forget}"), 0),
        (1, forget.to_owned(), 0),
        (2, format!("{forget} WHERE version = 2"), 1),
    ] {
        let store = database.store("sessions");
        store.migrate_to(version).await.unwrap();
        database.script(&died).await;
        assert_eq!(taken(&store.migrate().await.unwrap()), up(next, latest), "{died}");
        assert_eq!(texts(&database.pool, "SELECT CAST(stripe AS CHAR) FROM sessions_locks").await.len(), 256);
        use_store(&store).await;
        store.migrate_to(0).await.unwrap();
    }
    for (version, died, next) in [
        (1, "INSERT INTO sessions_migrations VALUES (2, '0002_indexes')", 2),
        (1, "DROP TABLE sessions_locks", 1),
        (1, "DROP TABLE sessions_locks, sessions", 1),
        (0, track, 0),
    ] {
        let store = database.store("sessions");
        store.migrate_to(version).await.unwrap();
        database.script(died).await;
        assert_eq!(taken(&store.migrate_to(0).await.unwrap()), down(next, 0), "{died}");
        assert_eq!(database.catalogue().await, [""; 0], "{died}");
    }
}

async fn a_failed_step_releases_the_lock(database: EmptyDatabase<MySql>) {
    let store = database.store("sessions");
    store.migrate_to(1).await.unwrap();
    database.script("ALTER TABLE sessions RENAME COLUMN username TO other").await;
    assert!(matches!(store.migrate().await, Err(MigrateError::Database(_))));
    database.script("ALTER TABLE sessions RENAME COLUMN other TO username").await;
    let next = store_on(&connect::<MySql>(&database.name).await, "sessions");
    let steps = timeout(Duration::from_secs(10), next.migrate()).await;
    assert_eq!(taken(&steps.expect("the lock is free").unwrap()), up(1, 2));
}
