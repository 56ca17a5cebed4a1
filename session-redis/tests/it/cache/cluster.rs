//! The cache on several servers.

use redis::cluster::ClusterClientBuilder;
use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, at, full};
use session_core::{ErrorKind, SessionCache};
use session_redis::Connection;
use session_servers::{Options, RedisCluster};

use super::lab::{assert_holds, cache_connected, entry, eventually, given, key, put, ring, tombstone};
use crate::support::PATIENT;

const SESSIONS: usize = 24;

/// A user determines the shard, and the shard determines the node.
#[tokio::test(flavor = "multi_thread")]
async fn every_node_orders_refuses_and_removes() {
    let start = || RedisCluster::for_test(0, &Options::default()).unwrap();
    let Some(cluster) = tokio::task::block_in_place(start) else { return };
    let url = cluster.url();
    let connection = Connection::cluster(ClusterClientBuilder::new(url.split(','))).unwrap();
    let cache = cache_connected(connection).with_mac_keys(ring(&[1]));
    let client =
        ClusterClientBuilder::new(url.split(',')).response_timeout(PATIENT).connection_timeout(PATIENT);
    let mut raw = client.build().unwrap().get_async_connection().await.unwrap();
    for number in 0..SESSIONS {
        let record = full(&format!("user{number}"));
        let (first, end) = (entry(&record, 1, at(0)), tombstone(&record, 2, at(0)));
        given(&cache, &first).await;
        assert!(!put(&cache, &first).await.unwrap());
        given(&cache, &end).await;
        assert_holds(&cache, &end).await;
        let () = redis::cmd("PERSIST").arg(key(record.id)).query_async(&mut raw).await.unwrap();
        assert_kind(cache.get(SCOPE, record.id).await, ErrorKind::Corrupt);
        eventually("the refused entry is removed", async || cache.get(SCOPE, record.id).await.is_ok()).await;
        given(&cache, &first).await;
        cache.remove(SCOPE, record.id).await.unwrap();
        assert_eq!(cache.get(SCOPE, record.id).await.unwrap(), None);
    }
}
