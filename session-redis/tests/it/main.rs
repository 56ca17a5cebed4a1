//! The conformance suites on Redis, and the tests that only concern Redis.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod bus;
mod cache;
mod faults;
mod support;

mod conformance {
    use session_redis::Connection;

    use crate::support;

    session_conformance::session_store_suite!(redis, env "SESSION_TEST_REDIS_URL", |url: String| async move {
        support::store(Connection::open(url).expect("a URL")).await
    });

    #[cfg(feature = "cluster")]
    session_conformance::session_store_suite!(
        redis_cluster,
        env "SESSION_TEST_REDIS_CLUSTER_URL",
        |urls: String| async move {
            let nodes = session_redis::redis::cluster::ClusterClientBuilder::new(urls.split(','));
            support::store(Connection::cluster(nodes).expect("URLs")).await
        }
    );
}
