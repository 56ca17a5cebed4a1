//! Where tests keep sessions: tables, files and prefixes that nobody else uses.

use std::time::Duration;
use std::{env, thread};

use session_core::{DeviceId, SystemRandom};
use session_redis::{Connection, KeyPrefix};
use session_sqlx::{Dialect, SqlStore, TableName};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, Pool, SqlitePool};
use tempfile::TempDir;

/// A name that nobody else has.
pub(crate) fn fresh_name() -> String {
    let id = DeviceId::mint(&SystemRandom).unwrap();
    format!("t_{}", id.to_string().replace('-', ""))
}

pub(crate) fn fresh_table() -> TableName {
    fresh_name().parse().unwrap()
}

pub(crate) fn fresh_prefix() -> KeyPrefix {
    fresh_name().parse().unwrap()
}

/// The URL of a server. Without one this prints one line, `skipped ...`, unless `SESSION_TEST_REQUIRE` names it: then the test fails.
pub(crate) fn server_url(name: &str) -> Option<String> {
    let variable = format!("SESSION_TEST_{}_URL", name.to_uppercase());
    if let Some(url) = env::var(&variable).ok().filter(|url| !url.is_empty()) {
        return Some(url);
    }
    let required = env::var("SESSION_TEST_REQUIRE").unwrap_or_default();
    let is_required =
        required.split(',').map(str::trim).any(|required| required == name || required == "all");
    assert!(!is_required, "SESSION_TEST_REQUIRE asks for `{name}`, but {variable} is not set");
    println!("skipped {}: {variable} is not set", thread::current().name().unwrap_or("a test"));
    None
}

pub(crate) async fn postgres(url: &str, connections: u32) -> PgPool {
    PgPoolOptions::new().max_connections(connections).connect(url).await.unwrap()
}

/// A database in a file that is gone with the folder.
pub(crate) async fn sqlite(connections: u32) -> (SqlitePool, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("sessions.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Nobody pulls the plug.
        .synchronous(SqliteSynchronous::Off);
    let pool = SqlitePoolOptions::new().max_connections(connections).connect_with(options).await.unwrap();
    (pool, folder)
}

pub(crate) async fn migrated<D: Dialect>(pool: Pool<D>, table: &TableName) -> SqlStore<D> {
    let store = SqlStore::builder(pool).table(table.clone()).build().unwrap();
    store.migrate().await.unwrap();
    store
}

pub(crate) fn redis(url: &str) -> Connection {
    // The tier's own time limit is what counts.
    Connection::open(url).unwrap().with_timeout(Duration::from_secs(10))
}
