//! The compared caches.

use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::fast::FixedState;
use lru::LruCache;
use moka::policy::EvictionPolicy;
use parking_lot::{Mutex, RwLock};
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{OptionsBuilder, Weighter};
use session_conformance::fixtures;
use session_core::{CacheEntry, SessionCache, SessionId, Timestamp};
use session_memory::MokaCache;

use crate::sessions::{Copy, WEIGHT, weight};

/// The name of the floor, which evicts nothing.
pub(crate) const FLOOR: &str = "64 RwLock<HashMap>";

/// The name of the exact LRU.
pub(crate) const LRU: &str = "lru, one lock";

const SHARDS: usize = 64;

/// A map of copies that may evict entries. The loops are methods, so that they are compiled for
/// each candidate.
pub(crate) trait Candidate: Send + Sync {
    /// Gets a copy, and returns true if it is present.
    fn get(&self, id: SessionId) -> bool;

    /// Puts a copy.
    fn put(&self, id: SessionId, copy: Copy);

    /// Removes a copy, if the candidate does not evict by itself.
    fn make_room(&self, _id: SessionId) {}

    /// Gets copies one after the other.
    fn get_each(&self, ids: &[SessionId]) {
        for id in ids {
            black_box(self.get(*id));
        }
    }

    /// Puts copies one after the other.
    fn put_each(&self, copies: &[(SessionId, Copy)]) {
        for (id, copy) in copies {
            self.put(*id, Arc::clone(copy));
        }
    }

    /// Puts one copy under new ids. A candidate that does not evict removes the old ids.
    fn turn_over(&self, new: &[SessionId], old: &[SessionId], copy: &Copy) {
        for (new, old) in new.iter().zip(old) {
            self.put(*new, Arc::clone(copy));
            self.make_room(*old);
        }
    }

    /// Runs pending maintenance.
    fn settle(&self) {}
}

/// A kind of candidate.
pub(crate) struct Kind {
    /// The name in the report.
    pub(crate) name: &'static str,
    /// The bound that the candidate enforces.
    pub(crate) bound: Bound,
    /// Creates a candidate with a capacity in bytes.
    pub(crate) of_bytes: fn(u64) -> Box<dyn Candidate>,
}

/// The quantity that a candidate bounds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Nothing,
    Number,
    Weight,
    /// The weight, with the candidate's own weigher.
    OwnWeight,
}

/// All kinds.
pub(crate) const KINDS: &[Kind] = &[
    Kind { name: FLOOR, bound: Bound::Nothing, of_bytes: |_| Box::new(Sharded::default()) },
    Kind { name: "quick_cache", bound: Bound::Weight, of_bytes: |bytes| quick(bytes, 0.97) },
    Kind { name: "quick_cache, hot 50 %", bound: Bound::Weight, of_bytes: |bytes| quick(bytes, 0.5) },
    Kind { name: "moka", bound: Bound::Weight, of_bytes: |bytes| moka(bytes, EvictionPolicy::tiny_lfu()) },
    Kind { name: "moka, LRU", bound: Bound::Weight, of_bytes: |bytes| moka(bytes, EvictionPolicy::lru()) },
    Kind {
        name: "lru, 64 locks",
        bound: Bound::Number,
        of_bytes: |bytes| Box::new(Locked::new(bytes, SHARDS)),
    },
    Kind { name: LRU, bound: Bound::Number, of_bytes: |bytes| Box::new(Locked::new(bytes, 1)) },
    Kind { name: "dyn MokaCache", bound: Bound::OwnWeight, of_bytes: |bytes| Box::new(Tier::new(bytes)) },
];

/// Returns the kinds that evict entries under the measured loads.
pub(crate) fn evicting() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| matches!(kind.bound, Bound::Number | Bound::Weight))
}

fn entries(bytes: u64) -> usize {
    usize::try_from(bytes / WEIGHT).expect("a 64-bit machine")
}

struct Sharded {
    shards: [RwLock<HashMap<SessionId, Copy, FixedState>>; SHARDS],
}

impl Default for Sharded {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()) }
    }
}

fn shard(id: SessionId) -> usize {
    usize::from(id.as_bytes()[12]) % SHARDS
}

impl Candidate for Sharded {
    fn get(&self, id: SessionId) -> bool {
        black_box(self.shards[shard(id)].read().get(&id).cloned()).is_some()
    }

    fn put(&self, id: SessionId, copy: Copy) {
        self.shards[shard(id)].write().insert(id, copy);
    }

    fn make_room(&self, id: SessionId) {
        self.shards[shard(id)].write().remove(&id);
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<SessionId, Copy> for ByWeight {
    fn weight(&self, _: &SessionId, copy: &Copy) -> u64 {
        weight(copy)
    }
}

struct Quick(quick_cache::sync::Cache<SessionId, Copy, ByWeight, FixedState>);

fn quick(bytes: u64, hot: f64) -> Box<dyn Candidate> {
    let options = OptionsBuilder::new()
        .shards(SHARDS)
        .hot_allocation(hot)
        .estimated_items_capacity(entries(bytes))
        .weight_capacity(bytes)
        .build()
        .expect("options");
    let (hasher, lifecycle) = (FixedState::default(), DefaultLifecycle::default());
    Box::new(Quick(quick_cache::sync::Cache::with_options(options, ByWeight, hasher, lifecycle)))
}

impl Candidate for Quick {
    fn get(&self, id: SessionId) -> bool {
        black_box(self.0.get(&id)).is_some()
    }

    fn put(&self, id: SessionId, copy: Copy) {
        self.0.insert(id, copy);
    }
}

struct Moka(moka::sync::Cache<SessionId, Copy, FixedState>);

fn moka(bytes: u64, policy: EvictionPolicy) -> Box<dyn Candidate> {
    let builder = moka::sync::Cache::builder()
        .max_capacity(bytes)
        .eviction_policy(policy)
        .weigher(|_, copy: &Copy| u32::try_from(weight(copy)).expect("less than 4 GiB"));
    Box::new(Moka(builder.build_with_hasher(FixedState::default())))
}

impl Candidate for Moka {
    fn get(&self, id: SessionId) -> bool {
        black_box(self.0.get(&id)).is_some()
    }

    fn put(&self, id: SessionId, copy: Copy) {
        self.0.insert(id, copy);
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

struct Locked(Vec<Mutex<LruCache<SessionId, Copy, FixedState>>>);

impl Locked {
    fn new(bytes: u64, shards: usize) -> Self {
        let each = NonZeroUsize::new(entries(bytes) / shards).unwrap_or(NonZeroUsize::MIN);
        Self((0..shards).map(|_| Mutex::new(LruCache::with_hasher(each, FixedState::default()))).collect())
    }

    fn of(&self, id: SessionId) -> &Mutex<LruCache<SessionId, Copy, FixedState>> {
        &self.0[shard(id) % self.0.len()]
    }
}

impl Candidate for Locked {
    fn get(&self, id: SessionId) -> bool {
        black_box(self.of(id).lock().get(&id).cloned()).is_some()
    }

    fn put(&self, id: SessionId, copy: Copy) {
        self.of(id).lock().put(id, copy);
    }
}

/// A cache tier behind the trait, which allocates a future on the heap for every request.
struct Tier {
    cache: Box<dyn SessionCache>,
    /// The read time of the next copy, so that each copy is newer than the present one.
    reads: AtomicI64,
}

impl Tier {
    fn new(bytes: u64) -> Self {
        // The entries of the tier weigh more, and it must have room for as many as the others.
        Self { cache: Box::new(MokaCache::new(bytes * 3 / 2)), reads: AtomicI64::new(0) }
    }
}

fn at_once<T>(answer: impl Future<Output = session_core::Result<T>>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.expect("an answer"),
        Poll::Pending => panic!("a cache in this process must not wait"),
    }
}

impl Candidate for Tier {
    fn get(&self, id: SessionId) -> bool {
        black_box(at_once(self.cache.get(fixtures::SCOPE, id))).is_some()
    }

    fn put(&self, id: SessionId, copy: Copy) {
        let read = Timestamp::from_millis(self.reads.fetch_add(1, Ordering::Relaxed));
        let mut entry = CacheEntry::of(fixtures::SCOPE, copy, read);
        entry.id = id;
        at_once(self.cache.put_if_newer(entry, Duration::from_secs(3_600)));
    }
}
