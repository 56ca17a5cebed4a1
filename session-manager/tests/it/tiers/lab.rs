//! Nodes with tiers over one store of record: caches that fail when they are told to, a bus that loses messages when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_conformance::reference::MapCache;
use session_core::{
    BusEvent, BusHealth, CacheBody, CacheEntry, CacheHit, Error, ErrorKind, Invalidation, InvalidationBus,
    Result, SessionCache, SessionId, Subscription, async_trait,
};
use session_manager::{Session, SessionManagerBuilder, Tiers, ValidateError};
use session_memory::MemoryStore;
use tokio::sync::broadcast;

use crate::world::World;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A cache that all nodes share. Clones are the same cache.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    name: &'static str,
    map: Arc<MapCache>,
    mood: Arc<Mutex<Mood>>,
    pub(super) gets: Arc<AtomicU64>,
    pub(super) puts: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Fine,
    Down,
    Hangs,
    /// It takes nothing new, and answers questions.
    Full,
}

impl Cache {
    pub(super) fn new(name: &'static str) -> Self {
        let mood = Arc::new(Mutex::new(Mood::Fine));
        Self { name, map: Arc::default(), mood, gets: Arc::default(), puts: Arc::default() }
    }

    pub(super) fn is(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// What it holds, however it feels.
    pub(super) async fn holds(&self, id: SessionId) -> Option<CacheBody> {
        self.map.get(id).await.unwrap().map(|hit| hit.entry.body)
    }

    pub(super) async fn holds_tombstone(&self, id: SessionId) -> bool {
        matches!(self.holds(id).await, Some(CacheBody::Tombstone(_)))
    }

    /// Forgets a session, as a full or a restarted cache does.
    pub(super) async fn forget(&self, id: SessionId) {
        self.map.remove(id).await.unwrap();
    }

    /// Puts something behind the manager's back.
    pub(super) async fn smuggle(&self, entry: CacheEntry, ttl: Duration) {
        assert!(self.map.put_if_newer(entry, ttl).await.unwrap());
    }

    async fn answer(&self, writes: bool) -> Result<()> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Down => Err(Error::unavailable(self.name, "ask")),
            Mood::Full if writes => Err(Error::unavailable(self.name, "put")),
            Mood::Hangs => std::future::pending().await,
            Mood::Fine | Mood::Full => Ok(()),
        }
    }
}

#[async_trait]
impl SessionCache for Cache {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn get(&self, id: SessionId) -> Result<Option<CacheHit>> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.answer(false).await?;
        self.map.get(id).await
    }

    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.answer(true).await?;
        self.map.put_if_newer(entry, ttl).await
    }

    async fn remove(&self, id: SessionId) -> Result<()> {
        self.answer(true).await?;
        self.map.remove(id).await
    }
}

/// Joins the buses of the nodes.
#[derive(Debug, Clone)]
pub(super) struct Hub {
    messages: broadcast::Sender<(u64, BusEvent)>,
    nodes: Arc<AtomicU64>,
    pub(super) deaf: Arc<AtomicBool>,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self { messages: broadcast::channel(1_024).0, nodes: Arc::default(), deaf: Arc::default() }
    }

    pub(super) fn bus(&self) -> Bus {
        Bus { node: self.nodes.fetch_add(1, Ordering::SeqCst), hub: self.clone() }
    }

    /// Tells all nodes that they missed something.
    pub(super) fn resync(&self) {
        self.messages.send((u64::MAX, BusEvent::Resync)).unwrap();
    }
}

#[derive(Debug)]
pub(super) struct Bus {
    node: u64,
    hub: Hub,
}

#[async_trait]
impl InvalidationBus for Bus {
    async fn publish(&self, changes: &[Invalidation]) -> Result<()> {
        if self.hub.deaf.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "hub", "publish"));
        }
        // Nobody may be listening yet.
        let _ = self.hub.messages.send((self.node, BusEvent::Changed(changes.to_vec())));
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        Ok(Box::new(Ear { node: self.node, messages: self.hub.messages.subscribe() }))
    }

    fn health(&self) -> BusHealth {
        match self.hub.deaf.load(Ordering::SeqCst) {
            true => BusHealth::Degraded,
            false => BusHealth::Healthy,
        }
    }
}

#[derive(Debug)]
struct Ear {
    node: u64,
    messages: broadcast::Receiver<(u64, BusEvent)>,
}

#[async_trait]
impl Subscription for Ear {
    async fn next(&mut self) -> BusEvent {
        loop {
            match self.messages.recv().await {
                Ok((node, event)) if node != self.node => return event,
                Ok(_) => {}
                Err(_) => std::future::pending().await,
            }
        }
    }
}

/// A node whose two clocks go together. Needs paused time.
pub(super) struct Node {
    pub(super) world: World,
}

impl Node {
    pub(super) async fn new(tiers: Tiers) -> Self {
        Self::on(Arc::default(), tiers).await
    }

    /// A node over a store of record that others use, too.
    pub(super) async fn on(store: Arc<MemoryStore>, tiers: Tiers) -> Self {
        Self::with(store, |builder| builder.with_tiers(tiers)).await
    }

    pub(super) async fn with(
        store: Arc<MemoryStore>,
        configure: impl FnOnce(SessionManagerBuilder) -> SessionManagerBuilder,
    ) -> Self {
        let node = Self { world: World::on(store, configure) };
        node.world.settle().await;
        node
    }

    pub(super) async fn sign_in(&self) -> (SessionId, String) {
        let created = self.world.sign_in("ann").await;
        self.world.settle().await;
        self.world.faults.reset_calls();
        (created.session.id(), created.token.expose().to_string())
    }

    pub(super) async fn validate(&self, token: &str) -> Result<Session, ValidateError> {
        self.world.validate(token).await
    }

    pub(super) fn loads(&self) -> u64 {
        self.world.faults.calls("load")
    }

    /// Moves both clocks of this node, and that of everything that measures durations.
    pub(super) async fn pass(&self, by: Duration) {
        pass(&[self], by).await;
    }
}

/// Moves the wall clocks of nodes and the clock that all share.
pub(super) async fn pass(nodes: &[&Node], by: Duration) {
    nodes.iter().for_each(|node| node.world.clock.advance(by));
    tokio::time::sleep(by).await;
}
