//! Tables, files and prefixes that are unique to a test.

use std::time::Duration;
use std::{env, thread};

use session_core::{DeviceId, SystemRandom};
use session_redis::{Connection, KeyPrefix};
use session_sqlx::{Dialect, SqlStore, TableName};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, Pool, SqlitePool};
use tempfile::TempDir;

/// Returns a unique name.
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

/// Returns the URL of a server. Without one this prints one line, `skipped ...`, or fails the test
/// if `SESSION_TEST_REQUIRE` names the server.
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

/// Creates a database in a file, which is deleted with the folder.
pub(crate) async fn sqlite(connections: u32) -> (SqlitePool, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("sessions.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // No test simulates a power failure.
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
    // Longer than the tier's own timeout, which is under test.
    Connection::open(url).unwrap().with_timeout(Duration::from_secs(10))
}
