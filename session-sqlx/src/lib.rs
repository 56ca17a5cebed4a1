//! Server-side sessions in PostgreSQL, MySQL, MariaDB and SQLite, on the pool that the application has already.
//!
//! | feature | type | from version |
//! |---|---|---|
//! | `postgres` | [`PostgresStore`] | PostgreSQL 12 |
//! | `mysql` | [`MysqlStore`] | MySQL 8.0.19, MariaDB 10.6 |
//! | `sqlite` | [`SqliteStore`] | SQLite 3.41 (sqlx bundles a later one) |
//!
//! With `postgres` there are also [`PostgresCache`], which all nodes can share in front of any store of record, and [`PostgresBus`], by
//! which they tell each other what changed. Both have tables of their own and may stand in another database than the sessions.
//!
//! No feature is on by default, and none chooses a runtime or TLS: switch those on at your own `sqlx` dependency.
//!
//! # Starting
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use session_sqlx::PostgresStore;
//! use sqlx::PgPool;
//!
//! let pool = PgPool::connect("postgres://app@localhost/app").await?;
//! let store = PostgresStore::new(pool);
//! store.migrate().await?; // or `verify`, if migrations run elsewhere
//! store.connect().await?; // now and not under the first request
//! # Ok(())
//! # }
//! ```
//! A service gives the store to a session manager. The table is called `sessions`; [`SqlStoreBuilder::table`] chooses another name
//! and a schema.
//!
//! # Schema
//! [`migrate`](SqlStore::migrate) brings the database up to date, however many processes call it at once.
//! [`verify`](SqlStore::verify) changes nothing and names what is missing. [`migration_sql`](SqlStore::migration_sql) is the same as
//! text, for those who have a tool of their own. A foreign key to a table of users is not part of it, because user ids are text here
//! and the application's may be anything; see below for what ends the sessions of a deleted user.
//!
//! Ids are binary, times are milliseconds in a `BIGINT`, and everything that is compared is compared byte by byte, so no database's
//! idea of dates, JSON or collations decides who is signed in. `deadline_at` is computed by the database from the other columns and
//! cannot disagree with them. Deleted users: end their sessions through the manager, then
//! [erase](session_core::SessionStore::erase) them.
//!
//! # Connections
//! Everything runs on the given pool, with two exceptions. Loads, which validate each request, run on a few connections that are
//! taken out of the pool once ([`SqlStoreBuilder::held_for_loads`], 2 by default): sqlx's pool asks the server for a sign of life
//! whenever a connection comes back, which would double the time of a load. And ends run on one more, so that a revocation gets
//! through while sign-ins and saves fill the pool. So plan for **three connections more** than the pool's maximum.
//!
//! # Time limits
//! A store reads no clock. The caller's deadline ends a call by dropping its future, which the manager does; a call that was dropped
//! half-way closes its connection, and the server rolls back. The pool's `acquire_timeout` bounds the wait for a connection. A
//! `statement_timeout` of the server ([PostgreSQL](https://www.postgresql.org/docs/current/runtime-config-client.html)) is a good
//! second net, and comes back as [`Timeout`](session_core::ErrorKind::Timeout).
//!
//! # Errors
//! | what happens | kind |
//! |---|---|
//! | no connection, server down or restarting, pool exhausted, read-only, disk full, table missing | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//! | the server's own time limit for a statement or a lock | [`Timeout`](session_core::ErrorKind::Timeout) |
//! | a row that cannot be read, a damaged file | [`Corrupt`](session_core::ErrorKind::Corrupt) |
//! | a deadlock or serialization failure, five times in a row | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//!
//! What the database said is the error's source. None of these is ever "not found".
//!
//! A row that cannot be read fails every load and listing that meets it, and is never deleted for that. It does not stand in the way of
//! ends and sweeps: they end it with the others, and write an error to the log.
//!
//! # Behind PgBouncer
//! sqlx prepares statements under names that repeat on every connection, and runs them by name in a later exchange. **A pooler that
//! gives these exchanges to different servers lets one client run the statements of another.** So:
//! - Pool by transaction only with PgBouncer 1.21 or later and `max_prepared_statements` above 0, which keeps the names apart. With an
//!   older one, or without that setting, pool by session; then plan for the pool and three connections more there too.
//! - Leave sqlx's cache of statements on. Switching it off keeps the names, and leaves a statement on the server for each call (sqlx 0.9.0).
//! - PgBouncer refuses a parameter that sqlx sends at the start: `PgConnectOptions::extra_float_digits(None)`.
//!
//! The locks of this crate are those of a transaction, so transaction pooling does not break them.
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
/// What is special: a sign-in under a limit takes an advisory lock on its user until it commits. Sightings are committed with
/// `synchronous_commit = off`: a crash of the server may forget that a session was used in the last moments, and nothing else.
/// Every other write waits for the disk, and for synchronous replicas if there are any. After a failover to an asynchronous replica,
/// the last sign-ins and revocations can be gone: set `synchronous_standby_names` if they may not.
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub type PostgresStore = SqlStore<sqlx::Postgres>;

/// Sessions in MySQL 8.0.19 or later, and MariaDB 10.6 or later.
///
/// What is special: user ids and names are `VARBINARY`, because no collation that all versions have compares byte by byte and heeds
/// spaces at the end. A sign-in under a limit locks one of the 256 rows of `<table>_locks` until it commits; a user always has the
/// same one. Transactions run at `READ COMMITTED`, which needs row-based or mixed replication (the default). Durability is that of
/// `innodb_flush_log_at_trx_commit`, 1 by default.
#[cfg(feature = "mysql")]
#[cfg_attr(docsrs, doc(cfg(feature = "mysql")))]
pub type MysqlStore = SqlStore<sqlx::MySql>;

/// Sessions in SQLite 3.41 or later: in a file, or in memory.
///
/// What is special: one connection at a time writes. Within a process its turn is waited for in a queue; another process's writes are
/// waited for as long as the pool's `busy_timeout` says (5 s by default), then the call is
/// [`Unavailable`](session_core::ErrorKind::Unavailable). Use the write-ahead log, so that loads do not wait for writes:
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
/// A database in memory must be named by the URL `sqlite::memory:`, or each connection has one of its own. It is gone with its last
/// connection, so call [`connect`](SqlStore::connect): the connections that the store holds keep it.
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub type SqliteStore = SqlStore<sqlx::Sqlite>;
