//! Nodes on real servers, some of which a test may stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_conformance::faults::{Faults, FaultyStore};
use session_core::rules::RequestClient;
use session_core::{Actor, CacheEntry, Ended, Scope, SessionCache, SessionId, SessionStore};
use session_manager::{
    NewSession, Rejection, Session, SessionManager, SessionManagerBuilder, Source, TierHealth, Tiers,
    ValidateError,
};
use session_redis::{KeyPrefix, RedisBus, RedisCache, redis};
use session_servers::{Kind, Options, Server};
use session_sqlx::{PostgresBus, PostgresCache, PostgresStore, TableName};
use tokio::task::block_in_place;

use crate::storage;

/// How long anything may take that should happen soon.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a cache is waited for, where it is not the test's point: on a busy machine one that works must not look as if it failed.
pub(crate) const ROOMY: Duration = Duration::from_secs(5);

/// What the nodes' deployment is called.
pub(crate) const DEPLOYMENT: &str = "tests";

/// A store of record that everybody shares, and a Redis that a test has for itself.
pub(crate) struct Lab {
    pub(crate) store: Arc<PostgresStore>,
    redis: Server,
    prefix: KeyPrefix,
}

impl Lab {
    /// `None` without a server.
    pub(crate) async fn open() -> Option<Self> {
        let redis = own_server(Kind::Redis)?;
        let pool = storage::postgres(&storage::server_url("postgres")?, 8).await;
        let store = Arc::new(storage::migrated(pool, &storage::fresh_table()).await);
        Some(Self { store, redis, prefix: storage::fresh_prefix() })
    }

    /// A further way to the shared cache.
    pub(crate) fn cache(&self) -> RedisCache {
        RedisCache::new(storage::redis(&self.redis.url())).with_prefix(self.prefix.clone())
    }

    pub(crate) fn bus(&self) -> RedisBus {
        RedisBus::new(storage::redis(&self.redis.url())).with_prefix(self.prefix.clone())
    }

    /// A cache in PostgreSQL that is empty.
    pub(crate) async fn postgres_cache(&self) -> Arc<PostgresCache> {
        let pool = storage::postgres(&storage::server_url("postgres").unwrap(), 1).await;
        let cache = PostgresCache::new(pool).with_table(storage::fresh_table()).with_timeout(ROOMY);
        cache.migrate().await.unwrap();
        Arc::new(cache)
    }

    /// A further bus on the same table.
    pub(crate) async fn postgres_bus(&self, table: &TableName) -> PostgresBus {
        let pool = storage::postgres(&storage::server_url("postgres").unwrap(), 1).await;
        let bus = PostgresBus::new(pool).with_table(table.clone());
        bus.migrate().await.unwrap();
        bus
    }

    /// A node that gives its caches time.
    pub(crate) fn node(&self, tiers: Tiers) -> Node {
        self.hasty_node(tiers.with_cache_timeout(ROOMY))
    }

    /// A node that waits for its caches as long as is configured.
    pub(crate) fn hasty_node(&self, tiers: Tiers) -> Node {
        Node::on(Arc::clone(&self.store), |builder| builder.with_tiers(tiers.with_scope(DEPLOYMENT)))
    }

    /// Whose sessions its nodes work on.
    pub(crate) fn scope(&self) -> Scope {
        Scope::of_store(DEPLOYMENT, &self.store.capabilities()).unwrap()
    }

    pub(crate) fn kill_redis(&mut self) {
        block_in_place(|| self.redis.kill().unwrap());
    }

    /// Empty, because it keeps nothing on disk.
    pub(crate) fn start_redis(&mut self) {
        block_in_place(|| self.redis.start_again().unwrap());
    }

    pub(crate) fn pause_redis(&mut self) {
        block_in_place(|| self.redis.pause().unwrap());
    }

    pub(crate) fn resume_redis(&mut self) {
        block_in_place(|| self.redis.resume().unwrap());
    }

    pub(crate) fn flush_redis(&self) {
        block_in_place(|| {
            let mut connection = redis::Client::open(self.redis.url()).unwrap().get_connection().unwrap();
            redis::cmd("FLUSHALL").query::<()>(&mut connection).unwrap();
        });
    }
}

/// A server that a test may stop. `None` if there is none.
pub(crate) fn own_server(kind: Kind) -> Option<Server> {
    block_in_place(|| {
        Server::for_test(kind, &Options::default().with_durable(kind == Kind::Postgres)).unwrap()
    })
}

/// What a process of the application has.
pub(crate) struct Node {
    pub(crate) manager: SessionManager,
    pub(crate) faults: Faults,
}

impl Node {
    /// Without the sweep worker, so that only the test itself asks the store, and with a store that may be slow.
    pub(crate) fn on(
        store: impl SessionStore,
        configure: impl FnOnce(SessionManagerBuilder) -> SessionManagerBuilder,
    ) -> Self {
        let store = FaultyStore::new(store);
        let faults = store.faults();
        let builder = SessionManager::builder(store).with_sweep_interval(None).with_store_deadline(PATIENCE);
        Self { manager: configure(builder).build().unwrap(), faults }
    }

    pub(crate) async fn sign_in(&self, name: &str) -> (SessionId, String) {
        let created = self.manager.create(NewSession::for_user(name.parse().unwrap())).await.unwrap();
        (created.session.id(), created.token.expose().to_string())
    }

    pub(crate) async fn validate(&self, token: &str) -> Result<Session, ValidateError> {
        self.manager.validate(token, &RequestClient::default()).await
    }

    /// Who says that it is live.
    pub(crate) async fn source(&self, token: &str) -> Source {
        self.validate(token).await.unwrap().provenance().source
    }

    pub(crate) async fn revoke(&self, id: SessionId) {
        assert_eq!(self.manager.revoke(id, &Actor::System).await.unwrap().len(), 1);
    }

    pub(crate) fn tier(&self, name: &str) -> TierHealth {
        let health = self.manager.health();
        *health.tiers.iter().find(|tier| tier.name == name).unwrap()
    }

    pub(crate) fn serving(&self) -> Source {
        self.manager.health().serving
    }

    /// Waits until messages of other nodes arrive.
    pub(crate) async fn listens(&self) {
        until("the bus works", async || self.manager.health().bus_healthy == Some(true)).await;
    }
}

/// Waits until something is so, and returns how long that took.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// What a cache holds, asked without a tier.
pub(crate) async fn held(scope: Scope, cache: &impl SessionCache, id: SessionId) -> Option<CacheEntry> {
    cache.get(scope, id).await.unwrap().map(|hit| hit.entry)
}

pub(crate) async fn holds_tombstone(scope: Scope, cache: &impl SessionCache, id: SessionId) -> bool {
    held(scope, cache, id).await.is_some_and(|entry| entry.is_tombstone())
}

#[track_caller]
pub(crate) fn ended(outcome: Result<Session, ValidateError>) -> Ended {
    match outcome {
        Err(ValidateError::Rejected(Rejection::Ended(ended))) => ended,
        other => panic!("expected the end, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_unavailable(outcome: Result<Session, ValidateError>) {
    match outcome {
        Err(ValidateError::Unavailable(_)) => {}
        other => panic!("expected an outage, got {other:?}"),
    }
}
