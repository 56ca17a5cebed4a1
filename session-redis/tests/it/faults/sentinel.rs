//! A primary that fails, and a replica that takes over.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{ConnectionAddr, IntoConnectionInfo};
use session_conformance::fixtures::{logged_out, record, record_at};
use session_core::prelude::*;
use session_redis::{Connection, RedisStore};
use session_servers::{Options, RedisSentinels, Server};

use super::audit::assert_consistent;
use super::calls::{assert_fails, assert_recovers_in, assert_transient, create, given, in_time};
use super::lab::{Keys, Raw, wait_for};
use super::load::Load;
use super::{DEADLINE, RECOVERY};
use crate::support::connected;

/// Time within which sentinels agree, promote a replica, and the store finds it.
const FAILOVER: Duration = Duration::from_secs(75);

struct Servers {
    sentinels: RedisSentinels,
    keys: Keys,
}

impl Servers {
    fn start() -> Option<Self> {
        let start = || RedisSentinels::for_test(2, &Options::default());
        Some(Self { sentinels: tokio::task::block_in_place(start).unwrap()?, keys: Keys::fresh() })
    }

    fn connection(&self) -> Connection {
        let addresses = self.sentinels.sentinel_urls().into_iter().map(|url| {
            let address = url.into_connection_info().unwrap().addr().clone();
            assert!(matches!(address, ConnectionAddr::Tcp(..)));
            address
        });
        let name = self.sentinels.master_name();
        let client = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master).unwrap();
        Connection::sentinel(client.build().unwrap())
    }

    fn store(&self) -> Arc<RedisStore> {
        let store = self.new_store();
        connected(store.connection());
        store
    }

    /// Returns a store that is not connected yet.
    fn new_store(&self) -> Arc<RedisStore> {
        self.keys.store_on(self.connection())
    }

    /// Returns a store whose writes succeed only when a replica has them.
    fn careful_store(&self) -> Arc<RedisStore> {
        let connection = self.connection();
        connected(&connection);
        let builder = RedisStore::builder(connection).prefix(self.keys.0.clone());
        Arc::new(builder.wait_for_replicas(NonZeroU32::MIN, Duration::from_secs(1)).build().unwrap())
    }

    fn kill_primary(&mut self) {
        tokio::task::block_in_place(|| self.sentinels.primary().kill()).unwrap();
    }

    fn each_replica(&mut self, act: impl Fn(&mut Server) -> session_servers::Result<()>) {
        tokio::task::block_in_place(|| self.sentinels.replicas().iter_mut().try_for_each(act)).unwrap();
    }

    /// Waits until the replicas have every write of the primary.
    async fn replicate(&mut self) {
        let mut raw = Raw::to(&self.sentinels.primary().url()).await;
        // `WAIT` covers the writes of its own connection, and this write is the latest.
        raw.run("SET mark 1").await;
        assert_eq!(raw.ask::<u32>("WAIT 2 10000").await, 2);
    }

    /// Returns a connection to the promoted replica.
    async fn promoted(&mut self) -> Raw {
        for replica in self.sentinels.replicas() {
            let mut raw = Raw::to(&replica.url()).await;
            if raw.info("replication", "role").await.unwrap() == "master" {
                return raw;
            }
        }
        panic!("no replica was promoted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_primary_is_found_with_all_replicated_writes() {
    let Some(mut servers) = Servers::start() else { return };
    let store = servers.store();
    let (kept, gone) = (given(&store, "dora").await, given(&store, "dora").await);
    store.end(&EndScope::id(gone.id), &logged_out(50), Timestamp::MAX).await.unwrap();
    servers.replicate().await;
    let load = Load::start(&store);
    load.wait_for_rounds(100).await;
    servers.kill_primary();
    load.wait_for_failures().await;
    let took = load.wait_for_rounds_in(FAILOVER, 100).await;
    println!("the new primary was found after {took:?}");
    assert!(store.load(&[kept.id]).await.unwrap()[0].ended().is_none());
    assert!(store.load(&[gone.id]).await.unwrap()[0].ended().is_some());
    let promised = load.stop().await;
    println!("lost sign-ins and ends: {:?}", promised.lost(&store).await);
    let mut raw = servers.promoted().await;
    assert_consistent(&store, &servers.keys, std::slice::from_mut(&mut raw)).await;
}

/// A write that a replica confirmed survives. A write that no replica confirmed does not succeed,
/// and may be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_replica_confirmed_survives_a_failover() {
    let Some(mut servers) = Servers::start() else { return };
    let (careful, careless) = (servers.careful_store(), servers.store());
    let (kept, gone) = (given(&careful, "dora").await, given(&careful, "dora").await);
    careful.end(&EndScope::id(gone.id), &logged_out(50), Timestamp::MAX).await.unwrap();
    servers.replicate().await;

    servers.each_replica(Server::pause);
    let unconfirmed = Arc::new(record("ann"));
    let created = in_time(DEADLINE, "create", careful.create(Arc::clone(&unconfirmed), None)).await;
    let error = assert_fails("create", ErrorKind::Unavailable, created);
    assert!(error.to_string().contains("too few replicas confirmed it"), "{error}");
    let scope = EndScope::id(kept.id);
    let ended = in_time(DEADLINE, "end", careful.end(&scope, &logged_out(52), Timestamp::MAX)).await;
    assert_fails("end", ErrorKind::Unavailable, ended);
    // This is the documented loss: the write succeeded, and only the primary has it.
    let acknowledged = create(&careless, record_at("bob", 1)).await;
    assert_eq!(careless.load(&[acknowledged.id, unconfirmed.id]).await.unwrap().len(), 2);
    servers.kill_primary();
    servers.each_replica(Server::resume);
    println!("recovered after {:?}", assert_recovers_in(&careful, FAILOVER).await);
    assert_recovers_in(&careless, RECOVERY).await;

    for store in [&careful, &careless] {
        assert!(store.load(&[gone.id]).await.unwrap()[0].ended().is_some(), "an end was lost");
        assert_eq!(store.load(&[kept.id]).await.unwrap().len(), 1, "a session was lost");
        println!("still there: {:?}", store.load(&[acknowledged.id, unconfirmed.id]).await.unwrap().len());
    }
    // The end that did not succeed is repeated.
    careful.end(&scope, &logged_out(53), Timestamp::MAX).await.unwrap();
    assert!(careless.load(&[kept.id]).await.unwrap()[0].ended().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_hangs_does_not_block_the_others() {
    let Some(mut servers) = Servers::start() else { return };
    let store = servers.new_store();
    tokio::task::block_in_place(|| servers.sentinels.sentinels()[0].pause()).unwrap();
    let session = Arc::new(record("ann"));
    wait_for(FAILOVER, "it is connected", async || {
        let created = in_time(DEADLINE, "create", store.create(Arc::clone(&session), None)).await;
        created.is_ok() || created.is_err_and(|error| error.kind() == ErrorKind::AlreadyExists)
    })
    .await;
    // No sentinel can name the primary.
    tokio::task::block_in_place(|| servers.sentinels.sentinels().iter_mut().try_for_each(Server::pause))
        .unwrap();
    let another = servers.new_store();
    for _ in 0..2 {
        assert_transient("load", in_time(DEADLINE, "load", another.load(&[session.id])).await);
    }
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1, "a connected store needs no sentinel");
    tokio::task::block_in_place(|| servers.sentinels.sentinels().iter_mut().try_for_each(Server::resume))
        .unwrap();
    wait_for(FAILOVER, "it is found again", async || another.load(&[session.id]).await.is_ok()).await;
}
