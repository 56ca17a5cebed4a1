//! A cache of records, lossy by right.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::end::Ended;
use crate::error::Result;
use crate::id::SessionId;
use crate::record::{Revision, SessionRecord};
use crate::scope::Scope;
use crate::time::Timestamp;

/// What a cache says about a session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CacheBody {
    /// It was active when it was read.
    Record(Arc<SessionRecord>),
    /// It ended. Final: nothing replaces it.
    Tombstone(Ended),
}

/// A copy of a session's state, with the time at which the store of record said so.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// Whose session: the store of record and the tenant that the copy stems from.
    pub scope: Scope,
    /// Which session.
    pub id: SessionId,
    /// The revision that was read.
    pub revision: Revision,
    /// When the read of the *store of record* began that this copy stems from. Copying an entry never refreshes it.
    pub verified_at: Timestamp,
    /// What it says.
    pub body: CacheBody,
}

impl CacheEntry {
    /// Makes the entry of a record as it was read: a tombstone if it ended.
    #[must_use]
    pub fn of(scope: Scope, record: Arc<SessionRecord>, verified_at: Timestamp) -> Self {
        let (id, revision) = (record.id, record.revision);
        let body = match record.ended() {
            Some(ended) => CacheBody::Tombstone(ended.clone()),
            None => CacheBody::Record(record),
        };
        Self { scope, id, revision, verified_at, body }
    }

    /// Returns true for an ended session.
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        matches!(self.body, CacheBody::Tombstone(_))
    }

    /// Returns whether this entry may take the place of another one: the rule of
    /// [`put_if_newer`](SessionCache::put_if_newer).
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        match (self.is_tombstone(), other.is_tombstone()) {
            (_, true) => false,
            (true, false) => true,
            (false, false) => (self.revision, self.verified_at) > (other.revision, other.verified_at),
        }
    }
}

/// An entry that a cache holds, and for how much longer.
///
/// The remaining time is what a reader measures staleness by: it was counted down by the cache, so it holds even where the clocks of the
/// node that wrote the entry and of the one that reads it disagree.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CacheHit {
    /// What the cache says.
    pub entry: CacheEntry,
    /// How much longer it will say so; never more than the `ttl` that the entry was given.
    pub remaining: Duration,
}

impl CacheHit {
    /// Describes what a cache holds.
    #[must_use]
    pub const fn new(entry: CacheEntry, remaining: Duration) -> Self {
        Self { entry, remaining }
    }
}

/// A faster, possibly shared copy of what the store of record said.
///
/// # Contract
/// - Lossy by right: an entry may vanish at any time. It may never change, turn older, or come back.
/// - An entry belongs to one [`Scope`]. Under another scope it does not exist: it is no answer, keeps nothing out and is not removed.
/// - A tombstone that vanished is harmless, because every entry carries the time at which it was verified and the reader
///   refuses what is too old.
///
/// # Errors
/// [`Timeout`](crate::ErrorKind::Timeout) and [`Unavailable`](crate::ErrorKind::Unavailable) when it cannot be asked;
/// [`Corrupt`](crate::ErrorKind::Corrupt) for an entry that cannot be understood or names another id or scope than its key. Callers treat
/// all of them as a miss.
///
/// # Security
/// Entries hold secret hashes and session data. Who can write to a shared cache can forge what it confirms.
///
/// # Cancellation
/// A dropped call leaves the old entry, the new one or none.
#[async_trait]
pub trait SessionCache: fmt::Debug + Send + Sync + 'static {
    /// Returns the cache's name in logs and metrics: `"redis"`.
    fn name(&self) -> &'static str;

    /// Returns the entry of an id in a scope, with the rest of its life.
    ///
    /// # Contract
    /// - One round trip. Never extends the entry's life.
    /// - The remaining time is counted by the cache, from the moment at which it stored the entry, and read together with it.
    ///
    /// # Errors
    /// Only the general ones.
    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>>;

    /// Stores an entry for at most `ttl`, unless what is there is newer. Returns whether it was stored.
    ///
    /// # Contract
    /// - One atomic step: an older revision never replaces a newer one; of the same revision the later verified one stays;
    ///   nothing replaces a tombstone, and a tombstone replaces every record. See [`CacheEntry::replaces`].
    /// - A `ttl` of zero stores nothing; one below a millisecond may do so. One beyond what the cache can hold is cut to that.
    ///
    /// # Errors
    /// Only the general ones.
    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool>;

    /// Forgets an id of a scope, tombstone included. For maintenance; revocation uses tombstones.
    ///
    /// # Errors
    /// Only the general ones.
    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()>;
}
