//! Server-side sessions in Redis and Valkey: a store of record, a shared cache, and a bus that tells other nodes of changes.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod connection;
mod ending;
mod error;
mod keys;
mod listing;
mod record;
mod script;
mod shards;
mod store;

pub use connection::{Connection, ServerInfo};
pub use keys::KeyPrefix;
pub use builder::RedisStoreBuilder;
pub use store::RedisStore;

pub use redis;
