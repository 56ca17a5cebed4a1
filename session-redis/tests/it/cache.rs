//! The shared cache: its conformance suites, and its behaviour when other programs write, the
//! memory is full, or the server fails.

#[cfg(feature = "cluster")]
mod cluster;
mod faults;
mod forged;
mod lab;
mod memory;
mod network;
mod order;
mod wire;

mod conformance {
    use session_redis::{Connection, RedisCache};

    use super::lab::ring;
    use crate::support::{fresh_prefix, patient};

    async fn cache(connection: Connection) -> RedisCache {
        RedisCache::new(patient(connection).await).with_prefix(fresh_prefix())
    }

    session_conformance::session_cache_suite!(
        redis_cache,
        env "SESSION_TEST_REDIS_URL",
        |url: String| async move { cache(Connection::open(url).expect("a URL")).await },
    );

    session_conformance::session_cache_suite!(
        redis_cache_mac,
        env "SESSION_TEST_REDIS_URL",
        |url: String| async move {
            cache(Connection::open(url).expect("a URL")).await.with_mac_keys(ring(&[1]))
        },
    );

    #[cfg(feature = "cluster")]
    session_conformance::session_cache_suite!(
        redis_cluster_cache,
        env "SESSION_TEST_REDIS_CLUSTER_URL",
        |urls: String| async move {
            let nodes = redis::cluster::ClusterClientBuilder::new(urls.split(','));
            cache(Connection::cluster(nodes).expect("URLs")).await
        },
    );
}
