//! A cache with one mistake.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{
    Actor, CacheBody, CacheEntry, CacheHit, Error, Result, Scope, SessionCache, SessionId, Timestamp,
    async_trait,
};
use tokio::time::Instant;

use super::CacheBug;
use super::store::let_others_run;

const HOUR: Duration = Duration::from_secs(3_600);

/// A cache with one [`CacheBug`].
#[derive(Debug)]
pub struct BrokenCache {
    bug: CacheBug,
    slots: Mutex<Slots>,
}

type Slots = BTreeMap<Vec<u8>, Slot>;

#[derive(Debug)]
struct Slot {
    entry: CacheEntry,
    ttl: Duration,
    until: Instant,
}

impl BrokenCache {
    /// Creates an empty cache with this mistake.
    #[must_use]
    pub fn new(bug: CacheBug) -> Self {
        Self { bug, slots: Mutex::default() }
    }

    fn key(&self, scope: Scope, id: SessionId) -> Vec<u8> {
        let id = match self.bug {
            CacheBug::ShardIsKey => id.shard().index().to_be_bytes().to_vec(),
            CacheBug::CaseInsensitiveId => id.as_bytes().to_ascii_lowercase(),
            _ => id.as_bytes().to_vec(),
        };
        let scope = match self.bug {
            CacheBug::ScopeIgnored => &[],
            CacheBug::ScopePrefix => &scope.as_bytes()[..8],
            _ => &scope.as_bytes()[..],
        };
        [scope, &id].concat()
    }

    fn replaces(&self, new: &CacheEntry, old: &CacheEntry) -> bool {
        let records = !new.is_tombstone() && !old.is_tombstone();
        match self.bug {
            CacheBug::BlindPut => true,
            CacheBug::EqualReplaces => new.replaces(old) || new == old,
            CacheBug::VerificationIgnored if records => new.revision > old.revision,
            CacheBug::RevisionsAsText if records => as_text(new) > as_text(old),
            CacheBug::RevisionsAsFloats if records => as_float(new) > as_float(old),
            CacheBug::TombstoneNeedsRevision if new.is_tombstone() && !old.is_tombstone() => {
                new.revision > old.revision
            }
            CacheBug::TombstoneReplaced if old.is_tombstone() => new.revision > old.revision,
            CacheBug::TombstoneReplacedByTombstone if new.is_tombstone() => true,
            _ => new.replaces(old),
        }
    }

    /// Returns the time to live of an entry, zero if it is not stored.
    fn life(&self, entry: &CacheEntry, ttl: Duration) -> Duration {
        match self.bug {
            CacheBug::ZeroTtlLivesForEver if ttl.is_zero() => HOUR,
            CacheBug::WholeSeconds => Duration::from_secs(ttl.as_secs()),
            CacheBug::NothingExpires if !ttl.is_zero() => HOUR,
            CacheBug::TombstonesStay if !ttl.is_zero() && entry.is_tombstone() => HOUR,
            CacheBug::SmallPayloads if data_of(entry).is_some_and(|data| data.len() > 8 * 1024) => {
                Duration::ZERO
            }
            _ => ttl,
        }
    }

    /// Returns the entry as this cache would keep it.
    fn as_kept(&self, mut entry: CacheEntry) -> CacheEntry {
        match (self.bug, &mut entry.body) {
            (CacheBug::ScopeForgotten, _) => entry.scope = Scope::from_bytes([0; 16]),
            (CacheBug::TombstoneForgetsActor, CacheBody::Tombstone(ended)) => ended.by = Actor::System,
            (CacheBug::DataEndsAtNul, CacheBody::Record(record)) => {
                let end = record.data.iter().position(|byte| *byte == 0).unwrap_or(record.data.len());
                Arc::make_mut(record).data = record.data[..end].into();
            }
            _ => {}
        }
        entry
    }

    fn insert(&self, slots: &mut Slots, entry: CacheEntry, ttl: Duration) {
        let ttl = ttl.min(HOUR);
        if self.bug == CacheBug::ScopeReplaced {
            slots.retain(|_, slot| slot.entry.id != entry.id);
        }
        let key = self.key(entry.scope, entry.id);
        slots.insert(key, Slot { entry: self.as_kept(entry), ttl, until: Instant::now() + ttl });
    }

    /// Returns true if an entry of another scope prevents the put of this one.
    fn keeps_out(&self, stored: &CacheEntry, entry: &CacheEntry) -> bool {
        let of_other_scope = stored.id == entry.id && stored.scope != entry.scope;
        of_other_scope
            && match self.bug {
                CacheBug::ScopeIgnoredByPut => !entry.is_tombstone() && !entry.replaces(stored),
                CacheBug::ScopeIgnoredByTombstone => stored.is_tombstone(),
                _ => false,
            }
    }

    fn accepts(&self, slots: &Slots, entry: &CacheEntry) -> bool {
        if slots.values().any(|slot| self.keeps_out(&slot.entry, entry)) {
            return false;
        }
        match slots.get(&self.key(entry.scope, entry.id)).filter(|slot| slot.until > Instant::now()) {
            Some(slot) => self.replaces(entry, &slot.entry),
            None => self.bug != CacheBug::TombstoneNeedsRecord || !entry.is_tombstone(),
        }
    }
}

fn as_text(entry: &CacheEntry) -> (String, Timestamp) {
    (entry.revision.get().to_string(), entry.verified_at)
}

fn as_float(entry: &CacheEntry) -> (f64, Timestamp) {
    (entry.revision.get() as f64, entry.verified_at)
}

fn data_of(entry: &CacheEntry) -> Option<&[u8]> {
    match &entry.body {
        CacheBody::Record(record) => Some(&record.data),
        _ => None,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionCache for BrokenCache {
    fn name(&self) -> &'static str {
        "broken"
    }

    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>> {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(&self.key(scope, id)).filter(|slot| slot.until > Instant::now())
        else {
            return if self.bug == CacheBug::MissIsAnError {
                Err(Error::not_found("broken", "get"))
            } else {
                Ok(None)
            };
        };
        let mut found = slot.entry.clone();
        match self.bug {
            CacheBug::ReadingExtends => slot.until = Instant::now() + slot.ttl,
            CacheBug::ReadingVerifies => {
                found.verified_at = found.verified_at.saturating_add(Duration::from_millis(1));
            }
            _ => {}
        }
        let remaining = match self.bug {
            CacheBug::RemainingIsTtl => slot.ttl,
            _ => slot.until - Instant::now(),
        };
        Ok(Some(CacheHit::new(found, remaining)))
    }

    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
        let ttl = self.life(&entry, ttl);
        if ttl.is_zero() {
            if self.bug == CacheBug::ZeroTtlRemoves {
                self.slots.lock().remove(&self.key(entry.scope, entry.id));
            }
            return Ok(false);
        }
        if self.bug == CacheBug::RacyPut {
            let accepted = self.accepts(&self.slots.lock(), &entry);
            let_others_run().await;
            if accepted {
                self.insert(&mut self.slots.lock(), entry, ttl);
            }
            return Ok(accepted);
        }
        let mut slots = self.slots.lock();
        let accepted = self.accepts(&slots, &entry);
        if accepted {
            self.insert(&mut slots, entry, ttl);
        }
        Ok(accepted || self.bug == CacheBug::AlwaysStored)
    }

    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
        let mut slots = self.slots.lock();
        let key = self.key(scope, id);
        match self.bug {
            CacheBug::RemoveSparesTombstones
                if slots.get(&key).is_some_and(|slot| slot.entry.is_tombstone()) => {}
            CacheBug::RemoveClears => slots.clear(),
            CacheBug::ScopeIgnoredByRemove => slots.retain(|_, slot| slot.entry.id != id),
            _ => drop(slots.remove(&key)),
        }
        Ok(())
    }
}
