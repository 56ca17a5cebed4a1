//! PostgreSQL.

use session_core::Touch;
use sqlx::error::{BoxDynError, DatabaseError};
use sqlx::postgres::{PgArguments, PgConnection, PgDatabaseError, PgRow};
use sqlx::{Arguments, Postgres, Row, SqlStr, ValueRef};
use uuid::Uuid;

use super::{Claim, Dialect, SchemaSyntax, Syntax, Value, sealed};
use crate::error::Failure;
use crate::migrate::migrations;

impl sealed::Sealed for Postgres {}

/// The least length of a list of ids; the last id is repeated, which does not change the result.
/// The server plans a list for its length each time, which costs more than the load, as long as
/// that plan looks cheaper than the generic plan, which assumes 10 ids.
const LEAST_IDS: usize = 16;

impl Dialect for Postgres {
    const SYNTAX: Syntax = Syntax {
        name: "postgres",
        quote: '"',
        numbered: true,
        ids: |_| "id = ANY(?)".to_owned(),
        // Names the level, because a database may have another default. At a higher level the
        // statements after the lock would not see what the previous holder of the lock committed.
        begin: "BEGIN ISOLATION LEVEL READ COMMITTED",
        lock_user: Some("SELECT pg_advisory_xact_lock(?)"),
        lock_number: u64::cast_signed,
        claim: Claim::Returning,
        lock_rows: " FOR UPDATE",
        skip_locked: " FOR UPDATE SKIP LOCKED",
        // ARRAY makes the sub-select run once. In an `IN` it may run for each row, and would lock
        // more rows than its limit.
        first: |condition, order, lock| {
            format!(
                "id = ANY(ARRAY(SELECT id FROM {{table}} WHERE {condition} ORDER BY {order} LIMIT ?{lock}))"
            )
        },
        // The setting applies until this statement's transaction ends. A crash may lose last-seen
        // times and nothing else. `GREATEST` makes the deadline a condition of the join: a
        // condition on the current time alone would make the planner use the index of all live
        // sessions.
        touch: "UPDATE {table} AS t
            SET last_ip_address = seen.ip, last_country_code = seen.country, last_seen_at = seen.at
            FROM (SELECT set_config('synchronous_commit', 'off', true) AS is_off) AS commits,
                UNNEST(?::uuid[], ?::bigint[], ?::text[], ?::text[]) AS seen (id, at, ip, country)
            WHERE commits.is_off = 'off' AND t.id = seen.id AND seen.at > t.last_seen_at
                AND GREATEST(seen.at, ?) < t.deadline_at",
        one_writer: false,
        survives_cancellation: false,
        schema: SchemaSyntax {
            migrations: migrations!("postgres"),
            transactional: true,
            lock: Some("SELECT pg_advisory_xact_lock({lock})"),
            unlock: None,
            further_tables: &[],
            columns: "SELECT attname::text FROM pg_attribute
                WHERE attrelid = to_regclass({regclass}) AND attnum > 0 AND NOT attisdropped",
            indexes: "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE i.indrelid = to_regclass({regclass}) AND i.indisvalid",
        },
    };

    fn bind(arguments: &mut PgArguments, value: Value<'_>) -> Result<(), BoxDynError> {
        match value {
            Value::Bytes(bytes) => arguments.add(bytes),
            Value::Flag(flag) => arguments.add(flag),
            Value::Int(int) => arguments.add(int),
            Value::Key(text) | Value::Text(text) => arguments.add(text),
            Value::Real(real) => arguments.add(real),
            Value::Uuid(bytes) => arguments.add(bytes.map(|bytes| Uuid::from_bytes(*bytes))),
        }
    }

    fn bind_ids(arguments: &mut PgArguments, ids: &[[u8; 16]]) -> Result<(), BoxDynError> {
        let repeated = LEAST_IDS.saturating_sub(ids.len());
        let padded = ids.iter().chain(ids.last().into_iter().cycle().take(repeated));
        arguments.add(padded.map(|id| Uuid::from_bytes(*id)).collect::<Vec<_>>())
    }

    fn bind_touches(arguments: &mut PgArguments, batch: &[&Touch]) -> Result<(), BoxDynError> {
        let ips = batch.iter().map(|touch| touch.last_client.ip.map(|ip| ip.to_string()));
        let countries = batch.iter().map(|touch| touch.last_client.country_code.as_deref());
        arguments
            .add(batch.iter().map(|touch| Uuid::from_bytes(*touch.id.as_bytes())).collect::<Vec<_>>())?;
        arguments.add(batch.iter().map(|touch| touch.last_seen_at.as_millis()).collect::<Vec<_>>())?;
        arguments.add(ips.collect::<Vec<_>>())?;
        arguments.add(countries.collect::<Vec<_>>())
    }

    super::forward_to_driver!(PgConnection, PgArguments, PgRow);

    #[inline]
    fn bytes(row: &PgRow, column: usize) -> Result<Option<&[u8]>, sqlx::Error> {
        cell(row, column)
    }

    #[inline]
    fn flag(row: &PgRow, column: usize) -> Result<bool, sqlx::Error> {
        match cell(row, column)? {
            Some([0]) => Ok(false),
            Some([1]) => Ok(true),
            _ => Err(sqlx::Error::Decode("not a boolean".into())),
        }
    }

    #[inline]
    fn int(row: &PgRow, column: usize) -> Result<Option<i64>, sqlx::Error> {
        Ok(fixed(row, column)?.map(i64::from_be_bytes))
    }

    #[inline]
    fn real(row: &PgRow, column: usize) -> Result<Option<f64>, sqlx::Error> {
        Ok(fixed(row, column)?.map(f64::from_be_bytes))
    }

    #[inline]
    fn text(row: &PgRow, column: usize) -> Result<Option<&str>, sqlx::Error> {
        super::utf8(cell(row, column)?)
    }

    #[inline]
    fn uuid(row: &PgRow, column: usize) -> Result<Option<[u8; 16]>, sqlx::Error> {
        fixed(row, column)
    }

    /// Classifies by SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn failure(error: &dyn DatabaseError) -> Failure {
        let code = error.code().unwrap_or_default();
        match &*code {
            "23505" => Failure::Duplicate,
            "40001" | "40P01" => Failure::RolledBack,
            // The prepared statements were discarded, for example by a pool hook that runs
            // `DISCARD ALL`.
            "26000" => Failure::Outdated,
            "0A000" if is_outdated(error) => Failure::Outdated,
            "42P05" => Failure::Unavailable("a pooler mixes up prepared statements; pool by session"),
            "57014" => Failure::Timeout("the statement was cancelled, by its time limit or manually"),
            "55P03" => Failure::Timeout("a lock was not released in time"),
            "25006" => Failure::Unavailable("the server is read-only"),
            "53100" => Failure::Unavailable("the server's disk is full"),
            "53300" => Failure::Unavailable("the server has too many connections"),
            "42P01" | "42703" | "3F000" => Failure::Unavailable(
                "the table is missing or not as expected; `verify` lists what is missing, `migrate` creates it",
            ),
            "42501" => Failure::Unavailable("the database user lacks a privilege"),
            "XX001" | "XX002" => Failure::Corrupt("the server found corrupt pages"),
            // Connection exceptions, resources, operator intervention, system errors, invalid
            // authorization.
            _ if ["08", "53", "57", "58", "28"].iter().any(|class| code.starts_with(class)) => {
                Failure::Unavailable("the server does not accept work now")
            }
            _ => Failure::Other,
        }
    }
}

/// Returns true for "cached plan must not change result type". The error has no code of its own,
/// and its message is in the language of the server.
fn is_outdated(error: &dyn DatabaseError) -> bool {
    error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine)
        == Some("RevalidateCachedQuery")
}

// The code that reads rows is generic and is compiled in the application's crate. The functions
// that it calls forty times a row are marked `inline`, so that they are inlined there.

/// Returns the bytes of a cell. Rows of prepared statements arrive in PostgreSQL's binary format,
/// which is simple for the types used here. sqlx's own decoding checks the type of each of the
/// forty columns, which takes as long as a third of a load.
#[inline]
fn cell(row: &PgRow, column: usize) -> Result<Option<&[u8]>, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() { Ok(None) } else { value.as_bytes().map(Some).map_err(sqlx::Error::Decode) }
}

#[inline]
fn fixed<const N: usize>(row: &PgRow, column: usize) -> Result<Option<[u8; N]>, sqlx::Error> {
    let width =
        |bytes: &[u8]| bytes.try_into().map_err(|_| sqlx::Error::Decode("a column of another type".into()));
    cell(row, column)?.map(width).transpose()
}
