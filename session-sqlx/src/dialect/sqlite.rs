//! SQLite.

use session_core::{Durability, Touch};
use sqlx::error::{BoxDynError, DatabaseError};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, Pool, Row, SqlStr, Sqlite};

use super::{Claim, Dialect, SchemaSyntax, Syntax, Value, in_list, sealed};
use crate::error::Failure;
use crate::migrate::migrations;

impl sealed::Sealed for Sqlite {}

impl Dialect for Sqlite {
    const SYNTAX: Syntax = Syntax {
        name: "sqlite",
        quote: '"',
        numbered: false,
        ids: in_list,
        // A transaction that begins as a reader and becomes a writer fails if another transaction
        // wrote in between.
        begin: "BEGIN IMMEDIATE",
        lock_user: None,
        lock_number: |_| 0,
        claim: Claim::Returning,
        lock_rows: "",
        skip_locked: "",
        first: |condition, order, _| {
            format!("id IN (SELECT id FROM {{table}} WHERE {condition} ORDER BY {order} LIMIT ?)")
        },
        touch: "UPDATE {table} AS t
            SET last_ip_address = seen.ip, last_country_code = seen.country, last_seen_at = seen.at
            FROM (
                SELECT unhex(value ->> 0) AS id, value ->> 1 AS at, value ->> 2 AS ip, value ->> 3 AS country
                FROM json_each(?)
            ) AS seen
            WHERE t.id = seen.id AND seen.at > t.last_seen_at AND seen.at < t.deadline_at
                AND COALESCE(t.deadline_at > ?, FALSE)",
        one_writer: true,
        // The driver's thread finishes the statement by itself, and closing the last connection
        // would lose an in-memory database.
        survives_cancellation: true,
        schema: SchemaSyntax {
            migrations: migrations!("sqlite"),
            transactional: true,
            lock: None,
            unlock: None,
            // The extended pragma, because the plain one hides generated columns.
            further_tables: &[],
            columns: "SELECT name FROM pragma_table_xinfo({name_text}, COALESCE({schema_text}, 'main'))",
            indexes: "SELECT name FROM pragma_index_list({name_text}, COALESCE({schema_text}, 'main'))",
        },
    };

    fn bind(arguments: &mut SqliteArguments, value: Value<'_>) -> Result<(), BoxDynError> {
        match value {
            Value::Bytes(bytes) => arguments.add(bytes.map(<[u8]>::to_vec)),
            Value::Flag(flag) => arguments.add(flag),
            Value::Int(int) => arguments.add(int),
            Value::Key(text) | Value::Text(text) => arguments.add(text.map(str::to_owned)),
            Value::Real(real) => arguments.add(real),
            Value::Uuid(bytes) => arguments.add(bytes.map(|bytes| bytes.to_vec())),
        }
    }

    fn bind_ids(arguments: &mut SqliteArguments, ids: &[[u8; 16]]) -> Result<(), BoxDynError> {
        super::padded(ids).try_for_each(|id| arguments.add(id.to_vec()))
    }

    fn bind_touches(arguments: &mut SqliteArguments, batch: &[&Touch]) -> Result<(), BoxDynError> {
        arguments.add(super::touches_as_json(batch))
    }

    super::forward_to_driver!(SqliteConnection, SqliteArguments, SqliteRow);
    super::read_by_driver!(SqliteRow);

    #[inline]
    fn text(row: &SqliteRow, column: usize) -> Result<Option<&str>, sqlx::Error> {
        row.try_get(column)
    }

    #[inline]
    fn uuid(row: &SqliteRow, column: usize) -> Result<Option<[u8; 16]>, sqlx::Error> {
        super::uuid_bytes(Self::bytes(row, column)?)
    }

    /// Classifies by extended result code, whose last byte is the primary code:
    /// <https://sqlite.org/rescode.html>.
    fn failure(error: &dyn DatabaseError) -> Failure {
        let code: u32 = error.code().and_then(|code| code.parse().ok()).unwrap_or_default();
        match (code, code & 0xff) {
            (1555 | 2067 | 2579, _) => Failure::Duplicate,
            // A reader became a writer after another transaction wrote.
            (517, _) => Failure::RolledBack,
            (_, 5 | 6) => Failure::Unavailable("the database is locked by another connection"),
            (_, 8) => Failure::Unavailable("the database is read-only"),
            (_, 9) => Failure::Timeout("the statement was interrupted"),
            (_, 10) => Failure::Unavailable("the disk cannot be read or written"),
            (_, 13) => Failure::Unavailable("the disk is full"),
            (_, 14) => Failure::Unavailable("the database file cannot be opened"),
            (_, 11 | 26) => Failure::Corrupt("the database file is corrupt"),
            // SQLite has no code of its own for these.
            (_, 1)
                if ["no such table", "no such column", "has no column named"]
                    .iter()
                    .any(|text| error.message().contains(text)) =>
            {
                Failure::Unavailable(
                    "the table is missing or not as expected; `verify` lists what is missing, `migrate` creates it",
                )
            }
            _ => Failure::Other,
        }
    }

    fn durability(pool: &Pool<Self>) -> Durability {
        // sqlx gives in-memory databases this name, so that the connections of one pool share one
        // database.
        let options = pool.connect_options();
        let file = options.get_filename().to_string_lossy().into_owned();
        if file.contains(":memory:") || file.starts_with("file:sqlx-in-memory") {
            Durability::Process
        } else {
            Durability::Server
        }
    }
}
