//! Fresh stores.

use session_core::DeviceId;
use session_sqlx::{Dialect, MysqlStore, PostgresStore, SqlStore, SqliteStore, TableName};
use sqlx::Pool;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

/// Connections of a test's pool. More than the tasks of most tests, so that they really run at once.
const POOL: u32 = 8;

/// A table that nobody else uses, because tests share a server.
pub(crate) fn fresh_table() -> TableName {
    let id = DeviceId::mint(&session_core::SystemRandom).unwrap();
    format!("t_{}", id.to_string().replace('-', "")).parse().unwrap()
}

pub(crate) async fn migrated<D: Dialect>(pool: Pool<D>) -> SqlStore<D> {
    let store = SqlStore::builder(pool).table(fresh_table()).build().unwrap();
    store.migrate().await.unwrap();
    store
}

pub(crate) async fn postgres(url: &str) -> PostgresStore {
    migrated(PgPoolOptions::new().max_connections(POOL).connect(url).await.unwrap()).await
}

pub(crate) async fn mysql(url: &str) -> MysqlStore {
    migrated(MySqlPoolOptions::new().max_connections(POOL).connect(url).await.unwrap()).await
}

/// A database in a file that is gone with the runtime.
pub(crate) async fn sqlite_file() -> SqliteStore {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("sessions.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    tokio::spawn(async move {
        let _kept = folder;
        std::future::pending::<()>().await;
    });
    migrated(SqlitePoolOptions::new().max_connections(POOL).connect_with(options).await.unwrap()).await
}

pub(crate) async fn sqlite_memory() -> SqliteStore {
    migrated(SqlitePoolOptions::new().max_connections(POOL).connect("sqlite::memory:").await.unwrap()).await
}
