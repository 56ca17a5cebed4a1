//! A server for one test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::Client;
use session_core::prelude::*;
use session_mongo::{LimitMethod, MongoStore, MongoStoreBuilder};
use session_servers::{Kind, Options, Proxy, Server};

use super::RECOVERY;

/// The driver's heartbeat frequency. After a "not primary" reply, the driver uses the server again
/// after the next heartbeat.
const OFTEN: &str = "heartbeatFrequencyMS=500";

/// Short timeouts of the driver, which do not change its behaviour otherwise.
const QUICK: &str = "serverSelectionTimeoutMS=1000&connectTimeoutMS=1000";

/// A server with an empty collection.
pub(super) struct Lab {
    server: Server,
}

/// A store for each limit method, both on one client.
#[derive(Clone)]
pub(super) struct Stores {
    pub(super) client: Client,
    /// A store that detects by itself that the server has transactions.
    pub(super) store: MongoStore,
    /// A store that uses compare-and-set.
    pub(super) cas_store: MongoStore,
}

impl Stores {
    pub(super) fn by(&self, method: LimitMethod) -> &MongoStore {
        if method == LimitMethod::CompareAndSet { &self.cas_store } else { &self.store }
    }
}

impl Lab {
    /// Starts a replica set of one member. Returns `None` if the server is not installed, and the
    /// test is skipped.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(Kind::Mongodb, &Options::default()).await
    }

    pub(super) async fn start_with(kind: Kind, options: &Options) -> Option<Self> {
        let server = tokio::task::block_in_place(|| Server::for_test(kind, options)).unwrap()?;
        let lab = Self { server };
        lab.stores().await.store.ensure_indexes().await.unwrap();
        Some(lab)
    }

    /// Returns the server's URL, with which the driver uses only the given address.
    pub(super) fn url(&self) -> String {
        format!("{}?directConnection=true&{OFTEN}", self.server.url())
    }

    /// Starts a proxy in front of the server.
    pub(super) async fn proxy(&self) -> Proxy {
        Proxy::to(self.server.port()).await.unwrap()
    }

    /// Runs a blocking operation on the server.
    pub(super) fn server<T>(&mut self, act: impl FnOnce(&mut Server) -> session_servers::Result<T>) -> T {
        tokio::task::block_in_place(|| act(&mut self.server)).unwrap()
    }

    /// Returns stores on a new client, which has no connection yet.
    pub(super) async fn stores(&self) -> Stores {
        Self::stores_at(&self.url()).await
    }

    /// Returns stores that connect to the same server through the proxy.
    pub(super) async fn stores_through(&self, proxy: &Proxy) -> Stores {
        Self::stores_at(&proxy.url(&self.url())).await
    }

    /// Returns stores whose driver gives up after a second, so that a call to a silent server fails
    /// soon. A call to a slow server fails too, so no test may depend on a single call of these.
    pub(super) async fn quick_stores(&self) -> Stores {
        Self::stores_at(&format!("{}&{QUICK}", self.url())).await
    }

    /// Same as [`quick_stores`](Self::quick_stores), through the proxy.
    pub(super) async fn quick_stores_through(&self, proxy: &Proxy) -> Stores {
        Self::stores_at(&format!("{}&{QUICK}", proxy.url(&self.url()))).await
    }

    /// Returns stores that connect to this URL.
    pub(super) async fn stores_at(url: &str) -> Stores {
        let client = Client::with_uri_str(url).await.unwrap();
        let build = |settings: fn(MongoStoreBuilder) -> MongoStoreBuilder| {
            settings(MongoStore::builder(client.default_database().unwrap())).build().unwrap()
        };
        let store = build(|builder| builder);
        let cas_store = build(|builder| builder.limit_method(LimitMethod::CompareAndSet));
        Stores { client, store, cas_store }
    }
}

/// Waits until the condition holds, for at most [`RECOVERY`], and returns the time it took.
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

/// Loads a session.
pub(super) async fn stored(store: &MongoStore, id: SessionId) -> Option<Arc<SessionRecord>> {
    store.load(&[id]).await.unwrap().pop()
}
