use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{CacheEntry, CacheHit, Result, Scope, SessionCache, SessionId, async_trait};
use tokio::time::Instant;

/// A cache in a map behind one lock. A read drops all expired entries; nothing else evicts.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use session_conformance::fixtures;
/// use session_conformance::reference::MapCache;
/// use session_core::{CacheEntry, SessionCache};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let cache = MapCache::default();
/// let entry = CacheEntry::of(fixtures::SCOPE, fixtures::record("ann").into(), fixtures::NOW);
/// assert!(cache.put_if_newer(entry.clone(), Duration::from_secs(60)).await?);
/// assert!(!cache.put_if_newer(entry, Duration::from_secs(60)).await?, "not newer");
/// # Ok::<(), session_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct MapCache {
    slots: Mutex<BTreeMap<(Scope, SessionId), Slot>>,
}

#[derive(Debug)]
struct Slot {
    entry: CacheEntry,
    until: Instant,
}

#[async_trait]
impl SessionCache for MapCache {
    fn name(&self) -> &'static str {
        "map"
    }

    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>> {
        let now = Instant::now();
        let mut slots = self.slots.lock();
        slots.retain(|_, slot| slot.until > now);
        Ok(slots.get(&(scope, id)).map(|slot| CacheHit::new(slot.entry.clone(), slot.until - now)))
    }

    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
        if ttl.is_zero() {
            return Ok(false);
        }
        let now = Instant::now();
        let mut slots = self.slots.lock();
        let key = (entry.scope, entry.id);
        let stored = slots.get(&key).filter(|slot| slot.until > now);
        if stored.is_some_and(|slot| !entry.replaces(&slot.entry)) {
            return Ok(false);
        }
        // If the clock cannot represent the end of the time to live, the entry lives for 100 years.
        let until = now.checked_add(ttl).unwrap_or(now + Duration::from_secs(100 * 365 * 24 * 3600));
        slots.insert(key, Slot { entry, until });
        Ok(true)
    }

    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
        self.slots.lock().remove(&(scope, id));
        Ok(())
    }
}
