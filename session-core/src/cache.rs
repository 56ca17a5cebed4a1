//! A cache of records that may lose entries.

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

/// The cached state of a session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CacheBody {
    /// The session was active when it was read.
    Record(Arc<SessionRecord>),
    /// The session ended. Final: nothing replaces a tombstone.
    Tombstone(Ended),
}

/// A copy of a session's state, with the time at which the store of record confirmed it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The store of record and the tenant of the session.
    pub scope: Scope,
    /// The session.
    pub id: SessionId,
    /// The revision of the copy.
    pub revision: Revision,
    /// The start of the read of the *store of record* that produced this copy. Copying an entry
    /// never refreshes it.
    pub verified_at: Timestamp,
    /// The state.
    pub body: CacheBody,
}

impl CacheEntry {
    /// Creates the entry of a record: a tombstone if the session ended.
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

    /// Returns true if this entry may replace `other`: the rule of
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

/// An entry in a cache, with its remaining time to live.
///
/// Readers derive staleness from the remaining time. The cache counts it down, so it holds even if
/// the clocks of the writing node and the reading node disagree.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CacheHit {
    /// The entry.
    pub entry: CacheEntry,
    /// The remaining time to live; at most the `ttl` that the entry was stored with.
    pub remaining: Duration,
}

impl CacheHit {
    /// Describes an entry in a cache.
    #[must_use]
    pub const fn new(entry: CacheEntry, remaining: Duration) -> Self {
        Self { entry, remaining }
    }
}

/// A faster, possibly shared copy of the state in the store of record.
///
/// # Contract
/// - An entry may vanish at any time. It may never change, become older, or come back.
/// - An entry belongs to one [`Scope`]. Under another scope it does not exist: reads do not return
///   it, writes do not compare with it, and removals do not affect it.
/// - The loss of a tombstone is harmless, because every entry carries the time at which it was
///   verified, and readers refuse entries that are too old.
///
/// # Errors
/// [`Timeout`](crate::ErrorKind::Timeout) and [`Unavailable`](crate::ErrorKind::Unavailable) if the
/// cache cannot be reached; [`Corrupt`](crate::ErrorKind::Corrupt) for an entry that cannot be
/// decoded or names another id or scope than its key. Callers treat all of them as a miss.
///
/// # Security
/// Entries hold secret hashes and session data. A party that can write to a shared cache can forge
/// what the cache confirms.
///
/// # Cancellation
/// A dropped call leaves the old entry, the new entry or none.
#[async_trait]
pub trait SessionCache: fmt::Debug + Send + Sync + 'static {
    /// Returns the cache's name for logs and metrics: `"redis"`.
    fn name(&self) -> &'static str;

    /// Returns the entry of an id in a scope, with its remaining time to live.
    ///
    /// # Contract
    /// - One round trip. Never extends the entry's time to live.
    /// - The cache counts the remaining time from the moment at which it stored the entry, and
    ///   reads it together with the entry.
    ///
    /// # Errors
    /// Only the general ones.
    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>>;

    /// Stores an entry for at most `ttl`, unless the present entry is newer. Returns true if it was
    /// stored.
    ///
    /// # Contract
    /// - One atomic step. An older revision never replaces a newer one; of one revision, the entry
    ///   verified later stays; nothing replaces a tombstone, and a tombstone replaces every record.
    ///   See [`CacheEntry::replaces`].
    /// - A `ttl` of zero stores nothing; a `ttl` below one millisecond may store nothing. A `ttl`
    ///   beyond the cache's maximum is reduced to that maximum.
    ///
    /// # Errors
    /// Only the general ones.
    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool>;

    /// Removes the entry of an id in a scope, tombstones included. For maintenance; revocation uses
    /// tombstones.
    ///
    /// # Errors
    /// Only the general ones.
    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()>;
}
