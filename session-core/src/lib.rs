//! The contract of session-kit: what a session is, and what a session store guarantees.
//!
//! This crate holds no I/O, no async runtime and no HTTP type. It serves three kinds of readers:
//!
//! - **Application developers** use its vocabulary: [`SessionId`], [`SessionToken`],
//!   [`ExpiryPolicy`], [`rules`]. They call the manager (`session-manager`) and a web integration.
//! - **Backend authors** implement [`SessionStore`], and [`SessionCache`] or [`InvalidationBus`] if
//!   their database suits them, and run `session-conformance`. An embedded database implements
//!   [`Rows`] and has most of a store.
//! - **Authors of other integrations** use the manager and this vocabulary.
//!
//! # The three ideas
//! **A name and a secret.** A session has a public [`SessionId`], safe in logs and lists, and a
//! [`SessionToken`] that only the client holds. Stores keep a [`SecretHash`].
//!
//! **A record with a revision.** Every write names the [`Revision`] that it is based on. It fails
//! if another write came first, so no update is lost. An end needs no revision, wins over every
//! other write and is final: [`SessionState::Ended`] has no way back.
//!
//! **Time is an argument.** A store never reads a clock. [`ExpiryPolicy::evaluate`] is a pure
//! function; its caller provides the current time.
//!
//! # Where things are
//! | module | what |
//! |---|---|
//! | [`bus`] | messages between nodes, for authors of a bus |
//! | [`bytes`] | a record as bytes, for stores that keep it as one value |
//! | [`limits`] | every bound, with its reason |
//! | [`rules`] | conditions on requests in addition to the token |
//! | the root | everything else |
//!
//! ```
//! use session_core::{Expiry, ExpiryPolicy, SessionId, SessionRecord, SystemRandom, Timestamp};
//!
//! let now = Timestamp::from_millis(1_767_225_600_000);
//! let policy = ExpiryPolicy::default();
//! let id = SessionId::mint(now, None, &SystemRandom)?;
//! let mut record = SessionRecord::new(id, now, now.saturating_add(policy.lifetime(false).absolute()));
//! record.idle_timeout = policy.lifetime(false).idle();
//! assert!(matches!(record.expiry(now), Expiry::Live(_)));
//! # Ok::<(), session_core::Error>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod auth;
pub mod bus;
pub mod bytes;
mod cache;
mod client;
mod credentials;
mod data;
mod decorators;
mod end;
mod error;
mod expiry;
mod id;
pub mod limits;
mod ports;
mod random;
mod record;
pub mod rules;
mod scope;
mod secret;
mod store;
mod time;
mod token;

#[cfg(test)]
mod tests;

pub use async_trait::async_trait;

pub use auth::{AssuranceLevel, AuthEvent, AuthMethod};
pub use cache::{CacheBody, CacheEntry, CacheHit, SessionCache};
pub use client::{ClientInfo, CountryCode, Device, DeviceKind, GeoLocation, LastClient};
pub use credentials::{PreviousSecret, RefreshState, SecretState, Successor};
pub use data::{DataLimits, SaveMark, SessionData};
pub use decorators::TracedStore;
pub use end::{Actor, EndReason, Ended, SessionState, SessionStatus};
pub use error::{Error, ErrorKind, Result};
pub use expiry::{Deadline, Expiry, ExpiryPolicy, Lifetime};
pub use id::{DeviceId, SessionId, Shard, UserId};
pub use ports::{
    Activity, ActivityStore, BusEvent, BusHealth, Event, EventKind, EventSink, GeoResolver, Invalidation,
    InvalidationBus, Subscription, UserAgentParser, UserDirectory, UserStatus,
};
pub use random::{SecureRandom, SystemRandom};
pub use record::{Revision, SessionKind, SessionRecord};
pub use scope::Scope;
pub use secret::{PepperId, PepperRing, RotationSalt, SecretHash, SecretHasher, SecretMatch, SecretPurpose};
pub use store::{
    Capabilities, Cursor, Durability, EndScope, LimitScope, ListQuery, OnExceed, Page, Rows, SessionLimit,
    SessionStore, StateFilter, StoreStats, Touch, check_batch, check_touches,
};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use token::{RefreshToken, Secret, SecretFormat, SessionToken};

/// The imports of a backend author: `use session_core::prelude::*;`.
pub mod prelude {
    pub use std::sync::Arc;

    pub use crate::{
        Actor, Capabilities, Cursor, Durability, EndReason, EndScope, Ended, Error, ErrorKind, Expiry,
        ListQuery, OnExceed, Page, Result, Revision, Rows, SessionId, SessionLimit, SessionRecord,
        SessionState, SessionStore, StateFilter, StoreStats, Timestamp, Touch, UserId, async_trait,
        check_batch, check_touches,
    };
}
