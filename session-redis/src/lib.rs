//! Server-side sessions in Redis and Valkey: a store of record, a shared cache, and a bus that
//! notifies other nodes of changes.
//!
//! | type | what it is for |
//! |---|---|
//! | [`RedisStore`] | Redis keeps the sessions |
//! | [`RedisCache`] | another database keeps them, and all nodes share fresh copies in Redis |
//! | [`RedisBus`] | nodes notify each other of changes, so that their own copies are milliseconds old at most |
//!
//! All three need Redis 6.2 or later, or Valkey, and share a [`Connection`]: one server over TCP,
//! TLS or a Unix socket, the primary that Sentinels name, or a cluster. Connecting to an older
//! server fails.
//!
//! # Starting
//! ```no_run
//! # async fn start() -> session_core::Result<()> {
//! use session_redis::{Connection, RedisStore};
//!
//! let connection = Connection::open("redis://127.0.0.1/")?;
//! connection.check().await?; // connects now instead of during the first request
//! let store = RedisStore::new(connection);
//! # Ok(())
//! # }
//! ```
//! A service passes the store to a session manager. No feature of this crate enables TLS: enable it
//! on your own `redis` dependency, which is the crate that is re-exported here as [`redis`].
//!
//! # What Redis guarantees, and what it does not
//! A crash of a single server loses what it had not written to disk. With `appendonly yes` and
//! `appendfsync always` that is nothing, with `everysec` one second, without persistence
//! everything: all users are signed out, and nothing worse happens.
//!
//! **A failover to a replica can lose the last writes, revocations included**: Redis replies before
//! its replicas have a write, with Sentinels and in a cluster alike. A session that was ended at
//! that moment is live again on the new primary. [`RedisStoreBuilder::wait_for_replicas`] reduces
//! the risk to failovers that promote a replica which had not confirmed the write; it does not
//! remove it. If a revocation must survive every failure, keep the sessions in a database that
//! commits to a majority, and put a [`RedisCache`] in front.
//!
//! The server's memory policy must be `noeviction`. With another policy and a memory limit, Redis
//! deletes sessions and the tombstones of ended ones to make room; connecting to such a server logs
//! a warning. When the memory is full, sign-ins and saves are
//! [`Unavailable`](session_core::ErrorKind::Unavailable), and sign-outs and revocations still work.
//!
//! # Keys
//! | key | what |
//! |---|---|
//! | `{prefix}:{shard}:session:<id>` | a session, as one string |
//! | `{prefix}:{shard}:user:<user>` | a user's active sessions by creation time |
//! | `{prefix}:{shard}:history:<user>` | a user's ended sessions by creation time |
//! | `{prefix}:{shard}:deadlines`, `:ended`, `:created` | the sessions of a shard: active ones by deadline, ended ones by the time of their end, all by creation time |
//! | `{prefix}:{shard}:cache:<scope>:<id>` | an entry of the cache |
//! | `{prefix}:changes` | the channel of the bus |
//!
//! The shard is a number below 1,024 in braces, the same for all sessions of a user. [`KeyPrefix`]
//! sets the prefix. Every key has a time to live, counted from its last write and longer than the
//! session's own life: it only removes keys that no sweep removes. No command scans keys or reads
//! or changes the server's configuration, and keyspace notifications are not used. A user of the
//! server (ACL) needs the commands `GET`, `ZCOUNT`, `EVAL`, `EVALSHA`, `PING`, `INFO` and those
//! that the scripts call (`SET`, `DEL`, `EXISTS`, `GETRANGE`, `SETRANGE`, `PEXPIRE` and sorted
//! sets), and for the bus `PUBLISH` and `SUBSCRIBE`. The cache needs [its own](RedisCache).
//!
//! | operation | commands |
//! |---|---|
//! | load | one `GET` for each session, all in one packet |
//! | create, update, end by id, a batch of touches | one script |
//! | end of a user | one script for each 500 sessions |
//! | sweep, purge | 1,024 `ZCOUNT` in one packet, then one script for each shard in which something is due |
//! | list of a user | one script for each 500 sessions |
//! | list of all, statistics | 1,024 `ZCOUNT` in one packet, then one script for each 500 sessions of each shard that has any |
//!
//! # Errors
//! | what happens | kind |
//! |---|---|
//! | no connection, server down, loading, read-only, out of memory, wrong password, missing permission, slot without node | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//! | no answer within the connection's [timeout](Connection::with_timeout) | [`Timeout`](session_core::ErrorKind::Timeout) |
//! | a value that cannot be read, of another session or of another type | [`Corrupt`](session_core::ErrorKind::Corrupt) |
//! | an older server, or a node of a cluster opened as a single server | [`Unsupported`](session_core::ErrorKind::Unsupported) |
//!
//! The server's own reply is the source of the error. None of these failures is ever reported as
//! "not found". A value that cannot be read is left in place, and does not affect any other
//! session.
//!
//! # Cluster
//! Needs the feature `cluster`, see `Connection::cluster`. A user's sessions and their indexes are
//! on one node, so every operation that is atomic on one server is atomic in a cluster.
//! Redirections are followed up to six times; while a slot moves, commands are repeated until the
//! call's time is over. Callers notice only the delay. Operations on many users take one command
//! for each shard concerned.
//!
//! # Security
//! A client that can write to the server can forge sessions: values are not signed. Use a password
//! or ACL, TLS if traffic leaves the machine, and a server of its own. Values hold hashes of
//! secrets, never a token. For a cache there are [signed entries](RedisCache::with_mac_keys).
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod bus;
mod cache;
mod connection;
mod ending;
mod error;
mod keys;
mod listing;
mod record;
mod script;
mod shards;
mod store;

pub use builder::RedisStoreBuilder;
pub use bus::RedisBus;
pub use cache::{MacKeyId, MacKeys, RedisCache};
pub use connection::{Connection, ServerInfo};
pub use keys::KeyPrefix;
pub use store::RedisStore;

pub use redis;
