//! A row of the table.

use std::time::Duration;

use session_core::{CacheHit, Revision, Scope, SessionId, Timestamp};
use sqlx::Postgres;
use sqlx::postgres::PgRow;

use super::entry::{self, Unreadable};
use crate::dialect::Dialect;

/// A stored row.
#[derive(Debug)]
pub(super) struct Row {
    revision: i64,
    verified_at: i64,
    is_tombstone: bool,
    pub(super) ttl: i64,
    pub(super) expires_at: i64,
    remaining: i64,
    pub(super) body: Vec<u8>,
}

impl Row {
    pub(super) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let number = |column| {
            Postgres::int(row, column)?.ok_or_else(|| sqlx::Error::Decode("a number is missing".into()))
        };
        Ok(Self {
            revision: number(2)?,
            verified_at: number(3)?,
            is_tombstone: Postgres::flag(row, 4)?,
            ttl: number(5)?,
            expires_at: number(6)?,
            remaining: number(7)?,
            body: Postgres::bytes(row, 8)?.unwrap_or_default().to_vec(),
        })
    }

    /// Returns the entry and its remaining time to live, or `None` if it has expired.
    pub(super) fn hit(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>, Unreadable> {
        let remaining = u64::try_from(self.remaining).unwrap_or(0);
        if remaining == 0 {
            return Ok(None);
        }
        if self.remaining > self.ttl {
            return Err(Unreadable("an entry outlives its time to live"));
        }
        let revision = Revision::new(u64::try_from(self.revision).unwrap_or(0))?;
        let verified_at = Timestamp::from_millis(self.verified_at);
        let entry = entry::read(&self.body, (scope, id), revision, verified_at, self.is_tombstone)?;
        Ok(Some(CacheHit::new(entry, Duration::from_millis(remaining))))
    }
}
