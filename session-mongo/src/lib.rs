//! Server-side sessions in MongoDB, on the client that the application has already.
//!
//! | type | what it is for |
//! |---|---|
//! | [`MongoStore`] | MongoDB keeps the sessions |
//!
//! MongoDB 5.0 or later: a replica set, a sharded cluster, or a single server.
//!
//! # Starting
//! ```no_run
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! use mongodb::Client;
//! use session_mongo::MongoStore;
//!
//! let client = Client::with_uri_str("mongodb://localhost/shop").await?;
//! let store = MongoStore::from_client(&client)?; // or `new`, with a `Database`
//! store.ensure_indexes().await?; // or `verify`, if somebody else creates them
//! # Ok(())
//! # }
//! ```
//! A service gives the store to a session manager. There is nothing else to configure: no environment variable, no user of its own, no
//! connection of its own. [`MongoStoreBuilder`] has the settings.
//!
//! The driver asks its users to choose TLS and a version of BSON. This crate's default feature is the driver's own default; with
//! `default-features = false` it chooses nothing, and takes what your own dependency on `mongodb` says.
//!
//! # What MongoDB promises
//! Writes wait for a majority of the members, with the write in their journals, and loads read what a majority has, from the primary. So a
//! failover loses neither a sign-in nor a revocation that was answered. Both are [settings](MongoStoreBuilder::write_concern), and
//! the capabilities of a store with less say so. One thing is left: a primary that was cut off, and has not noticed, can answer loads from its past
//! for up to the election timeout, 10 s by default. [`MongoStoreBuilder::read_concern`] closes that at the price of a round trip.
//!
//! # Documents
//! One document for each session, in the collection `sessions` ([`MongoStoreBuilder::collection`] chooses another name):
//!
//! | field | type | what |
//! |---|---|---|
//! | `_id` | binary, UUID | the session |
//! | `format` | int | the version of this layout, 1 |
//! | `userId`, `username` | string or null | whose it is |
//! | `kind` | string | `web`, `api`, `external` |
//! | `state` | string | `active` or `ended`; `reserved` is the id of a sign-in under way, and no session |
//! | `revision` | long | rises with every change |
//! | `createdAt`, `authenticatedAt`, `lastSeenAt`, `expiresAt` | date | |
//! | `deadlineAt` | date or null | when an active session ends if it is not used: the earlier of `expiresAt` and the end of idleness |
//! | `idleTimeout` | long or null | milliseconds |
//! | `end` | `{reason, at, by}` or null | with `signIn`, if a sign-in without a transaction ended it |
//! | `purgeAt` | date or null | when the server deletes an ended session that nobody purged, by its own clock |
//! | `auth` | array of `{method, at}` | |
//! | `client`, `lastClient` | documents | only what is known is there |
//! | `remembered`, `credentialVersion`, `deviceId`, `label` | bool, long, binary UUID, string | |
//! | `secret`, `refresh`, `data` | binary or null | hashes, never a secret; and what the application keeps |
//!
//! Fields that are not in this list are yours: they stay as they are. A second collection, `sessions_turns`, has at most 1,024 small documents,
//! at which sign-ins under a limit take turns. A document with a field that is not what it should be is [`Corrupt`](session_core::ErrorKind::Corrupt), and left
//! alone. An end and a sweep end it with the others, if it says that it is active: it does not come back to life once it is repaired.
//!
//! # Indexes
//! | index | on | for |
//! |---|---|---|
//! | `session_user` | `userId`, `state`, `createdAt`, `_id` | a user's sessions: listings, ends, limits, erasure |
//! | `session_username` | `username`, `state`, `createdAt`, `_id` | listings by name |
//! | `session_created` | `createdAt`, `_id` | listings of all |
//! | `session_deadline` | `state`, `deadlineAt` | sweeps |
//! | `session_end` | `end.at`, of ended ones | purges |
//! | `session_purge` | `purgeAt`, TTL | the server's own deletion of ended sessions |
//!
//! [`ensure_indexes`](MongoStore::ensure_indexes) creates them, and [`verify`](MongoStore::verify) names what is missing or different. Whether
//! a session is valid depends on none of them: the server's TTL monitor may be late or off.
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
//! | statistics | two `aggregate` over everything |
//!
//! # Time limits
//! A store reads no clock. The caller's deadline ends a call by dropping its future, which the manager does. Without one, the client's
//! `serverSelectionTimeoutMS` (30 s) bounds the wait for a primary, and a sign-in under a limit takes 10 s at most. It goes on for a second after
//! its caller left, so that it comes to its end on a server that answers. A process that dies within a transaction keeps others of its
//! shard waiting for as long as the server's `transactionLifetimeLimitSeconds` says (60).
//!
//! The driver notices a network that swallows everything after `heartbeatFrequencyMS` and `connectTimeoutMS`, which are 10 s each. Until then
//! calls meet dead connections, also if the network is back. Shorter ones in the connection string shorten that.
//!
//! # Errors
//! | what happens | kind |
//! |---|---|
//! | no primary, server down, stepping down or shutting down, wrong password, missing permission, disk full | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//! | a write that too few members confirmed in time, the server's own limit of time | [`Timeout`](session_core::ErrorKind::Timeout) |
//! | a document that cannot be read, or that was not asked for | [`Corrupt`](session_core::ErrorKind::Corrupt) |
//! | sign-ins of a shard that came in between 50 times | [`Unavailable`](session_core::ErrorKind::Unavailable) |
//!
//! What the server said is the error's source. None of these is ever "not found".
//!
//! # Sharding
//! Shard the collection by `_id`: then ids are unique across shards, and a load asks one of them. The ids of one user share their last bits
//! with those of 1 user in 1,024, and begin with the time, so hash them: `sh.shardCollection("shop.sessions", { _id: "hashed" })`.
//!
//! # Security
//! Who can write to the collection can forge sessions: documents are not signed. What callers pass reaches the server as values, never as
//! operators, whatever it looks like. Create the collection without a collation: with one that folds case, `ann` and `Ann` are one user to
//! the server. `verify` tells.
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
