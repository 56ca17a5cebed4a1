//! Sessions in the memory of one process.
//!
//! [`MemoryStore`] is a full store of record, as exact as the databases: it passes the same
//! conformance suite. Use it in tests, in development, and in services of one process whose
//! sessions may end with the process.
//!
//! [`L1`] is not a store: it holds the copies with which the manager's tiers validate locally.
//!
//! # Bounds
//! **The store is unbounded.** It keeps every session until it is purged, ended ones included,
//! because a store of record that drops live sessions signs users out at random. A session takes
//! roughly 1 KiB plus its data. Run the manager's sweep, which ends and purges sessions, and set a
//! limit on sessions per user.
//!
//! # Durability
//! None: sessions end with the process
//! ([`Durability::Process`](session_core::Durability::Process)).
//!
//! ```
//! use session_core::SessionStore;
//! use session_memory::MemoryStore;
//!
//! let store = MemoryStore::default();
//! assert_eq!(store.capabilities().name, "memory");
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod l1;
#[cfg(feature = "moka")]
mod moka_cache;
mod partition;
mod store;
mod weight;

pub use l1::{Authority, Filled, Held, L1, L1Settings, L1Usage, Lookup, Moment, Ticket};
#[cfg(feature = "moka")]
#[cfg_attr(docsrs, doc(cfg(feature = "moka")))]
pub use moka_cache::MokaCache;
pub use store::MemoryStore;
