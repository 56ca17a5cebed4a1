//! Shared caches: exact on top of the contract, and everything that may go wrong below it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{CacheEntry, CacheHit, Result, Scope, SessionCache, SessionId, async_trait};

use crate::net::{Process, Server};
use crate::world::{Sim, Time};

#[derive(Debug, Clone)]
struct Slot {
    entry: CacheEntry,
    until: Time,
}

/// What a cache keeps apart: a session, and whose it is.
type Key = (SessionId, Scope);

type Slots = BTreeMap<Key, Slot>;

#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) server: Arc<Server>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: Slots,
    snapshot: Slots,
    /// Since when it holds the tombstone of a session without a break.
    buried: BTreeMap<Key, Time>,
    /// How much later than it was sent a record of a session was stored at the most.
    late: BTreeMap<SessionId, Duration>,
    /// When it last lost something, so that older records could take its place.
    lost: Option<Time>,
}

impl State {
    fn forget_expired(&mut self, now: Time) {
        self.slots.retain(|_, slot| slot.until > now);
        let slots = &self.slots;
        self.buried.retain(|id, _| slots.contains_key(id));
    }

    fn put(&mut self, entry: CacheEntry, ttl: Duration, now: Time) -> bool {
        self.forget_expired(now);
        let key = (entry.id, entry.scope);
        let known = self.slots.get(&key);
        if ttl.is_zero() || known.is_some_and(|slot| !entry.replaces(&slot.entry)) {
            return false;
        }
        if entry.is_tombstone() {
            self.buried.insert(key, now);
        }
        self.slots.insert(key, Slot { entry, until: now + ttl });
        true
    }
}

impl Cache {
    pub(crate) fn new(name: &'static str, nodes: usize) -> Arc<Self> {
        Arc::new(Self { server: Server::new(name, nodes), state: Mutex::default() })
    }

    pub(crate) fn buried_since(&self, scope: Scope, id: SessionId, now: Time) -> Option<Time> {
        let mut state = self.state.lock();
        state.forget_expired(now);
        state.buried.get(&(id, scope)).copied()
    }

    /// The longest way of a session's record to this cache.
    pub(crate) fn latest_put(&self, id: SessionId) -> Duration {
        self.state.lock().late.get(&id).copied().unwrap_or_default()
    }

    /// The active record that it has, by its revision.
    pub(crate) fn holds_active(&self, scope: Scope, id: SessionId, now: Time) -> Option<u64> {
        let state = self.state.lock();
        let slot =
            state.slots.get(&(id, scope)).filter(|slot| slot.until > now && !slot.entry.is_tombstone())?;
        Some(slot.entry.revision.get())
    }

    /// Whether it lost entries since then.
    pub(crate) fn has_lost(&self, since: Time) -> bool {
        self.state.lock().lost.is_some_and(|at| at >= since)
    }

    pub(crate) fn clear(&self, now: Time) {
        let mut state = self.state.lock();
        state.lost = Some(now);
        state.slots.clear();
        state.buried.clear();
    }

    pub(crate) fn take_snapshot(&self) {
        let mut state = self.state.lock();
        state.snapshot = state.slots.clone();
    }

    /// Starts again from the snapshot. What was stored since is lost, and what was replaced is
    /// back. Returns how many ends it forgot.
    pub(crate) fn restore(&self, now: Time) -> usize {
        let mut state = self.state.lock();
        let before = state.buried.len();
        state.lost = Some(now);
        state.slots = state.snapshot.clone();
        let State { slots, buried, .. } = &mut *state;
        buried.retain(|id, _| slots.get(id).is_some_and(|slot| slot.entry.is_tombstone()));
        state.forget_expired(now);
        before - state.buried.len()
    }

    /// Forgets some entries. Returns how many of them were tombstones.
    pub(crate) fn evict(&self, sim: &Sim) -> usize {
        let mut state = self.state.lock();
        let before = state.buried.len();
        state.lost = Some(sim.now());
        state.slots.retain(|_, _| !sim.chance(50));
        state.forget_expired(sim.now());
        before - state.buried.len()
    }
}

/// The way from one process to a cache.
pub(crate) struct CacheLink {
    pub(crate) sim: Arc<Sim>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) process: Arc<Process>,
}

impl fmt::Debug for CacheLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLink").field("cache", &self.cache.server.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionCache for CacheLink {
    fn name(&self) -> &'static str {
        self.cache.server.name
    }

    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>> {
        let (sim, cache) = (Arc::clone(&self.sim), Arc::clone(&self.cache));
        let look = move |_| {
            let mut state = cache.state.lock();
            state.forget_expired(sim.now());
            let slot = state.slots.get(&(id, scope));
            Ok(slot.map(|slot| CacheHit::new(slot.entry.clone(), slot.until - sim.now())))
        };
        self.cache.server.call(&self.sim, &self.process, "get", look).await
    }

    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
        let (sim, cache) = (Arc::clone(&self.sim), Arc::clone(&self.cache));
        let ends = entry.is_tombstone();
        let put = move |late: Duration| {
            let mut state = cache.state.lock();
            if !ends {
                let latest = state.late.entry(entry.id).or_default();
                *latest = late.max(*latest);
            }
            if late > Duration::from_millis(200) {
                sim.count("late write of a cache");
            }
            Ok(state.put(entry, ttl, sim.now()))
        };
        let put = self.cache.server.call(&self.sim, &self.process, "put", put).await;
        if ends && put.is_err() {
            self.sim.count("tombstone not confirmed");
        }
        put
    }

    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
        let cache = Arc::clone(&self.cache);
        let remove = move |_| {
            let mut state = cache.state.lock();
            state.slots.remove(&(id, scope));
            state.buried.remove(&(id, scope));
            Ok(())
        };
        self.cache.server.call(&self.sim, &self.process, "remove", remove).await
    }
}
