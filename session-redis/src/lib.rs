//! Server-side sessions in Redis and Valkey: a store of record, a shared cache, and a bus that tells other nodes of changes.
//!
//! | type | what it is for |
//! |---|---|
//! | [`RedisStore`] | Redis keeps the sessions |
//! | [`RedisCache`] | another database keeps them, and all nodes share fresh copies in Redis |
//! | [`RedisBus`] | nodes tell each other what changed, so that their own copies are milliseconds old at most |
//!
//! All three need Redis 6.2 or later, or Valkey, and share a [`Connection`]: one server over TCP, TLS or a Unix socket, whatever
//! Sentinels name, or a cluster. An older server is refused when it is connected to.
//!
//! # Starting
//! ```no_run
//! # async fn start() -> session_core::Result<()> {
//! use session_redis::{Connection, RedisStore};
//!
//! let connection = Connection::open("redis://127.0.0.1/")?;
//! connection.check().await?; // now and not under the first request
//! let store = RedisStore::new(connection);
//! # Ok(())
//! # }
//! ```
//! A service gives the store to a session manager. No feature chooses TLS: switch that on at your own `redis` dependency, which is the
//! one that this crate re-exports ([`redis`]).
//!
//! # What Redis promises, and what it does not
//! A single server loses on a crash what it had not written to its disk. With `appendonly yes` and `appendfsync always` that is nothing, with
//! `everysec` a second, without persistence everything: then everybody is signed out, and what is worse, nothing is.
//!
//! **A failover to a replica can lose the last writes, revocations included**: Redis answers before its replicas have them, with Sentinels
//! and in a cluster alike. A session that was ended in that moment is live again on the new primary.
//! [`RedisStoreBuilder::wait_for_replicas`] narrows this to failovers that promote a replica which had not confirmed, and does not close
//! it. If a revocation must hold whatever fails, keep the sessions in a database that commits to a majority, and put a [`RedisCache`] in
//! front.
//!
//! The server's memory policy has to be `noeviction`. With another one and a limit, Redis deletes sessions to make room, and the marks
//! of ended ones; a warning is logged when such a server is connected to. When the memory is full, sign-ins and saves are
//! [`Unavailable`](session_core::ErrorKind::Unavailable), and sign-outs and revocations still work.
//!
//! # Keys
//! | key | what |
//! |---|---|
//! | `{prefix}:{shard}:session:<id>` | a session, as one string |
//! | `{prefix}:{shard}:user:<user>` | a user's active sessions by their creation |
//! | `{prefix}:{shard}:history:<user>` | a user's ended sessions by their creation |
//! | `{prefix}:{shard}:deadlines`, `:ended`, `:created` | the sessions of a shard: active ones by deadline, ended ones by their end, all by creation |
//! | `{prefix}:{shard}:cache:<scope>:<id>` | an entry of the cache |
//! | `{prefix}:changes` | the channel of the bus |
//!
//! The shard is a number below 1,024 in braces, the same for all sessions of a user. [`KeyPrefix`] sets the prefix. Every key has a time to
//! live, counted from its last write and longer than the session's own life: it only removes what nobody sweeps. No command scans keys,
//! none reads or changes the server's configuration, and keyspace notifications are not used. A user of the server (ACL) needs the commands
//! `GET`, `ZCOUNT`, `EVAL`, `EVALSHA`, `PING`, `INFO` and those that the scripts call (`SET`, `DEL`, `EXISTS`, `GETRANGE`, `SETRANGE`,
//! `PEXPIRE` and sorted sets), and for the bus `PUBLISH` and `SUBSCRIBE`. The cache needs [its own](RedisCache).
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
//! | an older server, or a node of a cluster named as one server | [`Unsupported`](session_core::ErrorKind::Unsupported) |
//!
//! What the server said is the error's source. None of these is ever "not found". A value that cannot be read is left alone, and stands in
//! the way of no other session.
//!
//! # Cluster
//! With the feature `cluster`, see `Connection::cluster`. A user's sessions and their indexes lie on one node, so everything that is atomic on one
//! server is atomic in a cluster. Redirections are followed up to six times, and where a slot moves until the call's time is over: callers
//! notice nothing but time.
//! Operations on many users are as many commands as they concern shards.
//!
//! # Security
//! Who can write to the server can forge sessions: values are not signed. Use a password or ACL, TLS beyond one machine, and a server of
//! its own. Values hold hashes of secrets, never a token. For a cache there are [signed entries](RedisCache::with_mac_keys).
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
