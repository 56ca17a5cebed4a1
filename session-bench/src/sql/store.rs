//! A store on a fresh database.

use std::fmt;
use std::ops::Deref;

use session_servers::{Kind, Server};
use session_sqlx::{Dialect, SqlStore};
use sqlx::Pool;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tokio::runtime::Runtime;

use crate::stored::{Stored, runtime};

/// A filled store, and the pool that it shares with its floors.
#[derive(Debug)]
pub struct SqlScene<D: Dialect> {
    stored: Stored<SqlStore<D>>,
    pub(super) pool: Pool<D>,
}

impl<D: Dialect> Deref for SqlScene<D> {
    type Target = Stored<SqlStore<D>>;

    fn deref(&self) -> &Self::Target {
        &self.stored
    }
}

/// Creates a scene on PostgreSQL. The client has `threads` threads; one means the calling thread.
///
/// # Panics
/// If the server cannot be started.
#[must_use]
pub fn postgres(threads: usize) -> SqlScene<sqlx::Postgres> {
    let server = Server::start(Kind::Postgres).expect("a PostgreSQL server; `cargo xtask test` installs one");
    let url = server.url();
    let pool = || PgPoolOptions::new().max_connections(8).connect_lazy(&url).expect("a pool");
    SqlScene::new(runtime(threads), pool, server)
}

/// Creates a scene on MariaDB or MySQL.
///
/// # Panics
/// If the server cannot be started.
#[must_use]
pub fn mysql(threads: usize) -> SqlScene<sqlx::MySql> {
    let server = Server::start(Kind::Mysql).expect("a MariaDB server; `cargo xtask test` installs one");
    let url = server.url();
    let pool = || MySqlPoolOptions::new().max_connections(8).connect_lazy(&url).expect("a pool");
    SqlScene::new(runtime(threads), pool, server)
}

/// Creates a scene on a SQLite file.
///
/// # Panics
/// If the file cannot be created.
#[must_use]
pub fn sqlite(threads: usize) -> SqlScene<sqlx::Sqlite> {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("sessions.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    SqlScene::new(
        runtime(threads),
        || SqlitePoolOptions::new().max_connections(4).connect_lazy_with(options),
        folder,
    )
}

impl<D: Dialect> SqlScene<D> {
    fn new(runtime: Runtime, pool: impl FnOnce() -> Pool<D>, keep: impl fmt::Debug + 'static) -> Self {
        let pool = {
            let _guard = runtime.enter();
            pool()
        };
        let store = SqlStore::new(pool.clone());
        runtime.block_on(async {
            store.migrate().await.expect("a table");
            store.connect().await.expect("connections");
        });
        Self { stored: Stored::fill(runtime, store, keep), pool }
    }

    /// Returns the pool.
    #[must_use]
    pub fn pool(&self) -> &Pool<D> {
        &self.pool
    }
}
