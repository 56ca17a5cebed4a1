//! The table of a cache, and the text of every statement on it.

use sqlx::SqlStr;

use super::super::NOW;
use super::super::schema::{Schema, template};
use crate::table::TableName;

/// Times to live are counted by the server's clock, in milliseconds like every other time.
pub(super) const SCHEMA: Schema = Schema {
    text: r#"CREATE UNLOGGED TABLE IF NOT EXISTS {table} (
    id UUID NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    verified_at BIGINT NOT NULL,
    tombstone BOOLEAN NOT NULL,
    ttl_ms BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    body BYTEA NOT NULL
);
CREATE INDEX IF NOT EXISTS "{name}_expires_idx" ON {table} (expires_at);
"#,
    tables: &[("", &["id", "revision", "verified_at", "tombstone", "ttl_ms", "expires_at", "body"])],
    indexes: &["_expires_idx"],
};

#[derive(Debug)]
pub(super) struct Statements {
    /// Binds the id.
    pub(super) get: SqlStr,
    /// Binds the columns but for the end, which is counted by the server. Returns the id if it was stored.
    pub(super) put: SqlStr,
    /// Binds the id.
    pub(super) remove: SqlStr,
    /// Binds what was found: id, end, time to live, body.
    pub(super) discard: SqlStr,
    /// Binds the most rows. Returns how many were removed.
    pub(super) sweep: SqlStr,
}

impl Statements {
    pub(super) fn new(table: &TableName) -> Self {
        let template = template(table);
        let sql = |text: &str| template.sql(&text.replace("{now}", NOW));
        Self {
            get: sql("SELECT id, revision, verified_at, tombstone, ttl_ms, expires_at, expires_at - {now}, body
                FROM {table} WHERE id = $1"),
            // What has expired is absent. What was stored in the future, by a clock that was set back since, is refused by readers,
            // so it must not keep anything out. The rest is `CacheEntry::replaces`.
            put: sql("INSERT INTO {table} AS old (id, revision, verified_at, tombstone, ttl_ms, expires_at, body)
                VALUES ($1, $2, $3, $4, $5, {now} + $5, $6)
                ON CONFLICT (id) DO UPDATE SET revision = EXCLUDED.revision, verified_at = EXCLUDED.verified_at,
                    tombstone = EXCLUDED.tombstone, ttl_ms = EXCLUDED.ttl_ms, expires_at = EXCLUDED.expires_at,
                    body = EXCLUDED.body
                WHERE old.expires_at <= {now} OR old.expires_at - old.ttl_ms > {now} OR (NOT old.tombstone
                    AND (EXCLUDED.tombstone
                        OR (EXCLUDED.revision, EXCLUDED.verified_at) > (old.revision, old.verified_at)))
                RETURNING id"),
            remove: sql("DELETE FROM {table} WHERE id = $1"),
            discard: sql("DELETE FROM {table} WHERE id = $1 AND expires_at = $2 AND ttl_ms = $3 AND body = $4"),
            // ARRAY makes the sub-select run once, and as a sub-select of its own the time can be looked for in the index.
            sweep: sql("WITH gone AS (DELETE FROM {table} WHERE id = ANY(ARRAY(SELECT id FROM {table}
                    WHERE expires_at <= (SELECT {now}) ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING 1)
                SELECT COUNT(*) FROM gone"),
        }
    }
}
