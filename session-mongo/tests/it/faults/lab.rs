//! A server of a test's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::Client;
use session_core::prelude::*;
use session_mongo::{LimitMethod, MongoStore, MongoStoreBuilder};
use session_servers::{Kind, Options, Proxy, Server};

use super::RECOVERY;

/// How often the driver looks. A server that said that it is no primary is used again after the next look.
const OFTEN: &str = "heartbeatFrequencyMS=500";

/// Lets the driver give up soon. What it does then is the same.
const QUICK: &str = "serverSelectionTimeoutMS=1000&connectTimeoutMS=1000";

/// A server with an empty collection.
pub(super) struct Lab {
    server: Server,
}

/// A store for each way of signing in under a limit, both on one client.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) client: Client,
    /// Finds out by itself that the server has transactions.
    pub(super) store: MongoStore,
    pub(super) turns: MongoStore,
}

impl Stores {
    pub(super) fn by(&self, method: LimitMethod) -> &MongoStore {
        if method == LimitMethod::CompareAndSet { &self.turns } else { &self.store }
    }
}

impl Lab {
    /// Starts a replica set of one. `None` if it is not installed, and then the test is skipped.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(Kind::Mongodb, &Options::default()).await
    }

    pub(super) async fn start_with(kind: Kind, options: &Options) -> Option<Self> {
        let server = tokio::task::block_in_place(|| Server::for_test(kind, options)).unwrap()?;
        let lab = Self { server };
        lab.stores().await.store.ensure_indexes().await.unwrap();
        Some(lab)
    }

    /// Its URL with which a driver stays with the address that it is given.
    pub(super) fn url(&self) -> String {
        format!("{}?directConnection=true&{OFTEN}", self.server.url())
    }

    /// A network in front of the server.
    pub(super) async fn proxy(&self) -> Proxy {
        Proxy::to(self.server.port()).await.unwrap()
    }

    /// Does something to the server.
    pub(super) fn server<T>(&mut self, act: impl FnOnce(&mut Server) -> session_servers::Result<T>) -> T {
        tokio::task::block_in_place(|| act(&mut self.server)).unwrap()
    }

    /// Stores on a client that has no connection yet.
    pub(super) async fn stores(&self) -> Stores {
        Self::stores_at(&self.url()).await
    }

    /// Stores that reach the same server through a network.
    pub(super) async fn stores_through(&self, proxy: &Proxy) -> Stores {
        Self::stores_at(&proxy.url(&self.url())).await
    }

    /// Stores whose driver gives up after a second, so that what never answers is seen to fail. One that is only slow fails too: nothing
    /// may depend on one call of these.
    pub(super) async fn quick_stores(&self) -> Stores {
        Self::stores_at(&format!("{}&{QUICK}", self.url())).await
    }

    /// The same through a network.
    pub(super) async fn quick_stores_through(&self, proxy: &Proxy) -> Stores {
        Self::stores_at(&format!("{}&{QUICK}", proxy.url(&self.url()))).await
    }

    /// Stores that reach the same server by another URL.
    pub(super) async fn stores_at(url: &str) -> Stores {
        let client = Client::with_uri_str(url).await.unwrap();
        let build = |settings: fn(MongoStoreBuilder) -> MongoStoreBuilder| {
            settings(MongoStore::builder(client.default_database().unwrap())).build().unwrap()
        };
        let store = build(|builder| builder);
        let turns = build(|builder| builder.limit_method(LimitMethod::CompareAndSet));
        Stores { client, store, turns }
    }
}

/// Waits until it is so.
pub(super) async fn wait_until(what: &str, is_so: impl AsyncFnMut() -> bool) -> Duration {
    wait_for(RECOVERY, what, is_so).await
}

pub(super) async fn wait_for(
    patience: Duration,
    what: &str,
    mut is_so: impl AsyncFnMut() -> bool,
) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < patience, "not after {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

/// How a session is stored.
pub(super) async fn stored(store: &MongoStore, id: SessionId) -> Option<Arc<SessionRecord>> {
    store.load(&[id]).await.unwrap().pop()
}
