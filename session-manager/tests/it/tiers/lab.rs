//! Nodes with tiers over one store of record: caches that fail on demand, a bus that
//! loses messages on demand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_conformance::reference::MapCache;
use session_core::{
    BusEvent, BusHealth, CacheBody, CacheEntry, CacheHit, Error, ErrorKind, Invalidation, InvalidationBus,
    Result, Scope, SessionCache, SessionId, SessionStore, Subscription, async_trait,
};
use session_manager::{Session, SessionManagerBuilder, Tiers, ValidateError};
use session_memory::MemoryStore;
use tokio::sync::broadcast;

use crate::world::World;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What the nodes' deployment is called.
pub(crate) const DEPLOYMENT: &str = "test";

/// A cache that all nodes share. Clones are the same cache.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    name: &'static str,
    map: Arc<MapCache>,
    mood: Arc<Mutex<Mood>>,
    /// Whose sessions it was given.
    scopes: Arc<Mutex<BTreeSet<Scope>>>,
    pub(crate) gets: Arc<AtomicU64>,
    pub(crate) puts: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Fine,
    Down,
    Hangs,
    /// It takes nothing new, and answers questions.
    Full,
    /// Every call takes that long.
    Slow(Duration),
}

impl Cache {
    pub(crate) fn new(name: &'static str) -> Self {
        let mood = Arc::new(Mutex::new(Mood::Fine));
        Self {
            name,
            map: Arc::default(),
            mood,
            scopes: Arc::default(),
            gets: Arc::default(),
            puts: Arc::default(),
        }
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    pub(crate) fn takes(&self, by: Duration) {
        self.is(Mood::Slow(by));
    }

    /// What it holds, however it feels.
    pub(crate) async fn holds(&self, id: SessionId) -> Option<CacheBody> {
        for scope in self.scopes() {
            if let Some(hit) = self.map.get(scope, id).await.unwrap() {
                return Some(hit.entry.body);
            }
        }
        None
    }

    fn scopes(&self) -> BTreeSet<Scope> {
        self.scopes.lock().clone()
    }

    pub(crate) async fn holds_tombstone(&self, id: SessionId) -> bool {
        matches!(self.holds(id).await, Some(CacheBody::Tombstone(_)))
    }

    /// Forgets a session, as a full or a restarted cache does.
    pub(crate) async fn forget(&self, id: SessionId) {
        for scope in self.scopes() {
            self.map.remove(scope, id).await.unwrap();
        }
    }

    /// Puts something behind the manager's back.
    pub(crate) async fn smuggle(&self, entry: CacheEntry, ttl: Duration) {
        self.scopes.lock().insert(entry.scope);
        assert!(self.map.put_if_newer(entry, ttl).await.unwrap());
    }

    async fn answer(&self, writes: bool) -> Result<()> {
        let mood = *self.mood.lock();
        match mood {
            Mood::Down => Err(Error::unavailable(self.name, "ask")),
            Mood::Full if writes => Err(Error::unavailable(self.name, "put")),
            Mood::Hangs => std::future::pending().await,
            Mood::Slow(by) => {
                tokio::time::sleep(by).await;
                Ok(())
            }
            Mood::Fine | Mood::Full => Ok(()),
        }
    }
}

#[async_trait]
impl SessionCache for Cache {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.answer(false).await?;
        self.map.get(scope, id).await
    }

    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.scopes.lock().insert(entry.scope);
        self.answer(true).await?;
        self.map.put_if_newer(entry, ttl).await
    }

    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
        self.answer(true).await?;
        self.map.remove(scope, id).await
    }
}

/// Joins the buses of the nodes.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    messages: broadcast::Sender<(u64, BusEvent)>,
    nodes: Arc<AtomicU64>,
    pub(crate) silenced: Arc<AtomicBool>,
    hanging: Arc<AtomicBool>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            messages: broadcast::channel(1_024).0,
            nodes: Arc::default(),
            silenced: Arc::default(),
            hanging: Arc::default(),
        }
    }

    pub(crate) fn bus(&self) -> Bus {
        Bus { node: self.nodes.fetch_add(1, Ordering::SeqCst), hub: self.clone() }
    }

    /// Whether it takes messages and never answers.
    pub(crate) fn hangs(&self, hangs: bool) {
        self.hanging.store(hangs, Ordering::SeqCst);
    }

    /// Notifies all nodes that they missed something.
    pub(crate) fn resync(&self) {
        self.messages.send((u64::MAX, BusEvent::Resync)).unwrap();
    }
}

#[derive(Debug)]
pub(crate) struct Bus {
    node: u64,
    hub: Hub,
}

#[async_trait]
impl InvalidationBus for Bus {
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()> {
        if self.hub.hanging.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.hub.silenced.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "hub", "publish"));
        }
        // There may be no subscriber yet.
        let _ = self.hub.messages.send((self.node, BusEvent::Changed(scope, changes.to_vec())));
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        Ok(Box::new(Ear { node: self.node, messages: self.hub.messages.subscribe() }))
    }

    fn health(&self) -> BusHealth {
        match self.hub.silenced.load(Ordering::SeqCst) {
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
pub(crate) struct Node {
    pub(crate) world: World,
}

impl Node {
    pub(crate) async fn new(tiers: Tiers) -> Self {
        Self::on(Arc::default(), tiers).await
    }

    /// A node over a store of record that others use, too.
    pub(crate) async fn on(store: Arc<MemoryStore>, tiers: Tiers) -> Self {
        Self::with(store, |builder| builder.with_tiers(tiers.with_scope(DEPLOYMENT))).await
    }

    pub(crate) async fn with(
        store: Arc<MemoryStore>,
        configure: impl FnOnce(SessionManagerBuilder) -> SessionManagerBuilder,
    ) -> Self {
        let node = Self { world: World::on(store, configure) };
        node.world.settle().await;
        node
    }

    pub(crate) async fn sign_in(&self) -> (SessionId, String) {
        let created = self.world.sign_in("ann").await;
        self.world.settle().await;
        self.world.faults.reset_calls();
        (created.session.id(), created.token.expose().to_string())
    }

    pub(crate) async fn validate(&self, token: &str) -> Result<Session, ValidateError> {
        self.world.validate(token).await
    }

    /// Whose sessions the node works on.
    pub(crate) fn scope(&self) -> Scope {
        Scope::of_store(DEPLOYMENT, &self.world.store.capabilities()).unwrap()
    }

    pub(crate) fn loads(&self) -> u64 {
        self.world.faults.calls("load")
    }

    /// Moves both clocks of this node, and that of everything that measures durations.
    pub(crate) async fn pass(&self, by: Duration) {
        pass(&[self], by).await;
    }
}

/// Moves the wall clocks of nodes and the clock that all share.
pub(crate) async fn pass(nodes: &[&Node], by: Duration) {
    nodes.iter().for_each(|node| node.world.clock.advance(by));
    tokio::time::sleep(by).await;
}
