//! Bounded maps. Which entries stay when a map is full is the library's choice; it never holds more than its bound.

use std::fmt;
use std::time::Instant;

use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, UnitWeighter, Weighter};
use session_core::{Ended, Revision, SessionId};

use super::protocol::Held;
use crate::weight::weight_of;

/// The most shards of a map. A shard must have room for the largest record.
const SHARDS: u64 = 64;
const SHARD_BYTES: u64 = 1024 * 1024;

/// What is known of a session besides a copy.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    /// It ended.
    Ended(Ended),
    /// Whatever is older than this revision is out of date.
    OutdatedBelow(Revision),
}

/// A map with a bound.
pub(super) struct Map<V, W = UnitWeighter>
where
    V: Clone,
    W: Weighter<SessionId, V> + Clone,
{
    inner: Cache<SessionId, V, W>,
}

pub(super) type Copies = Map<Held, ByWeight>;
pub(super) type Marks = Map<Mark>;
pub(super) type Unknowns = Map<Instant>;

/// Copies count by their size in memory.
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
            ByWeight,
        )
    }
}

impl<V: Clone> Map<V> {
    pub(super) fn of_entries(entries: u32) -> Self {
        let shards = u64::from(entries / 1024);
        Self::bounded(entries as usize, u64::from(entries), shards, UnitWeighter)
    }
}

impl<V: Clone, W: Weighter<SessionId, V> + Clone> Map<V, W> {
    fn bounded(estimated: usize, capacity: u64, shards: u64, weighter: W) -> Self {
        let shards = usize::try_from(shards.clamp(1, SHARDS)).unwrap_or(1);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(estimated)
            .weight_capacity(capacity)
            .build();
        let inner = match options {
            Ok(options) => Cache::with_options(options, weighter, Default::default(), Default::default()),
            Err(_) => Cache::with_weighter(estimated, capacity, weighter),
        };
        Self { inner }
    }

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

impl<V: Clone, W: Weighter<SessionId, V> + Clone> fmt::Debug for Map<V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("len", &self.len()).field("weight", &self.weight()).finish()
    }
}
