//! The table of a cache, and the SQL of every statement on it.

use sqlx::SqlStr;

use super::super::NOW;
use super::super::schema::{Schema, template};
use crate::table::TableName;

/// Times to live are measured by the server's clock, in milliseconds like every other time.
///
/// The first layout had no scope. Its entries are useless, because they do not name the application
/// that they belong to. So a table with exactly the columns of that layout is dropped and created
/// again; any other table is left alone.
pub(super) const SCHEMA: Schema = Schema {
    text: r#"DO $$ BEGIN
    IF (SELECT array_agg(attname::text ORDER BY attname::text COLLATE "C") FROM pg_attribute
            WHERE attrelid = to_regclass({regclass}) AND attnum > 0 AND NOT attisdropped)
        = ARRAY['body', 'expires_at', 'id', 'revision', 'tombstone', 'ttl_ms', 'verified_at']
    THEN
        DROP TABLE {table};
    END IF;
END $$;
CREATE UNLOGGED TABLE IF NOT EXISTS {table} (
    scope UUID NOT NULL,
    id UUID NOT NULL,
    revision BIGINT NOT NULL,
    verified_at BIGINT NOT NULL,
    tombstone BOOLEAN NOT NULL,
    ttl_ms BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (scope, id)
);
CREATE INDEX IF NOT EXISTS "{name}_expires_idx" ON {table} (expires_at);
"#,
    tables: &[("", &["scope", "id", "revision", "verified_at", "tombstone", "ttl_ms", "expires_at", "body"])],
    indexes: &["_expires_idx"],
};

#[derive(Debug)]
pub(super) struct Statements {
    /// Binds the scope and the id.
    pub(super) get: SqlStr,
    /// Binds the columns without `expires_at`, which the server computes. Returns the scope and the
    /// id if the entry was stored.
    pub(super) put: SqlStr,
    /// Binds the scope and the id.
    pub(super) remove: SqlStr,
    /// Binds the values that were read: scope, id, expiry, time to live, body.
    pub(super) discard: SqlStr,
    /// Binds the maximum number of rows. Returns the number of rows removed.
    pub(super) sweep: SqlStr,
}

impl Statements {
    pub(super) fn new(table: &TableName) -> Self {
        let template = template(table);
        let sql = |text: &str| template.sql(&text.replace("{now}", NOW));
        Self {
            get: sql("SELECT scope, id, revision, verified_at, tombstone, ttl_ms, expires_at, expires_at - {now}, body
                FROM {table} WHERE scope = $1 AND id = $2"),
            // An expired entry counts as absent. So does an entry that was stored in the future, by
            // a clock that was set back since: readers refuse it, so it must not keep a new entry
            // out. The rest is `CacheEntry::replaces`.
            put: sql("INSERT INTO {table} AS old (scope, id, revision, verified_at, tombstone, ttl_ms, expires_at, body)
                VALUES ($1, $2, $3, $4, $5, $6, {now} + $6, $7)
                ON CONFLICT (scope, id) DO UPDATE SET revision = EXCLUDED.revision, verified_at = EXCLUDED.verified_at,
                    tombstone = EXCLUDED.tombstone, ttl_ms = EXCLUDED.ttl_ms, expires_at = EXCLUDED.expires_at,
                    body = EXCLUDED.body
                WHERE old.expires_at <= {now} OR old.expires_at - old.ttl_ms > {now} OR (NOT old.tombstone
                    AND (EXCLUDED.tombstone
                        OR (EXCLUDED.revision, EXCLUDED.verified_at) > (old.revision, old.verified_at)))
                RETURNING scope, id"),
            remove: sql("DELETE FROM {table} WHERE scope = $1 AND id = $2"),
            discard: sql("DELETE FROM {table}
                WHERE scope = $1 AND id = $2 AND expires_at = $3 AND ttl_ms = $4 AND body = $5"),
            // ARRAY makes the sub-select run once. A sub-select for the time lets the planner use
            // the index. The rows are locked, so their `ctid` does not change.
            sweep: sql("WITH gone AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table}
                    WHERE expires_at <= (SELECT {now}) ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1)
                SELECT COUNT(*) FROM gone"),
        }
    }
}
