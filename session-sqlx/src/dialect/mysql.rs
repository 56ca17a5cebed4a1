//! MySQL and MariaDB.

use session_core::Touch;
use sqlx::error::{BoxDynError, DatabaseError};
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{Arguments, MySql, Row, SqlStr};

use super::{Claim, Dialect, SchemaSyntax, Syntax, Value, in_list, sealed};
use crate::error::Failure;
use crate::migrate::migrations;

impl sealed::Sealed for MySql {}

/// The name of the migration lock of a table. It includes the database.
macro_rules! migration_lock {
    () => {
        "MD5(CONCAT('session-kit ', COALESCE({schema_text}, DATABASE(), ''), '.', {name_text}))"
    };
}

impl Dialect for MySql {
    const SYNTAX: Syntax = Syntax {
        name: "mysql",
        quote: '`',
        numbered: false,
        ids: in_list,
        // At the default level a `SELECT ... FOR UPDATE` also locks the gaps between rows, so
        // sign-ins of users that are neighbours in the index would wait for each other.
        begin: "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION",
        // A row lock instead of GET_LOCK, because the end of the transaction, however it ends,
        // releases it.
        lock_user: Some("SELECT stripe FROM {locks} WHERE stripe = ? FOR UPDATE"),
        // The number of rows that the migration inserts.
        lock_number: |hash| (hash % 256).cast_signed(),
        claim: Claim::Selecting,
        lock_rows: " FOR UPDATE",
        skip_locked: " FOR UPDATE SKIP LOCKED",
        first: |condition, order, _| format!("{condition} ORDER BY {order} LIMIT ?"),
        touch:
            "UPDATE {table} AS t
            JOIN JSON_TABLE(?, '$[*]' COLUMNS (
                id CHAR(32) PATH '$[0]',
                at BIGINT PATH '$[1]',
                ip VARCHAR(45) PATH '$[2]',
                country VARCHAR(2) PATH '$[3]'
            )) AS seen ON t.id = UNHEX(seen.id)
            SET t.last_ip_address = seen.ip, t.last_country_code = seen.country, t.last_seen_at = seen.at
            WHERE seen.at > t.last_seen_at AND seen.at < t.deadline_at AND COALESCE(t.deadline_at > ?, FALSE)",
        one_writer: false,
        survives_cancellation: false,
        schema: SchemaSyntax {
            migrations: migrations!("mysql"),
            transactional: false,
            // Held until it is released or the connection ends. Waits for at most a minute. Lock
            // names are global to the server and have at most 64 characters.
            lock: Some(concat!("SELECT GET_LOCK(", migration_lock!(), ", 60)")),
            unlock: Some(concat!("SELECT RELEASE_LOCK(", migration_lock!(), ")")),
            further_tables: &["_locks"],
            columns: "SELECT column_name FROM information_schema.columns
                WHERE table_schema = COALESCE({schema_text}, DATABASE()) AND table_name = {name_text}",
            indexes: "SELECT DISTINCT index_name FROM information_schema.statistics
                WHERE table_schema = COALESCE({schema_text}, DATABASE()) AND table_name = {name_text}",
        },
    };

    fn bind(arguments: &mut MySqlArguments, value: Value<'_>) -> Result<(), BoxDynError> {
        match value {
            Value::Bytes(bytes) => arguments.add(bytes),
            Value::Flag(flag) => arguments.add(flag),
            Value::Int(int) => arguments.add(int),
            Value::Key(text) => arguments.add(text.map(str::as_bytes)),
            Value::Real(real) => arguments.add(real),
            Value::Text(text) => arguments.add(text),
            Value::Uuid(bytes) => arguments.add(bytes.map(|bytes| &bytes[..])),
        }
    }

    fn bind_ids(arguments: &mut MySqlArguments, ids: &[[u8; 16]]) -> Result<(), BoxDynError> {
        super::padded(ids).try_for_each(|id| arguments.add(&id[..]))
    }

    fn bind_touches(arguments: &mut MySqlArguments, batch: &[&Touch]) -> Result<(), BoxDynError> {
        arguments.add(super::touches_as_json(batch))
    }

    super::forward_to_driver!(MySqlConnection, MySqlArguments, MySqlRow);
    super::read_by_driver!(MySqlRow);

    /// Text is also stored in binary columns, see the migrations.
    #[inline]
    fn text(row: &MySqlRow, column: usize) -> Result<Option<&str>, sqlx::Error> {
        super::utf8(Self::bytes(row, column)?)
    }

    #[inline]
    fn uuid(row: &MySqlRow, column: usize) -> Result<Option<[u8; 16]>, sqlx::Error> {
        super::uuid_bytes(Self::bytes(row, column)?)
    }

    /// Classifies by error number:
    /// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>,
    /// <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
    fn failure(error: &dyn DatabaseError) -> Failure {
        let number = error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number);
        match number {
            1060 | 1061 | 1091 => Failure::AlreadyDone,
            1062 => Failure::Duplicate,
            // Deadlock; a row that changed since it was read (MariaDB with
            // innodb_snapshot_isolation).
            1213 | 1020 => Failure::RolledBack,
            // The table was altered; a different server replied, which does not know the statement.
            1615 | 1243 => Failure::Outdated,
            1205 => Failure::Timeout("a lock was not released in time"),
            1317 | 1969 | 3024 => {
                Failure::Timeout("the statement was cancelled, by its time limit or manually")
            }
            1290 | 1792 | 1836 => Failure::Unavailable("the server is read-only"),
            1021 | 1114 => Failure::Unavailable("the server's disk is full"),
            1040 | 1203 | 1226 => Failure::Unavailable("the server has too many connections"),
            1049 | 1054 | 1146 => Failure::Unavailable(
                "the table is missing or not as expected; `verify` lists what is missing, `migrate` creates it",
            ),
            1044 | 1045 | 1142 | 1143 => Failure::Unavailable("the database user lacks a privilege"),
            // Shutdown, killed connection, network errors that the server detected, out of memory.
            1037 | 1038 | 1053 | 1152 | 1158..=1161 | 1184 | 1927 => {
                Failure::Unavailable("the server does not accept work now")
            }
            // "Got error 28 ... from storage engine": 28 is the operating system's error number for
            // a full disk.
            1030 if error.message().starts_with("Got error 28 ") => {
                Failure::Unavailable("the server's disk is full")
            }
            1030 | 1034 | 1194 => Failure::Corrupt("the server found a corrupt table"),
            _ => Failure::Other,
        }
    }
}
