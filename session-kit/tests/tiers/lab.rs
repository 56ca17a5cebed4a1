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

/// Time limit of `until`.
const PATIENCE: Duration = Duration::from_secs(20);

/// Cache timeout of tests about other things, so that a busy machine does not look like a failed
/// cache.
pub(crate) const LONG_TIMEOUT: Duration = Duration::from_secs(5);

/// The name of the nodes' deployment.
pub(crate) const DEPLOYMENT: &str = "tests";

/// A store of record on a server that tests share, and a Redis of the test's own.
pub(crate) struct Lab {
    pub(crate) store: Arc<PostgresStore>,
    redis: Server,
    prefix: KeyPrefix,
}

impl Lab {
    /// Returns `None` without a server.
    pub(crate) async fn open() -> Option<Self> {
        let redis = own_server(Kind::Redis)?;
        let pool = storage::postgres(&storage::server_url("postgres")?, 8).await;
        let store = Arc::new(storage::migrated(pool, &storage::fresh_table()).await);
        Some(Self { store, redis, prefix: storage::fresh_prefix() })
    }

    /// Returns another client of the shared cache.
    pub(crate) fn cache(&self) -> RedisCache {
        RedisCache::new(storage::redis(&self.redis.url())).with_prefix(self.prefix.clone())
    }

    pub(crate) fn bus(&self) -> RedisBus {
        RedisBus::new(storage::redis(&self.redis.url())).with_prefix(self.prefix.clone())
    }

    /// Returns an empty cache in PostgreSQL.
    pub(crate) async fn postgres_cache(&self) -> Arc<PostgresCache> {
        let pool = storage::postgres(&storage::server_url("postgres").unwrap(), 1).await;
        let cache =
            PostgresCache::new(pool).with_table(storage::fresh_table()).with_timeout(LONG_TIMEOUT).unwrap();
        cache.migrate().await.unwrap();
        Arc::new(cache)
    }

    /// Returns another bus on the same table.
    pub(crate) async fn postgres_bus(&self, table: &TableName) -> PostgresBus {
        let pool = storage::postgres(&storage::server_url("postgres").unwrap(), 1).await;
        let bus = PostgresBus::new(pool).with_table(table.clone());
        bus.migrate().await.unwrap();
        bus
    }

    /// Returns a node with a long cache timeout.
    pub(crate) fn node(&self, tiers: Tiers) -> Node {
        self.node_as_configured(tiers.with_cache_timeout(LONG_TIMEOUT))
    }

    /// Returns a node with the configured cache timeout.
    pub(crate) fn node_as_configured(&self, tiers: Tiers) -> Node {
        Node::on(Arc::clone(&self.store), |builder| builder.with_tiers(tiers.with_scope(DEPLOYMENT)))
    }

    /// Returns the scope of the nodes' sessions.
    pub(crate) fn scope(&self) -> Scope {
        Scope::of_store(DEPLOYMENT, &self.store.capabilities()).unwrap()
    }

    pub(crate) fn kill_redis(&mut self) {
        block_in_place(|| self.redis.kill().unwrap());
    }

    /// Starts Redis again. It is empty, because it writes nothing to disk.
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

/// Starts a server that the test may stop. Returns `None` if there is none.
pub(crate) fn own_server(kind: Kind) -> Option<Server> {
    block_in_place(|| {
        Server::for_test(kind, &Options::default().with_durable(kind == Kind::Postgres)).unwrap()
    })
}

/// The session manager of one process, and the faults of its store.
pub(crate) struct Node {
    pub(crate) manager: SessionManager,
    pub(crate) faults: Faults,
}

impl Node {
    /// Builds a node without a sweep worker, so that only the test calls the store, and with a long
    /// store deadline.
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

    /// Returns the tier that answers a validation.
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

    /// Waits until the node receives messages of other nodes.
    pub(crate) async fn wait_for_bus(&self) {
        until("the bus works", async || self.manager.health().bus_healthy == Some(true)).await;
    }
}

/// Waits until a condition holds, and returns how long that took.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// Returns a cache's entry, read without a tier.
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
