//! A cache on moka.

use std::fmt;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use session_core::limits::MAX_LIFETIME;
use session_core::{CacheBody, CacheEntry, CacheHit, Result, Scope, SessionCache, SessionId, async_trait};

use crate::weight::weight_of;

/// 64 MiB.
const DEFAULT_CAPACITY: u64 = 64 << 20;

/// Memory that moka needs for an entry of any content: 365 bytes in several allocations, and the
/// allocator's overhead.
const BOOKKEEPING: u64 = 512;

/// A cache of sessions in this process, bounded in bytes, on [moka](https://docs.rs/moka).
///
/// # When to use it
/// - As the shared tier of a service that runs as one process, so that its sessions survive an
///   outage of the store as they would with a cache on a server.
/// - As the last of several shared tiers, behind those that all nodes share. Other nodes do not see
///   its entries.
/// - In tests of code that uses a [`SessionCache`].
///
/// It does not speed up validation: the manager has a process-local cache (L1) for that, which
/// answers without a future and without an allocation.
///
/// # Bounds
/// The weight of an entry is an estimate of its heap memory: see [`weight`](Self::weight). After
/// every [`put_if_newer`](SessionCache::put_if_newer) the cache is within its capacity again, so it
/// is exceeded by no more than the entries that are being put at that moment.
///
/// # Eviction
/// The least recently used entry is evicted first. TinyLFU, moka's default, would keep more of the
/// frequently used entries, but it rejects new entries as soon as the cache is full, and the new
/// entry that matters is a tombstone: if it were rejected, it could not keep out a slower reader
/// that still has the live session.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use session_core::{
///     CacheEntry, Scope, SessionCache, SessionId, SessionRecord, SystemRandom, Timestamp,
/// };
/// use session_memory::MokaCache;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let now = Timestamp::from_millis(1_767_225_600_000);
/// let id = SessionId::mint(now, None, &SystemRandom)?;
/// let record = SessionRecord::new(id, now, Timestamp::from_millis(1_767_229_200_000));
///
/// let (cache, scope) = (MokaCache::new(16 << 20), Scope::new("shop-production", None)?);
/// let entry = CacheEntry::of(scope, record.into(), now);
/// assert!(cache.put_if_newer(entry, Duration::from_secs(60)).await?);
/// let hit = cache.get(scope, id).await?.expect("it was just put");
/// assert!(hit.remaining <= Duration::from_secs(60));
/// # Ok::<(), session_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MokaCache {
    slots: Cache<Key, Slot>,
}

/// An id is a separate entry in each scope.
type Key = (Scope, SessionId);

#[derive(Clone)]
struct Slot {
    entry: CacheEntry,
    until: Instant,
}

impl Slot {
    fn new(entry: CacheEntry, now: Instant, ttl: Duration) -> Self {
        // A session cannot outlive this limit, and moka cannot represent much longer times.
        Self { entry, until: now + ttl.min(MAX_LIFETIME) }
    }

    fn is_kept(&self, now: Instant) -> bool {
        self.until > now
    }
}

/// Lets moka drop expired slots. [`Slot::is_kept`] alone decides what readers see.
struct UntilDeadline;

impl Expiry<Key, Slot> for UntilDeadline {
    fn expire_after_create(&self, _: &Key, slot: &Slot, created_at: Instant) -> Option<Duration> {
        Some(slot.until.saturating_duration_since(created_at))
    }

    fn expire_after_update(
        &self,
        _: &Key,
        slot: &Slot,
        updated_at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(slot.until.saturating_duration_since(updated_at))
    }
}

impl Default for MokaCache {
    /// Creates a cache of 64 MiB.
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl MokaCache {
    /// Creates a cache with a capacity in bytes. An entry larger than the capacity is not kept.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let slots = Cache::builder()
            .name("session-kit")
            .max_capacity(capacity)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(UntilDeadline)
            .weigher(|_, slot: &Slot| weight(&slot.entry))
            .build();
        Self { slots }
    }

    /// Returns the weight of the entries in bytes, as of the last change: an estimate of the heap
    /// memory of each. Memory that records share is counted for each of them.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.slots.weighted_size()
    }

    /// Returns the number of entries, as of the last change. Some of them may have expired.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.slots.entry_count()
    }

    /// Returns true if there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// Not derived: moka's `Debug` would print every entry, with addresses.
impl fmt::Debug for MokaCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let capacity = self.slots.policy().max_capacity();
        f.debug_struct("MokaCache")
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("capacity", &capacity)
            .finish()
    }
}

#[async_trait]
impl SessionCache for MokaCache {
    fn name(&self) -> &'static str {
        "moka"
    }

    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>> {
        let slot = self.slots.get(&(scope, id));
        let now = Instant::now();
        Ok(slot.filter(|slot| slot.is_kept(now)).map(|slot| CacheHit::new(slot.entry, slot.until - now)))
    }

    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
        if ttl.is_zero() {
            return Ok(false);
        }
        let mut stores = false;
        self.slots.entry((entry.scope, entry.id)).and_compute_with(|stored| {
            let now = Instant::now();
            let stored = stored.map(moka::Entry::into_value).filter(|stored| stored.is_kept(now));
            stores = stored.is_none_or(|stored| entry.replaces(&stored.entry));
            if stores { Op::Put(Slot::new(entry, now, ttl)) } else { Op::Nop }
        });
        // The result is the decision under the key's lock. moka's own report is guessed from the
        // previous entry (https://github.com/moka-rs/moka/pull/593).
        if stores {
            // Without this, hundreds of entries wait for their eviction, and each may take 68 KiB.
            self.slots.run_pending_tasks();
        }
        Ok(stores)
    }

    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
        // Not `invalidate`, which does not wait for the lock under which puts are decided.
        self.slots.entry((scope, id)).and_compute_with(|_| Op::Remove);
        self.slots.run_pending_tasks();
        Ok(())
    }
}

/// Returns the weight of an entry. Tombstones are light, so that as many as possible fit.
fn weight(entry: &CacheEntry) -> u32 {
    let body = match &entry.body {
        CacheBody::Record(record) => weight_of(record),
        _ => 0,
    };
    u32::try_from(BOOKKEEPING + body).unwrap_or(u32::MAX)
}
