//! Server-side sessions in MongoDB, on the application's own client.
//!
//! | type | purpose |
//! |---|---|
//! | [`MongoStore`] | stores sessions in MongoDB |
//!
//! MongoDB 5.0 or later: a replica set, a sharded cluster, or a single server.
//!
//! # Getting started
//! ```no_run
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use mongodb::Client;
//! use session_mongo::MongoStore;
//!
//! let client = Client::with_uri_str("mongodb://localhost/shop").await?;
//! let store = MongoStore::from_client(&client)?; // or `new`, with a `Database`
//! store.ensure_indexes().await?; // or `verify`, if a deployment script creates them
//! # Ok(())
//! # }
//! ```
//! Pass the store to a session manager. The crate needs no other configuration: no environment
//! variable, no database user and no connection of its own. [`MongoStoreBuilder`] has the settings.
//!
//! The driver requires a choice of TLS and of a BSON version. This crate's default feature selects
//! the driver's own default. With `default-features = false` it selects nothing, and the features
//! of your own `mongodb` dependency apply.
//!
//! # Guarantees
//! A write waits until a majority of the members has it in their journals. A load reads
//! majority-committed data from the primary. A failover therefore loses neither a confirmed sign-in
//! nor a confirmed revocation. Both are [settings](MongoStoreBuilder::write_concern), and the
//! capabilities of a store report weaker ones. One gap remains: a primary that is partitioned from
//! its members and has not noticed can return stale data for up to the election timeout, 10 s by
//! default. [`MongoStoreBuilder::read_concern`] closes the gap at the price of a round trip.
//!
//! # Documents
//! Each session is one document in the collection `sessions`
//! ([`MongoStoreBuilder::collection`] sets another name):
//!
//! | field | type | content |
//! |---|---|---|
//! | `_id` | binary, UUID | the session id |
//! | `format` | int | the version of this layout, 1 |
//! | `userId`, `username` | string or null | the user |
//! | `kind` | string | `web`, `api`, `external` |
//! | `state` | string | `active` or `ended`; `reserved` marks the id of a sign-in in progress, not a session |
//! | `revision` | long | increases with every change |
//! | `createdAt`, `authenticatedAt`, `lastSeenAt`, `expiresAt` | date | |
//! | `deadlineAt` | date or null | when an active session ends if it is not used: the earlier of `expiresAt` and the idle deadline |
//! | `idleTimeout` | long or null | milliseconds |
//! | `end` | `{reason, at, by}` or null | also `signIn`, if a sign-in without a transaction ended the session |
//! | `purgeAt` | date or null | when the server deletes an ended session that no sweep has purged, by its own clock |
//! | `auth` | array of `{method, at}` | |
//! | `client`, `lastClient` | documents | known values only |
//! | `remembered`, `credentialVersion`, `deviceId`, `label` | bool, long, binary UUID, string | |
//! | `secret`, `refresh`, `data` | binary or null | hashes, never a secret; `data` belongs to the application |
//!
//! Your application may add other fields: the store leaves them unchanged. A second collection,
//! `sessions_turns`, has at most 1,024 small documents, which order the sign-ins under a limit. A
//! document with an invalid field is [`Corrupt`](session_core::ErrorKind::Corrupt) and stays
//! unchanged, with one exception: an end or a sweep ends a corrupt document like any other if its
//! state is `active`, so that a repair does not revive the session.
//!
//! # Indexes
//! | index | fields | used by |
//! |---|---|---|
//! | `session_user` | `userId`, `state`, `createdAt`, `_id` | a user's sessions: listings, ends, limits, erasure |
//! | `session_username` | `username`, `state`, `createdAt`, `_id` | listings by name |
//! | `session_created` | `createdAt`, `_id` | listings of all sessions |
//! | `session_deadline` | `state`, `deadlineAt` | sweeps |
//! | `session_end` | `end.at`, ended sessions only | purges |
//! | `session_purge` | `purgeAt`, TTL | the server's own deletion of ended sessions |
//!
//! [`ensure_indexes`](MongoStore::ensure_indexes) creates them, and [`verify`](MongoStore::verify)
//! names those that are missing or different. The validity of a session depends on none of them:
//! the server's TTL monitor may be late or off.
//!
//! # Commands
//! | operation | commands |
//! |---|---|
//! | load | one `find` by `_id` |
//! | create, update, touches of a batch | one `insert`, one `update` |
//! | create under a limit | a [transaction or a compare-and-set](LimitMethod) |
//! | end by id | one `findAndModify` for each |
//! | end of a user, sweep | a `find` for each 500 sessions, and a `findAndModify` for each of them, 8 at a time |
//! | purge, erasure | a `find` and a `delete` or `update` for each 500 |
//! | list | one `find` |
//! | statistics | two `aggregate` over the whole collection |
//!
//! # Time limits
//! A store reads no clock. A caller enforces a deadline by dropping the future, as the manager
//! does. Without a deadline, the client's `serverSelectionTimeoutMS` (30 s) bounds the wait for a
//! primary, and a sign-in under a limit takes at most 10 s. Such a sign-in continues for a second
//! after its caller has dropped it, so that it completes on a server that responds. A process that
//! dies within a transaction blocks the other sign-ins of its shard until the server aborts the
//! transaction, after `transactionLifetimeLimitSeconds` (60).
//!
//! The driver detects a network that drops all packets after `heartbeatFrequencyMS` and
//! `connectTimeoutMS`, which are 10 s each. Until then, calls may use dead connections even if the
//! network works again. Smaller values in the connection string shorten that time.
//!
//! # Errors
//! | cause | kind |
//! |---|---|
//! | no primary, server down, stepping down or shutting down, wrong password, missing permission, disk full | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//! | a write that too few members confirmed in time, a time limit of the server | [`Timeout`](session_core::ErrorKind::Timeout) |
//! | a document that cannot be read, or that was not requested | [`Corrupt`](session_core::ErrorKind::Corrupt) |
//! | a sign-in that conflicted with others of its shard 50 times | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//!
//! The error's source is the server's answer. None of these causes is ever reported as "not found".
//!
//! # Sharding
//! Shard the collection by `_id`: ids are then unique across shards, and a load queries one shard.
//! The ids of one user share their last bits with those of 1 user in 1,024, and all ids begin with
//! the time, so hash them: `sh.shardCollection("shop.sessions", { _id: "hashed" })`.
//!
//! # Security
//! Documents are not signed: a client that can write to the collection can forge sessions. The
//! store sends the callers' values as values, never as operators, whatever they look like. Create
//! the collection without a collation: with a case-insensitive one, `ann` and `Ann` are one user to
//! the server. `verify` reports it.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod commands;
mod document;
mod ending;
mod error;
mod indexes;
mod limited;
mod listing;
mod store;

pub use builder::MongoStoreBuilder;
pub use indexes::{Difference, IndexError, IndexProblem};
pub use limited::LimitMethod;
pub use store::MongoStore;

pub use mongodb;
