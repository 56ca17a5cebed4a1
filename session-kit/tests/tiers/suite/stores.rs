//! Stores that cases use one after the other.
//!
//! A case needs an empty store. Creating a table takes longer than most cases, so each worker keeps
//! its table and empties it.

use std::sync::Arc;

use session_core::SessionStore;
use session_sqlx::Dialect;
use sqlx::{AssertSqlSafe, PgPool, Pool, Postgres, SqlSafeStr, Sqlite};
use tempfile::TempDir;

use super::Record;
use crate::storage;

/// Connections of the pool that the workers of one test share.
const POOL: u32 = 16;

/// Connections of a worker's own pool.
const STORE_POOL: u32 = 6;

/// The database in which workers create their tables.
pub(crate) enum Database {
    Postgres(PgPool),
    Sqlite,
}

/// A store of record that is empty at the start of each case.
pub(crate) struct TestStore {
    store: Arc<dyn SessionStore>,
    table: Table,
}

enum Table {
    Postgres(PgPool, String),
    Sqlite(Pool<Sqlite>, String, #[expect(dead_code, reason = "deleted with the store")] TempDir),
}

impl Database {
    /// Returns `None` without a server.
    pub(crate) async fn open(record: Record) -> Option<Self> {
        match record {
            Record::Postgres => {
                Some(Self::Postgres(storage::postgres(&storage::server_url("postgres")?, POOL).await))
            }
            Record::Sqlite => Some(Self::Sqlite),
        }
    }

    pub(crate) async fn create_store(&self) -> TestStore {
        let name = storage::fresh_table();
        match self {
            Self::Postgres(pool) => {
                let store = storage::migrated(pool.clone(), &name).await;
                TestStore { store: Arc::new(store), table: Table::Postgres(pool.clone(), name.to_string()) }
            }
            Self::Sqlite => {
                let (pool, folder) = storage::sqlite(STORE_POOL).await;
                let store = storage::migrated(pool.clone(), &name).await;
                TestStore { store: Arc::new(store), table: Table::Sqlite(pool, name.to_string(), folder) }
            }
        }
    }
}

impl TestStore {
    pub(crate) fn inner(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    pub(crate) async fn empty(&self) {
        match &self.table {
            Table::Postgres(pool, name) => script::<Postgres>(pool, format!("TRUNCATE {name}")).await,
            Table::Sqlite(pool, name, _) => script::<Sqlite>(pool, format!("DELETE FROM {name}")).await,
        }
    }
}

async fn script<D: Dialect>(pool: &Pool<D>, text: String) {
    let mut connection = pool.acquire().await.unwrap();
    D::script(&mut connection, AssertSqlSafe(text).into_sql_str()).await.unwrap();
}
