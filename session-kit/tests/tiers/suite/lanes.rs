//! Stores that one case after the other has for itself.
//!
//! A case needs an empty store. A new table costs more than most cases, so each lane keeps its own and empties it.

use std::sync::Arc;

use session_core::SessionStore;
use session_sqlx::Dialect;
use sqlx::{AssertSqlSafe, PgPool, Pool, Postgres, SqlSafeStr, Sqlite};
use tempfile::TempDir;

use super::Record;
use crate::storage;

/// Connections of the pool that the lanes of one test share.
const POOL: u32 = 16;

/// Connections of a lane's pool where it has one of its own.
const LANE_POOL: u32 = 6;

/// Where lanes come from.
pub(crate) enum Ground {
    Postgres(PgPool),
    Sqlite,
}

/// A store of record that is empty whenever a case begins.
pub(crate) struct Lane {
    store: Arc<dyn SessionStore>,
    table: Table,
}

enum Table {
    Postgres(PgPool, String),
    Sqlite(Pool<Sqlite>, String, #[expect(dead_code, reason = "held until the lane ends")] TempDir),
}

impl Ground {
    /// `None` without a server.
    pub(crate) async fn open(record: Record) -> Option<Self> {
        match record {
            Record::Postgres => {
                Some(Self::Postgres(storage::postgres(&storage::server_url("postgres")?, POOL).await))
            }
            Record::Sqlite => Some(Self::Sqlite),
        }
    }

    pub(crate) async fn lane(&self) -> Lane {
        let name = storage::fresh_table();
        match self {
            Self::Postgres(pool) => {
                let store = storage::migrated(pool.clone(), &name).await;
                Lane { store: Arc::new(store), table: Table::Postgres(pool.clone(), name.to_string()) }
            }
            Self::Sqlite => {
                let (pool, folder) = storage::sqlite(LANE_POOL).await;
                let store = storage::migrated(pool.clone(), &name).await;
                Lane { store: Arc::new(store), table: Table::Sqlite(pool, name.to_string(), folder) }
            }
        }
    }
}

impl Lane {
    pub(crate) fn store(&self) -> Arc<dyn SessionStore> {
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
