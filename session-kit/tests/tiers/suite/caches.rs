//! The shared caches of a combination.

use std::sync::Arc;
use std::time::Duration;

use session_manager::Tiers;
use session_redis::{Connection, KeyPrefix, RedisCache};
use session_sqlx::PostgresCache;

use super::Shared;
use crate::storage;

/// Longer than a busy machine needs, so that a slow cache is not skipped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections of the cache in PostgreSQL.
const CONNECTIONS: u32 = 8;

pub(crate) struct Caches {
    redis: Option<Connection>,
    postgres: Option<Arc<PostgresCache>>,
}

impl Caches {
    /// Returns `None` without a server.
    pub(crate) async fn open(shared: Shared) -> Option<Self> {
        let (mut redis, mut postgres) = (None, None);
        if matches!(shared, Shared::Redis | Shared::RedisThenPostgres) {
            redis = Some(storage::redis(&storage::server_url("redis")?));
        }
        if matches!(shared, Shared::Postgres | Shared::RedisThenPostgres) {
            let pool = storage::postgres(&storage::server_url("postgres")?, 1).await;
            let connections = usize::try_from(CONNECTIONS).unwrap().try_into().unwrap();
            let cache = PostgresCache::new(pool).with_table(storage::fresh_table());
            let cache = cache.with_connections(connections).unwrap().with_timeout(PATIENCE).unwrap();
            cache.migrate().await.unwrap();
            postgres = Some(Arc::new(cache));
        }
        Some(Self { redis, postgres })
    }

    /// Returns tiers with empty caches. The cache in PostgreSQL is shared by all cases, but no two
    /// cases use the same id.
    pub(crate) fn tiers(&self, memory: bool) -> Tiers {
        self.tiers_under(memory, &storage::fresh_prefix())
    }

    /// Returns the tiers of two tenants that share all caches. Only their stores differ.
    pub(crate) fn tiers_of_two(&self, memory: bool) -> [Tiers; 2] {
        let prefix = storage::fresh_prefix();
        [self.tiers_under(memory, &prefix), self.tiers_under(memory, &prefix)]
    }

    fn tiers_under(&self, memory: bool, prefix: &KeyPrefix) -> Tiers {
        let mut tiers = if memory { Tiers::memory() } else { Tiers::none() };
        if let Some(redis) = &self.redis {
            tiers = tiers.with_cache(RedisCache::new(redis.clone()).with_prefix(prefix.clone()));
        }
        if let Some(postgres) = &self.postgres {
            tiers = tiers.with_cache(Arc::clone(postgres));
        }
        tiers.with_scope("suite").with_cache_timeout(PATIENCE)
    }
}
