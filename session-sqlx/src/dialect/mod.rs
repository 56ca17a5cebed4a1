//! What differs between the databases. Everything else is written once.

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

/// A database that [`SqlStore`](crate::SqlStore) knows: `sqlx::Postgres`, `sqlx::MySql`, `sqlx::Sqlite`. Sealed.
pub trait Dialect: Database<Connection: Debug> + Debug + sealed::Sealed {
    #[doc(hidden)]
    const SYNTAX: Syntax;

    /// Adds a value to the arguments of a statement.
    #[doc(hidden)]
    fn bind(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), BoxDynError>;

    /// Adds ids for the text that [`Syntax::ids`] makes for as many. As bytes, because a damaged row may have an id that is none of ours.
    #[doc(hidden)]
    fn bind_ids(arguments: &mut Self::Arguments, ids: &[[u8; 16]]) -> Result<(), BoxDynError>;

    /// Adds a batch for [`Syntax::touch`].
    #[doc(hidden)]
    fn bind_touches(arguments: &mut Self::Arguments, batch: &[&Touch]) -> Result<(), BoxDynError>;

    /// Runs a prepared statement and returns its rows.
    #[doc(hidden)]
    fn rows(
        connection: &mut Self::Connection,
        sql: SqlStr,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// Runs a prepared statement that finds one row at most.
    #[doc(hidden)]
    fn first_row(
        connection: &mut Self::Connection,
        sql: SqlStr,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Option<Self::Row>, sqlx::Error>> + Send;

    /// Runs a prepared statement and returns how many rows it changed.
    #[doc(hidden)]
    fn execute(
        connection: &mut Self::Connection,
        sql: SqlStr,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Runs a script of statements.
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

    /// What an error that the database reported means.
    #[doc(hidden)]
    fn failure(error: &dyn DatabaseError) -> Failure;

    /// What the database behind a pool survives.
    #[doc(hidden)]
    #[must_use]
    fn durability(_pool: &Pool<Self>) -> Durability {
        Durability::Server
    }
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// One value of a statement.
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

/// How a database says things. `{table}` and the like are filled in by [`Template`](crate::statements::Template).
#[doc(hidden)]
#[derive(Debug)]
pub struct Syntax {
    /// The backend's name in capabilities and errors.
    pub name: &'static str,
    /// What stands around names.
    pub quote: char,
    /// Whether placeholders are `$1`, `$2` instead of `?`.
    pub numbered: bool,
    /// The condition `id is one of these`, for so many.
    pub ids: fn(usize) -> String,
    /// Begins a transaction whose statements each see what was committed before them.
    pub begin: &'static str,
    /// Makes two sign-ins of one user under a limit follow each other until the transaction ends. Binds an [`Int`](Value::Int).
    pub lock_user: Option<&'static str>,
    /// The number that [`lock_user`](Self::lock_user) locks, from a hash of table and user.
    pub lock_number: fn(u64) -> i64,
    /// How rows are claimed.
    pub claim: Claim,
    /// Added to a `SELECT` to wait for its rows.
    pub lock_rows: &'static str,
    /// Added to a `SELECT` to pass by rows that others hold.
    pub skip_locked: &'static str,
    /// `UPDATE` or `DELETE` of the first so many rows that meet a condition, in an order: what stands after `WHERE`.
    pub first: fn(condition: &str, order: &str, skip_locked: &str) -> String,
    /// Moves the last-seen times of a batch. Binds the batch, then now.
    pub touch: &'static str,
    /// Whether one connection at a time can write.
    pub one_writer: bool,
    /// Whether a connection whose call was dropped half-way can be used on.
    pub survives_cancellation: bool,
    /// How the schema is changed and read.
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

/// How the schema is changed and read.
#[doc(hidden)]
#[derive(Debug)]
pub struct SchemaSyntax {
    pub migrations: &'static [Migration],
    /// Whether a transaction holds changes of the schema. If not, each is committed at once.
    pub transactional: bool,
    /// Keeps other migrations away, in the transaction or, without one, until `unlock`.
    pub lock: Option<&'static str>,
    pub unlock: Option<&'static str>,
    /// Tables besides that of the sessions, by what comes after its name.
    pub further_tables: &'static [&'static str],
    /// The names of the columns of a table.
    pub columns: &'static str,
    /// The names of its indexes.
    pub indexes: &'static str,
}

/// The methods that read the same for all drivers, and cannot be written once because their bounds cannot be spelled.
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

/// The same for reading, where the driver's own way is quick enough.
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

/// A list that is as long as the next power of two, so that a connection prepares few statements instead of 500.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn in_list(ids: usize) -> String {
    format!("id IN ({})", vec!["?"; ids.next_power_of_two()].join(", "))
}

/// Ids for such a list: the last one again and again changes nothing.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
fn padded(ids: &[[u8; 16]]) -> impl Iterator<Item = &[u8; 16]> {
    let missing = ids.len().next_power_of_two() - ids.len();
    ids.iter().chain(ids.last().into_iter().cycle().take(missing))
}

/// A batch as an array of `[id, time, address, country]`, so that one parameter and one statement serve every size.
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
