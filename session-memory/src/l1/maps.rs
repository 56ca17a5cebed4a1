//! Bounded maps. The library chooses which entries to evict; a map never exceeds its bound.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::time::Duration;

use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, UnitWeighter, Weighter};
use session_core::{Ended, Revision, SessionId};

use super::protocol::Held;
use crate::weight::weight_of;

/// Maximum number of shards of a map. A shard must have room for the largest record.
const SHARDS: u64 = 64;
const SHARD_BYTES: u64 = 1024 * 1024;

/// Share of a full map that is reserved for entries that were used more than once. Copies are used
/// repeatedly. Marks of ended sessions and unknown ids protect the next seconds, so those maps must
/// keep the newest entries.
const OFTEN_USED: f64 = 0.97;
const NEWEST: f64 = 0.0;

/// Knowledge about a session besides a copy.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    /// The session ended.
    Ended(Ended),
    /// Revisions below this one are out of date.
    OutdatedBelow(Revision),
}

/// A map with a bound. Clients choose its keys, so they are hashed with a secret.
pub(super) struct Map<V, W = UnitWeighter, H = RandomState>
where
    V: Clone,
    W: Weighter<SessionId, V> + Clone,
    H: BuildHasher + Default + Clone,
{
    inner: Cache<SessionId, V, W, H>,
}

/// A hasher for the keys of copies, which are ids of stored sessions. Those are random or the end
/// of a digest, and no client chooses them. So their last bytes suffice as a hash, at a third of
/// the cost.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            // The multiplication spreads the bits that are the same in all ids.
            self.0 = u64::from_ne_bytes(*last).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(super) type Copies = Map<Held, ByWeight, BuildHasherDefault<IdHasher>>;
pub(super) type Marks = Map<Mark>;
pub(super) type Unknowns = Map<Duration>;

/// Weighs copies by their size in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByWeight;

impl Weighter<SessionId, Held> for ByWeight {
    fn weight(&self, _: &SessionId, held: &Held) -> u64 {
        weight_of(&held.record)
    }
}

impl Copies {
    pub(super) fn of_bytes(bytes: u64) -> Self {
        Self::bounded(
            usize::try_from(bytes / 1024).unwrap_or(usize::MAX),
            bytes,
            bytes / SHARD_BYTES,
            OFTEN_USED,
            ByWeight,
        )
    }
}

impl<V: Clone> Map<V> {
    pub(super) fn of_entries(entries: u32) -> Self {
        let shards = u64::from(entries / 1024);
        Self::bounded(entries as usize, u64::from(entries), shards, NEWEST, UnitWeighter)
    }
}

impl<V, W, H> Map<V, W, H>
where
    V: Clone,
    W: Weighter<SessionId, V> + Clone,
    H: BuildHasher + Default + Clone,
{
    fn bounded(estimated: usize, capacity: u64, shards: u64, often_used: f64, weighter: W) -> Self {
        let shards = usize::try_from(shards.clamp(1, SHARDS)).unwrap_or(1);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(estimated)
            .weight_capacity(capacity)
            .hot_allocation(often_used)
            .build();
        let inner = match options {
            Ok(options) => Cache::with_options(options, weighter, H::default(), Default::default()),
            Err(_) => Cache::with(estimated, capacity, weighter, H::default(), Default::default()),
        };
        Self { inner }
    }

    #[inline]
    pub(super) fn get(&self, id: SessionId) -> Option<V> {
        self.inner.get(&id)
    }

    pub(super) fn insert(&self, id: SessionId, value: V) {
        self.inner.insert(id, value);
    }

    pub(super) fn remove(&self, id: SessionId) {
        self.inner.remove(&id);
    }

    pub(super) fn len(&self) -> usize {
        self.inner.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.inner.weight()
    }
}

impl<V, W, H> fmt::Debug for Map<V, W, H>
where
    V: Clone,
    W: Weighter<SessionId, V> + Clone,
    H: BuildHasher + Default + Clone,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("len", &self.len()).field("weight", &self.weight()).finish()
    }
}
