//! Redis and Valkey.

use std::error::Error as StdError;

use session_manager::Tiers;
use session_manager::core::{Error, ErrorKind};
use session_redis::redis::{self, IntoConnectionInfo, RedisError};
use session_redis::{Connection, KeyPrefix, RedisBus, RedisCache, RedisStore};

use super::failure::CREDENTIALS;
use super::{Failure, Opened};

const URL: &str = "redis://ann:password@localhost:6379/0 or redis+unix:///run/redis.sock";
const SERVER: &str = "Start one with `redis-server`, or an ephemeral one with `cargo xtask serve redis`, or correct the URL; without a \
                     URL, the sessions are in a file";
const ONE_SERVER: &str = "The shop supports a single server, Redis 6.2 or later: name one in the URL";

/// Opens the store. Redis needs no preparation.
pub(super) async fn open(url: &str, prefix: &KeyPrefix) -> Result<Opened, Failure> {
    let (connection, place) = connect(url).await?;
    match RedisStore::builder(connection).prefix(prefix.clone()).build() {
        Ok(store) => Ok(Opened::at(format!("{place}, keys {prefix}:*"), store)),
        Err(error) => Err(failure(place, &error)),
    }
}

/// Returns tiers with process memory, a cache shared between processes, and a bus between them.
pub(super) async fn tiers(url: &str, prefix: &KeyPrefix) -> Result<Tiers, Failure> {
    let (connection, _) = connect(url).await?;
    let cache = RedisCache::new(connection.clone()).with_prefix(prefix.clone());
    let bus = RedisBus::new(connection).with_prefix(prefix.clone());
    Ok(Tiers::memory().with_scope("axum-devices").with_cache(cache).with_bus(bus))
}

async fn connect(url: &str) -> Result<(Connection, String), Failure> {
    let address = url.into_connection_info().map_err(|error| match url.split_once(':') {
        Some(("rediss" | "valkeys", _)) => Failure::RedisTls,
        _ => Failure::Url { cause: error.to_string(), like: URL },
    })?;
    let mut place = format!("Redis at {}", address.addr());
    if address.redis_settings().db() != 0 {
        place = format!("{place}, database {}", address.redis_settings().db());
    }
    let checked = async {
        let connection = Connection::open(address)?;
        connection.check().await?;
        Ok(connection)
    };
    match checked.await {
        Ok(connection) => Ok((connection, place)),
        Err(error) => Err(failure(place, &error)),
    }
}

fn failure(place: String, error: &Error) -> Failure {
    let otherwise = if error.kind() == ErrorKind::Unsupported { ONE_SERVER } else { SERVER };
    Failure::database(place, error, otherwise)
}

pub(super) fn is_drivers(error: &(dyn StdError + 'static)) -> bool {
    error.is::<RedisError>()
}

pub(super) fn advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let error = error.downcast_ref::<RedisError>()?;
    let is_rejected = matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
    (is_rejected || error.kind() == redis::ErrorKind::AuthenticationFailed).then_some(CREDENTIALS)
}

#[cfg(test)]
mod tests {
    use session_servers::{Kind, Options, RedisCluster, Server};

    use super::super::testing::{closed_port, failure, named};
    use super::super::{Choice, open};

    #[tokio::test]
    async fn unreachable_redis_is_reported_without_the_password() {
        let port = closed_port();
        for scheme in ["redis", "valkey"] {
            let message = failure(&format!("{scheme}://ann:secret@127.0.0.1:{port}/2")).await;
            assert!(message.contains(&format!("Redis at 127.0.0.1:{port}, database 2")), "{message}");
            assert!(
                message.contains("`cargo xtask serve redis`") && !message.contains("secret"),
                "{message}"
            );
        }
        let message = failure("redis+unix:///no/such/folder/redis.sock?pass=secret").await;
        assert!(
            message.contains("Redis at /no/such/folder/redis.sock") && !message.contains("secret"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn redis_with_tls_is_refused_with_advice() {
        for scheme in ["rediss", "valkeys"] {
            let message = failure(&format!("{scheme}://ann:secret@localhost")).await;
            assert!(message.contains("without TLS") && message.contains("redis://"), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    /// Starts an ephemeral Redis, unless none is available and none is required.
    fn redis(settings: &[&str]) -> Option<Server> {
        let settings = Options::default().with_settings(settings.iter().copied());
        Server::for_test(Kind::Redis, &settings).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn password_refused_by_redis_gets_advice() {
        let Some(server) = redis(&["--requirepass", "open"]) else { return };
        for user in ["", ":secret@", "ann:secret@"] {
            let message = failure(&format!("redis://{user}127.0.0.1:{}/", server.port())).await;
            assert!(message.contains("Correct the user and the password"), "{user}: {message}");
            assert!(!message.contains("secret"), "{user}: {message}");
        }
        open(&named(&format!("redis://:open@127.0.0.1:{}/", server.port()))).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_of_a_redis_cluster_is_refused_with_advice() {
        let Some(cluster) = RedisCluster::for_test(0, &Options::default()).unwrap() else { return };
        let message = failure(&cluster.nodes()[0].url()).await;
        assert!(
            message.contains("a node of a cluster") && message.contains("The shop supports a single server"),
            "{message}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn redis_is_named_with_its_prefix_and_without_its_password() {
        let Some(server) = redis(&["--requirepass", "secret"]) else { return };
        let opened = open(&named(&format!("redis://:secret@127.0.0.1:{}/", server.port()))).await.unwrap();
        let place = format!("Redis at 127.0.0.1:{}, keys session-kit:*", server.port());
        assert_eq!((opened.place, opened.steps), (place, vec![]));

        let socket = server.socket().unwrap();
        let url = format!("redis+unix://{}?db=1&pass=secret", socket.display());
        let chosen = Choice { prefix: "shop".parse().unwrap(), ..named(&url) };
        let place = format!("Redis at {}, database 1, keys shop:*", socket.display());
        assert_eq!(open(&chosen).await.unwrap().place, place);
    }
}
