//! Fresh stores.

use std::time::Duration;

use session_core::{DeviceId, SystemRandom};
use session_redis::{Connection, KeyPrefix, RedisStore};

/// A prefix that nobody else uses, because tests share a server.
pub(crate) fn fresh_prefix() -> KeyPrefix {
    format!("test:{}", DeviceId::mint(&SystemRandom).unwrap()).parse().unwrap()
}

/// A store for the conformance suite, which is not about time: many cases run at once, unoptimised, and a sweep is a thousand commands.
pub(crate) fn store(connection: &Connection) -> RedisStore {
    RedisStore::builder(connection.with_timeout(Duration::from_secs(30)))
        .prefix(fresh_prefix())
        .build()
        .unwrap()
}
