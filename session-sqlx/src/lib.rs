//! Sessions on PostgreSQL, MySQL, MariaDB and SQLite.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arguments;
mod builder;
mod columns;
mod connections;
mod dialect;
mod ending;
mod error;
mod migrate;
mod statements;
mod store;
mod table;

pub use builder::SqlStoreBuilder;
pub use dialect::Dialect;
pub use migrate::{MigrateError, Missing, Step};
pub use store::{HeldConnections, SqlStore};
pub use table::TableName;

/// Sessions in PostgreSQL 12 or later.
#[cfg(feature = "postgres")]
pub type PostgresStore = SqlStore<sqlx::Postgres>;
/// Sessions in MySQL 8.0.19 or later and MariaDB 10.6 or later.
#[cfg(feature = "mysql")]
pub type MysqlStore = SqlStore<sqlx::MySql>;
/// Sessions in SQLite 3.41 or later.
#[cfg(feature = "sqlite")]
pub type SqliteStore = SqlStore<sqlx::Sqlite>;
