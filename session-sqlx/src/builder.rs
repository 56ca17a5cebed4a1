//! The settings of a store.

use std::num::NonZeroUsize;

use session_core::limits::MAX_PAYLOAD;
use session_core::{Capabilities, Error, Result};
use sqlx::Pool;
use tokio::sync::Semaphore;

use crate::connections::Held;
use crate::dialect::Dialect;
use crate::statements::Statements;
use crate::store::SqlStore;
use crate::table::TableName;

/// Most connections that may be held for loads.
const MAX_HELD: usize = 32;

/// Builds a store.
///
/// | setting | default | range |
/// |---|---|---|
/// | [`table`](Self::table) | `sessions` | letters, digits, `_`; at most 48 bytes |
/// | [`held_for_loads`](Self::held_for_loads) | 2 | 1 to 32 |
/// | [`max_payload`](Self::max_payload) | 68 KiB | 1 byte to 16 MiB |
/// | [`list_from`](Self::list_from) | the store's own pool | |
#[derive(Debug)]
pub struct SqlStoreBuilder<D: Dialect> {
    pool: Pool<D>,
    replica: Option<Pool<D>>,
    table: TableName,
    held: usize,
    max_payload: usize,
}

impl<D: Dialect> SqlStoreBuilder<D> {
    pub(crate) fn new(pool: Pool<D>) -> Self {
        Self { pool, replica: None, table: TableName::default(), held: 2, max_payload: MAX_PAYLOAD }
    }

    /// Sets the table.
    #[must_use]
    pub fn table(mut self, table: TableName) -> Self {
        self.table = table;
        self
    }

    /// Sets the number of connections that are reserved for loads.
    ///
    /// Two are usually enough: the manager loads up to 256 sessions in one query. More help if the
    /// server is far away.
    #[must_use]
    pub fn held_for_loads(mut self, connections: NonZeroUsize) -> Self {
        self.held = connections.get();
        self
    }

    /// Sets the largest `data` of a session, in bytes.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Reads listings and statistics from another pool, such as one of a replica.
    ///
    /// They may lag: a session that was just ended can still be listed as live. Validation and all
    /// writes use the store's own pool, so a lagging replica never accepts an ended session.
    #[must_use]
    pub fn list_from(mut self, replica: Pool<D>) -> Self {
        self.replica = Some(replica);
        self
    }

    /// Builds the store. Opens no connection.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a setting outside its range.
    pub fn build(self) -> Result<SqlStore<D>> {
        if self.held > MAX_HELD {
            return Err(Error::invalid("build", "at most 32 connections are held for loads"));
        }
        if !(1..=16 * 1024 * 1024).contains(&self.max_payload) {
            return Err(Error::invalid("build", "the largest payload is between 1 byte and 16 MiB"));
        }
        Ok(self.make())
    }

    /// Builds the store from settings that are in range. The defaults are.
    pub(crate) fn make(self) -> SqlStore<D> {
        let loads = NonZeroUsize::new(self.held).unwrap_or(NonZeroUsize::MIN);
        SqlStore {
            capabilities: Capabilities::new(D::SYNTAX.name, D::durability(&self.pool))
                .with_concurrent_loads(loads)
                .with_max_payload(self.max_payload)
                .with_place(self.table.to_string()),
            statements: Statements::new(self.table, &D::SYNTAX),
            loads: Held::new(self.pool.clone(), self.held),
            ends: Held::new(self.pool.clone(), 1),
            writers: D::SYNTAX.one_writer.then(|| Semaphore::new(1)),
            replica: self.replica,
            pool: self.pool,
        }
    }
}
