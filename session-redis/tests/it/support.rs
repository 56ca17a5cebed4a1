//! Fresh stores, and generous timeouts: on a busy machine every process may stall for some seconds.

use std::time::{Duration, Instant};

use redis::AsyncConnectionConfig;
use session_core::{DeviceId, SystemRandom};
use session_redis::{Connection, KeyPrefix, RedisStore};

/// Timeout for tests that do not measure time.
pub(crate) const PATIENT: Duration = Duration::from_secs(30);

/// Returns a prefix that no other test uses, because tests share a server.
pub(crate) fn fresh_prefix() -> KeyPrefix {
    format!("test:{}", DeviceId::mint(&SystemRandom).unwrap()).parse().unwrap()
}

/// Returns a connection for a conformance suite, which does not measure time: many cases run at
/// once, unoptimised, and a sweep is a thousand commands.
pub(crate) async fn patient(connection: Connection) -> Connection {
    let connection = connection.with_timeout(PATIENT);
    connect(&connection).await;
    connection
}

pub(crate) async fn store(connection: Connection) -> RedisStore {
    RedisStore::builder(patient(connection).await).prefix(fresh_prefix()).build().unwrap()
}

/// Waits until the connection is open, which may take more than one attempt.
pub(crate) async fn connect(connection: &Connection) {
    let began = Instant::now();
    while let Err(error) = connection.check().await {
        assert!(began.elapsed() < PATIENT, "not connected: {error:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Does the same in functions that are not async.
pub(crate) fn connected(connection: &Connection) {
    let connecting = connect(connection);
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(connecting));
}

/// Returns settings for a test's own connections. The driver's 500 ms are too short.
pub(crate) fn driver_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(Some(PATIENT)).set_connection_timeout(Some(PATIENT))
}
