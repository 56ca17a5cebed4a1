//! The differences between the databases. All other code is shared.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::future::Future;

#[cfg(any(feature = "mysql", feature = "sqlite"))]
use session_core::SessionId;
use session_core::{Durability, Touch};
use sqlx::error::{BoxDynError, DatabaseError};
use sqlx::{Database, Pool, SqlStr};

use crate::error::Failure;
use crate::migrate::Migration;

/// A database that [`SqlStore`](crate::SqlStore) supports: `sqlx::Postgres`, `sqlx::MySql`,
/// `sqlx::Sqlite`. Sealed.
pub trait Dialect: Database<Connection: Debug> + Debug + sealed::Sealed {
    #[doc(hidden)]
    const SYNTAX: Syntax;

    /// Adds a value to the arguments of a statement.
    #[doc(hidden)]
    fn bind(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), BoxDynError>;

    /// Binds ids for the condition that [`Syntax::ids`] returns for the same number. The ids are
    /// bytes, because a corrupt row may have an id that is not a session id.
    #[doc(hidden)]
    fn bind_ids(arguments: &mut Self::Arguments, ids: &[[u8; 16]]) -> Result<(), BoxDynError>;

    /// Binds a batch for [`Syntax::touch`].
    #[doc(hidden)]
    fn bind_touches(arguments: &mut Self::Arguments, batch: &[&Touch]) -> Result<(), BoxDynError>;

    /// Runs a prepared statement and returns its rows.
    #[doc(hidden)]
    fn rows(
        connection: &mut Self::Connection,
        sql: SqlStr,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// Runs a prepared statement that returns at most one row.
    #[doc(hidden)]
    fn first_row(
        connection: &mut Self::Connection,
        sql: SqlStr,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Option<Self::Row>, sqlx::Error>> + Send;

    /// Runs a prepared statement and returns the number of rows that it changed.
    #[doc(hidden)]
    fn execute(
        connection: &mut Self::Connection,
        sql: SqlStr,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs a script of several statements.
    #[doc(hidden)]
    fn script(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    #[doc(hidden)]
    fn bytes(row: &Self::Row, column: usize) -> Result<Option<&[u8]>, sqlx::Error>;
    #[doc(hidden)]
    fn flag(row: &Self::Row, column: usize) -> Result<bool, sqlx::Error>;
    #[doc(hidden)]
    fn int(row: &Self::Row, column: usize) -> Result<Option<i64>, sqlx::Error>;
    #[doc(hidden)]
    fn real(row: &Self::Row, column: usize) -> Result<Option<f64>, sqlx::Error>;
    #[doc(hidden)]
    fn text(row: &Self::Row, column: usize) -> Result<Option<&str>, sqlx::Error>;
    #[doc(hidden)]
    fn uuid(row: &Self::Row, column: usize) -> Result<Option<[u8; 16]>, sqlx::Error>;

    /// Classifies an error that the database reported.
    #[doc(hidden)]
    fn failure(error: &dyn DatabaseError) -> Failure;

    /// Returns what the data in a pool's database survives.
    #[doc(hidden)]
    #[must_use]
    fn durability(_pool: &Pool<Self>) -> Durability {
        Durability::Server
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A value that a statement binds.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Bytes(Option<&'a [u8]>),
    Flag(bool),
    Int(Option<i64>),
    /// Text that is compared byte by byte.
    Key(Option<&'a str>),
    Real(Option<f64>),
    Text(Option<&'a str>),
    Uuid(Option<&'a [u8; 16]>),
}

/// The SQL of a database. [`Template`](crate::statements::Template) fills in `{table}` and the
/// other names.
#[doc(hidden)]
#[derive(Debug)]
pub struct Syntax {
    /// The backend's name in capabilities and errors.
    pub name: &'static str,
    /// The quotation mark around names.
    pub quote: char,
    /// Whether placeholders are `$1`, `$2` instead of `?`.
    pub numbered: bool,
    /// Returns the condition that `id` is one of the given number of ids.
    pub ids: fn(usize) -> String,
    /// Begins a transaction in which each statement sees everything that was committed before it.
    pub begin: &'static str,
    /// Serializes sign-ins of one user under a limit until the transaction ends. Binds an
    /// [`Int`](Value::Int).
    pub lock_user: Option<&'static str>,
    /// Maps a hash of table and user to the number that [`lock_user`](Self::lock_user) locks.
    pub lock_number: fn(u64) -> i64,
    /// How rows are claimed.
    pub claim: Claim,
    /// Appended to a `SELECT` to wait for locked rows.
    pub lock_rows: &'static str,
    /// Appended to a `SELECT` to skip rows that other transactions have locked.
    pub skip_locked: &'static str,
    /// Returns the text after `WHERE` for an `UPDATE` or `DELETE` of the first rows, in an order,
    /// that meet a condition. Binds the number of rows last.
    pub first: fn(condition: &str, order: &str, skip_locked: &str) -> String,
    /// Updates the last-seen times of a batch. Binds the batch, then the current time.
    pub touch: &'static str,
    /// Whether only one connection can write at a time.
    pub one_writer: bool,
    /// Whether a connection is still usable after a call on it was dropped halfway.
    pub survives_cancellation: bool,
    /// How the schema is changed and inspected.
    pub schema: SchemaSyntax,
}

/// How rows are claimed and returned.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// `UPDATE ... RETURNING`: one statement.
    Returning,
    /// `SELECT ... FOR UPDATE`, then `UPDATE`: a transaction.
    Selecting,
}

/// How the schema is changed and inspected.
#[doc(hidden)]
#[derive(Debug)]
pub struct SchemaSyntax {
    pub migrations: &'static [Migration],
    /// Whether schema changes are transactional. If not, each is committed at once.
    pub transactional: bool,
    /// Excludes concurrent migrations: until the transaction ends or, without one, until `unlock`.
    pub lock: Option<&'static str>,
    pub unlock: Option<&'static str>,
    /// Tables besides the sessions table, as suffixes of its name.
    pub further_tables: &'static [&'static str],
    /// Selects the names of a table's columns.
    pub columns: &'static str,
    /// Selects the names of a table's indexes.
    pub indexes: &'static str,
}

/// The methods that have the same body for all drivers. They cannot be generic, because their
/// bounds cannot be expressed.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
macro_rules! forward_to_driver {
    ($connection:ty, $arguments:ty, $row:ty) => {
        async fn rows(
            connection: &mut $connection,
            sql: SqlStr,
            arguments: $arguments,
        ) -> Result<Vec<$row>, sqlx::Error> {
            sqlx::query_with(sql, arguments).fetch_all(connection).await
        }

        async fn first_row(
            connection: &mut $connection,
            sql: SqlStr,
            arguments: $arguments,
        ) -> Result<Option<$row>, sqlx::Error> {
            sqlx::query_with(sql, arguments).fetch_optional(connection).await
        }

        async fn execute(
            connection: &mut $connection,
            sql: SqlStr,
            arguments: $arguments,
        ) -> Result<u64, sqlx::Error> {
            let result = sqlx::query_with(sql, arguments).execute(connection).await?;
            Ok(result.rows_affected())
        }

        async fn script(connection: &mut $connection, sql: SqlStr) -> Result<(), sqlx::Error> {
            sqlx::raw_sql(sql).execute(connection).await.map(drop)
        }
    };
}
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
use forward_to_driver;

/// The same for reading columns, for drivers whose own decoding is fast enough.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
macro_rules! read_by_driver {
    ($row:ty) => {
        #[inline]
        fn bytes(row: &$row, column: usize) -> Result<Option<&[u8]>, sqlx::Error> {
            row.try_get(column)
        }

        #[inline]
        fn int(row: &$row, column: usize) -> Result<Option<i64>, sqlx::Error> {
            row.try_get(column)
        }

        #[inline]
        fn real(row: &$row, column: usize) -> Result<Option<f64>, sqlx::Error> {
            row.try_get(column)
        }

        #[inline]
        fn flag(row: &$row, column: usize) -> Result<bool, sqlx::Error> {
            row.try_get(column)
        }
    };
}
#[cfg(any(feature = "mysql", feature = "sqlite"))]
use read_by_driver;

/// Returns a list as long as the next power of two, so that a connection prepares few statements
/// instead of 500.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn in_list(ids: usize) -> String {
    format!("id IN ({})", vec!["?"; ids.next_power_of_two()].join(", "))
}

/// Returns the ids for such a list. It repeats the last id, which does not change the result.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn padded(ids: &[[u8; 16]]) -> impl Iterator<Item = &[u8; 16]> {
    let missing = ids.len().next_power_of_two() - ids.len();
    ids.iter().chain(ids.last().into_iter().cycle().take(missing))
}

/// Encodes a batch as an array of `[id, time, address, country]`, so that one parameter and one
/// statement serve every batch size.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn touches_as_json(batch: &[&Touch]) -> String {
    let hex = |id: &SessionId| id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let row = |touch: &&Touch| {
        let client = &touch.last_client;
        serde_json::json!([hex(&touch.id), touch.last_seen_at.as_millis(), client.ip, client.country_code])
    };
    serde_json::Value::from_iter(batch.iter().map(row)).to_string()
}

#[cfg(any(feature = "mysql", feature = "sqlite"))]
#[inline]
fn uuid_bytes(bytes: Option<&[u8]>) -> Result<Option<[u8; 16]>, sqlx::Error> {
    bytes.map(|bytes| bytes.try_into().map_err(|_| sqlx::Error::Decode("not 16 bytes".into()))).transpose()
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
#[inline]
fn utf8(bytes: Option<&[u8]>) -> Result<Option<&str>, sqlx::Error> {
    bytes
        .map(|bytes| std::str::from_utf8(bytes).map_err(|_| sqlx::Error::Decode("not UTF-8".into())))
        .transpose()
}
