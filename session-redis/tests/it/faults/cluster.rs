//! A cluster whose nodes fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::cluster::ClusterClientBuilder;
use session_conformance::fixtures::{at, logged_out, record, record_at, user};
use session_core::prelude::*;
use session_redis::{Connection, RedisStore};
use session_servers::{Options, RedisCluster, Server};

use super::audit::assert_consistent;
use super::calls::{
    assert_fails, assert_recovers_in, assert_transient, assert_works, create, given, ids, in_time,
};
use super::lab::{Keys, Raw, wait_for};
use super::load::Load;
use super::{DEADLINE, RECOVERY};
use crate::support::{PATIENT, connected};

/// Time within which a replica takes over.
const FAILOVER: Duration = Duration::from_secs(60);

/// The nodes, and users of each.
pub(super) struct Nodes {
    pub(super) cluster: RedisCluster,
    pub(super) keys: Keys,
}

impl Nodes {
    pub(super) fn start(replicas: usize, settings: &[&str]) -> Option<Self> {
        let options = Options::default().with_settings(settings.iter().copied());
        let start = || RedisCluster::for_test(replicas, &options);
        Some(Self { cluster: tokio::task::block_in_place(start).unwrap()?, keys: Keys::fresh() })
    }

    pub(super) fn store(&self) -> Arc<RedisStore> {
        self.store_in(DEADLINE)
    }

    /// Returns a store with this timeout for a call.
    pub(super) fn store_in(&self, deadline: Duration) -> Arc<RedisStore> {
        let urls = self.cluster.url();
        let connection = Connection::cluster(ClusterClientBuilder::new(urls.split(','))).unwrap();
        let connection = connection.with_timeout(deadline);
        connected(&connection);
        self.keys.store_on(connection)
    }

    pub(super) async fn raw(&self, node: usize) -> Raw {
        Raw::to(&self.cluster.nodes()[node].url()).await
    }

    /// Returns connections to the primaries.
    pub(super) async fn raws(&self) -> [Raw; 3] {
        [self.raw(0).await, self.raw(1).await, self.raw(2).await]
    }

    /// Returns names of users whose sessions are on a node.
    pub(super) async fn users_of(&self, node: usize, count: usize) -> Vec<String> {
        let (mut raw, mut found) = (self.raw(node).await, Vec::new());
        for number in 0.. {
            let name = format!("user {number}");
            let slot: usize = raw.ask(&format!("CLUSTER KEYSLOT {{{}}}", user(&name).shard().index())).await;
            if slot * 3 / 16_384 == node {
                found.push(name);
            }
            if found.len() == count {
                break;
            }
        }
        found
    }

    pub(super) fn node<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Server) -> session_servers::Result<T>,
    ) -> T {
        tokio::task::block_in_place(|| act(self.cluster.node(index))).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_works_on_a_cluster() {
    let Some(nodes) = Nodes::start(0, &[]) else { return };
    let store = nodes.store();
    assert!(!store.connection().check().await.unwrap().version.is_empty());
    assert_works(&store).await;
    // A node is not accepted as a single server.
    let one = nodes.keys.store_on(Connection::open(nodes.cluster.nodes()[0].url()).unwrap());
    assert_fails("check", ErrorKind::Unsupported, one.connection().check().await);
    assert_fails("load", ErrorKind::Unsupported, one.load(&[record("ann").id]).await);
    // A connection that the application made.
    let client = ClusterClientBuilder::new(nodes.cluster.url().split(',')).retries(0);
    let client = client.response_timeout(DEADLINE).connection_timeout(DEADLINE).build().unwrap();
    let given = nodes.keys.store_on(Connection::from(client.get_async_connection().await.unwrap()));
    assert_works(&given).await;
    let load = Load::start_in(PATIENT, &nodes.store_in(PATIENT));
    load.wait_for_rounds(200).await;
    assert_eq!(load.failures(), 0, "{:?}", load.last_failure());
    load.assert_kept().await;
    assert_consistent(&store, &nodes.keys, &mut nodes.raws().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_affects_only_its_own_users() {
    let Some(mut nodes) = Nodes::start(0, &["--cluster-require-full-coverage", "no"]) else { return };
    let store = nodes.store();
    let (lost, mut kept) = (nodes.users_of(2, 1).await.remove(0), nodes.users_of(0, 5).await);
    let theirs = given(&store, &lost).await;
    let mut old = record_at(&kept.remove(0), 1);
    old.expires_at = at(900);
    let old = create(&store, old).await;
    let patient = nodes.store_in(PATIENT);
    let load = Load::of(kept.into_iter(), &patient, PATIENT);
    load.wait_for_rounds(50).await;
    nodes.node(2, Server::kill);
    let began = Instant::now();
    // Until after the other nodes have agreed on the failure.
    while began.elapsed() < Duration::from_secs(8) {
        assert_transient("load", in_time(DEADLINE, "load", store.load(&[theirs.id])).await);
        // The same on the connection of the other users.
        assert_transient("load", in_time(PATIENT, "load", patient.load(&[theirs.id])).await);
        let both = in_time(DEADLINE, "load of both", store.load(&[theirs.id, old.id])).await;
        assert_transient("load of both", both);
        let create = store.create(Arc::new(record(&lost)), None);
        assert_transient("create", in_time(DEADLINE, "create", create).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    load.wait_for_rounds(100).await;
    println!("failures of the others: {}, the last: {:?}", load.failures(), load.last_failure());
    assert_eq!(load.failures(), 0, "{:?}", load.last_failure());
    load.assert_kept().await;
    nodes.node(2, Server::start_again);
    println!("recovered after {:?}", assert_recovers_in(&store, FAILOVER).await);
    assert_eq!(store.load(&[old.id]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_from_a_dead_node() {
    let Some(mut nodes) = Nodes::start(1, &["--cluster-require-full-coverage", "no"]) else { return };
    let store = nodes.store();
    let mut names = nodes.users_of(0, 9).await;
    let name = names.remove(0);
    let (live, gone) = (given(&store, &name).await, given(&store, &name).await);
    store.end(&EndScope::id(gone.id), &logged_out(1), Timestamp::MAX).await.unwrap();
    let mut raw = nodes.raw(0).await;
    // `WAIT` covers the writes of its own connection, and this write is the latest.
    raw.run(&format!("SET {{{}}}mark 1", user(&name).shard().index())).await;
    assert_eq!(raw.ask::<u32>("WAIT 1 10000").await, 1);
    let load = Load::of(names.into_iter(), &store, DEADLINE);
    load.wait_for_rounds(50).await;
    nodes.node(0, Server::kill);
    load.wait_for_failures().await;
    println!("taken over after {:?}", load.wait_for_rounds_in(FAILOVER, 50).await);
    assert!(store.load(&[live.id]).await.unwrap()[0].ended().is_none());
    assert!(store.load(&[gone.id]).await.unwrap()[0].ended().is_some());
    let promised = load.stop().await;
    println!("lost sign-ins and ends: {:?}", promised.lost(&store).await);
    assert_recovers_in(&store, RECOVERY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_is_a_timeout_for_its_own_users_only() {
    let settings = ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000"];
    let Some(mut nodes) = Nodes::start(0, &settings) else { return };
    let store = nodes.store();
    let (lost, name) = (nodes.users_of(1, 1).await.remove(0), nodes.users_of(0, 1).await.remove(0));
    let (theirs, ours) = (given(&store, &lost).await, given(&store, &name).await);
    let mut old = record_at(&name, 1);
    old.expires_at = at(900);
    let old = create(&store, old).await;
    nodes.node(1, Server::pause);
    let (lost, kept, all) = ([theirs.id], [ours.id], ListQuery::default());
    let (lost, kept, page, stats, swept) = tokio::join!(
        in_time(DEADLINE, "load", store.load(&lost)),
        in_time(DEADLINE, "load of another", store.load(&kept)),
        in_time(DEADLINE, "list", store.list(&all)),
        in_time(DEADLINE, "stats", store.stats(at(1))),
        in_time(DEADLINE, "expire", store.expire(at(1_000), 10)),
    );
    assert_fails("load", ErrorKind::Timeout, lost);
    assert_eq!(kept.unwrap().len(), 1);
    assert_transient("list", page);
    assert_transient("stats", stats);
    // A sweep does what it can in its time, and fails if that is nothing.
    match swept {
        Ok(swept) => assert_eq!(ids(&swept), [old.id]),
        Err(error) => drop(assert_transient::<()>("expire", Err(error))),
    }
    nodes.node(1, Server::resume);
    let took = wait_for(RECOVERY, "it is there again", async || store.load(&[theirs.id]).await.is_ok()).await;
    println!("recovered after {took:?}");
    assert_recovers_in(&store, RECOVERY).await;
}

/// With sweeps and listings in flight to a dead node, the driver can stay stuck when the node is
/// back.
#[tokio::test(flavor = "multi_thread")]
async fn sweeps_to_a_dead_node_do_not_break_the_connection() {
    let Some(mut nodes) = Nodes::start(0, &["--cluster-require-full-coverage", "no"]) else { return };
    let store = nodes.store();
    let lost = nodes.users_of(2, 1).await.remove(0);
    assert_works(&store).await;
    nodes.node(2, Server::kill);
    for _ in 0..3 {
        let all = ListQuery::default();
        let (swept, page) = tokio::join!(store.expire(at(1), 10), store.list(&all));
        println!(
            "meanwhile: {:?}, {:?}",
            swept.map(|swept| swept.len()),
            page.map(|page| page.records.len())
        );
    }
    nodes.node(2, Server::start_again);
    println!("recovered after {:?}", assert_recovers_in(&store, 2 * FAILOVER).await);
    given(&store, &lost).await;
    store.expire(at(1), 10).await.unwrap();
}
