//! Fresh stores.

use session_core::{DeviceId, SystemRandom};
use session_redis::{Connection, KeyPrefix, RedisStore};

/// A prefix that nobody else uses, because tests share a server.
pub(crate) fn fresh_prefix() -> KeyPrefix {
    format!("test:{}", DeviceId::mint(&SystemRandom).unwrap()).parse().unwrap()
}

pub(crate) fn store(connection: Connection) -> RedisStore {
    RedisStore::builder(connection).prefix(fresh_prefix()).build().unwrap()
}
