//! Server-side sessions in PostgreSQL, MySQL, MariaDB and SQLite, on the application's own pool.
//!
//! | feature | type | from version |
//! |---|---|---|
//! | `postgres` | [`PostgresStore`] | PostgreSQL 12 |
//! | `mysql` | [`MysqlStore`] | MySQL 8.0.19, MariaDB 10.6 |
//! | `sqlite` | [`SqliteStore`] | SQLite 3.41 (sqlx bundles a later one) |
//!
//! The feature `postgres` also provides [`PostgresCache`], a cache that all nodes share in front of
//! any store of record, and [`PostgresBus`], which notifies the other nodes of changes. Both have
//! their own tables, which may be in a different database than the sessions.
//!
//! No feature is on by default, and none selects a runtime or TLS: enable those on your own `sqlx`
//! dependency.
//!
//! # Getting started
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use session_sqlx::PostgresStore;
//! use sqlx::PgPool;
//!
//! let pool = PgPool::connect("postgres://app@localhost/app").await?;
//! let store = PostgresStore::new(pool);
//! store.migrate().await?; // or `verify`, if migrations run elsewhere
//! store.connect().await?; // opens connections before the first request
//! # Ok(())
//! # }
//! ```
//! A service passes the store to a session manager. The table is called `sessions`;
//! [`SqlStoreBuilder::table`] sets another name and a schema.
//!
//! # Schema
//! [`migrate`](SqlStore::migrate) brings the database up to date; any number of processes may call
//! it at once. [`verify`](SqlStore::verify) changes nothing and lists what is missing.
//! [`migration_sql`](SqlStore::migration_sql) returns the schema as SQL for use with another
//! migration tool. It contains no foreign key to a table of users, because user ids are text here
//! and may have any type in the application.
//!
//! Ids are binary, times are milliseconds in a `BIGINT`, and all comparisons are byte by byte, so
//! no database's handling of dates, JSON or collations affects authentication. The database
//! computes `deadline_at` from the other columns, so the two always agree. To delete a user, end
//! the user's sessions through the manager, then [erase](session_core::SessionStore::erase) them.
//!
//! # Connections
//! Everything runs on the given pool, with two exceptions. Loads, which validate each request, run
//! on a few connections that the store takes out of the pool once
//! ([`SqlStoreBuilder::held_for_loads`], 2 by default): sqlx's pool pings the server whenever a
//! connection is returned, which would double the time of a load. Ends run on one more connection,
//! so that a revocation does not wait while sign-ins and saves fill the pool. So plan for **three
//! connections more** than the pool's maximum.
//!
//! # Time limits
//! A store reads no clock. The manager enforces the caller's deadline by dropping the future of a
//! call. A call that is dropped halfway closes its connection, and the server rolls back. The
//! pool's `acquire_timeout` limits the wait for a connection. A `statement_timeout` of the server
//! ([PostgreSQL](https://www.postgresql.org/docs/current/runtime-config-client.html)) is a useful
//! second limit; the store returns it as [`Timeout`](session_core::ErrorKind::Timeout).
//!
//! # Errors
//! | cause | kind |
//! |---|---|
//! | no connection, server down or restarting, pool exhausted, read-only, disk full, table missing | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//! | the server's own time limit for a statement or a lock | [`Timeout`](session_core::ErrorKind::Timeout) |
//! | a row that cannot be decoded, a corrupt file | [`Corrupt`](session_core::ErrorKind::Corrupt) |
//! | a deadlock or serialization failure, five times in a row | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//!
//! The error's source is the database's own error. None of these is ever "not found".
//!
//! A row that cannot be decoded fails every load and listing that includes it, and is not deleted.
//! It does not block ends and sweeps: they end it together with the other rows and log an error.
//!
//! # Behind PgBouncer
//! sqlx prepares statements under names that repeat on every connection, and runs them by name in a
//! later exchange. **If a pooler routes these exchanges to different servers, one client can run
//! the statements of another.** So:
//! - Pool by transaction only with PgBouncer 1.21 or later and `max_prepared_statements` above 0,
//!   which keeps the names apart. With an older version, or without that setting, pool by session,
//!   and plan for the pool plus three connections there too.
//! - Leave sqlx's statement cache on. Without it the names still repeat, and each call leaves a
//!   statement on the server (sqlx 0.9.0).
//! - PgBouncer rejects a parameter that sqlx sends at startup: set
//!   `PgConnectOptions::extra_float_digits(None)`.
//!
//! The locks of this crate are transaction-level locks, so transaction pooling does not break them.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arguments;
mod builder;
mod columns;
mod connections;
mod dialect;
mod ending;
mod error;
mod migrate;
#[cfg(feature = "postgres")]
mod postgres;
mod statements;
mod store;
mod table;

pub use builder::SqlStoreBuilder;
pub use dialect::Dialect;
pub use migrate::{MigrateError, Missing, Step};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::{PostgresBus, PostgresCache};
pub use store::{HeldConnections, SqlStore};
pub use table::TableName;

/// Sessions in PostgreSQL 12 or later.
///
/// A sign-in under a limit holds an advisory lock on its user until it commits. Last-seen updates
/// are committed with `synchronous_commit = off`: a crash of the server may lose the most recent
/// last-seen times, and nothing else. Every other write waits for the disk, and for synchronous
/// replicas if there are any. A failover to an asynchronous replica can lose the latest sign-ins
/// and revocations; set `synchronous_standby_names` to prevent that.
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub type PostgresStore = SqlStore<sqlx::Postgres>;

/// Sessions in MySQL 8.0.19 or later, and MariaDB 10.6 or later.
///
/// User ids and names are `VARBINARY`, because no collation that all versions have compares byte by
/// byte and respects trailing spaces. A sign-in under a limit locks one of the 256 rows of
/// `<table>_locks` until it commits; a user always maps to the same row. Transactions run at
/// `READ COMMITTED`, which needs row-based or mixed replication (the default). Durability depends
/// on `innodb_flush_log_at_trx_commit`, 1 by default.
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub type MysqlStore = SqlStore<sqlx::MySql>;

/// Sessions in SQLite 3.41 or later, in a file or in memory.
///
/// One connection at a time writes. Writers of one process wait in a queue. A write that waits for
/// another process waits for at most the pool's `busy_timeout` (5 s by default); then the call is
/// [`Unavailable`](session_core::ErrorKind::Unavailable). Use the write-ahead log, so that loads do
/// not wait for writes:
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use session_core::SessionStore;
/// use session_sqlx::SqliteStore;
/// use sqlx::SqlitePool;
/// use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("sessions.db");
/// let options = SqliteConnectOptions::new()
///     .filename(path)
///     .create_if_missing(true)
///     .journal_mode(SqliteJournalMode::Wal);
/// let store = SqliteStore::new(SqlitePool::connect_with(options).await?);
/// store.migrate().await?;
/// assert_eq!(store.capabilities().name, "sqlite");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
/// Name an in-memory database by the URL `sqlite::memory:`; otherwise each connection has a
/// database of its own. The database is lost with its last connection, so call
/// [`connect`](SqlStore::connect): the connections that the store holds keep it open.
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub type SqliteStore = SqlStore<sqlx::Sqlite>;
