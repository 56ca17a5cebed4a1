//! The bus between the nodes: in the order of each sender, and never silent about a loss for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{
    BusEvent, BusHealth, Error, Invalidation, InvalidationBus, Result, Scope, Subscription, async_trait,
};
use tokio::sync::mpsc;

use crate::net::Process;
use crate::world::{Sim, Time};

#[derive(Debug, Default)]
pub(crate) struct Bus {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    listeners: BTreeMap<usize, Listener>,
    /// When the last message of a sender arrives at a receiver.
    arrives: BTreeMap<(usize, usize), Time>,
    /// Nodes that send and receive nothing.
    cut: BTreeSet<usize>,
    missed: BTreeSet<usize>,
    /// How long messages are under way at the most.
    delay: Duration,
    /// In percent.
    loss: u32,
    duplicates: u32,
}

#[derive(Debug)]
struct Listener {
    life: u32,
    sender: mpsc::UnboundedSender<BusEvent>,
}

/// How long a loss stays unnoticed.
const NOTICED_WITHIN: Duration = Duration::from_millis(500);

impl Bus {
    pub(crate) fn disturb(&self, delay: Duration, loss: u32, duplicates: u32) {
        let mut state = self.state.lock();
        (state.delay, state.loss, state.duplicates) = (delay, loss, duplicates);
    }

    pub(crate) fn cut(&self, node: usize) {
        self.state.lock().cut.insert(node);
    }

    /// Connects a node again. What it missed is a resync.
    pub(crate) fn join(&self, sim: &Sim, node: usize) {
        let mut state = self.state.lock();
        state.cut.remove(&node);
        if state.missed.remove(&node) {
            state.resync(sim, node);
        }
    }

    fn send(&self, sim: &Arc<Sim>, from: usize, scope: Scope, changes: &[Invalidation]) {
        let mut state = self.state.lock();
        let listeners: Vec<_> = state.listeners.keys().copied().filter(|node| *node != from).collect();
        for node in listeners {
            if state.cut.contains(&node) || sim.chance(state.loss) {
                sim.count("message of the bus lost");
                state.lose(sim, node);
                continue;
            }
            let soonest =
                state.arrives.get(&(from, node)).map_or(Time::ZERO, |at| *at + Duration::from_millis(1));
            let delay = sim.latency() + sim.up_to(state.delay);
            let at = soonest.max(sim.now() + delay);
            state.arrives.insert((from, node), at);
            let times = if sim.chance(state.duplicates) { 2 } else { 1 };
            let (world, message) = (Arc::clone(sim), BusEvent::Changed(scope, changes.to_vec()));
            tokio::spawn(async move {
                world.pass(at.saturating_sub(world.now())).await;
                let mut state = world.bus.state.lock();
                if state.cut.contains(&node) {
                    state.lose(&world, node);
                } else if let Some(listener) = state.listeners.get(&node) {
                    let is_received = listener.sender.send(message.clone()).is_ok();
                    // What belongs to another tenant is nothing to a node.
                    let is_theirs = world.plan.tenant(node) != world.plan.tenant(from);
                    if let (true, false, BusEvent::Changed(_, changes)) = (is_received, is_theirs, &message) {
                        world.note_received(node, listener.life, changes);
                    } else if is_theirs {
                        world.count("message of another tenant");
                    }
                    (1..times).for_each(|_| drop(listener.sender.send(message.clone())));
                }
            });
        }
    }
}

impl State {
    fn resync(&self, sim: &Sim, node: usize) {
        if let Some(listener) = self.listeners.get(&node) {
            sim.count("resync");
            if listener.sender.send(BusEvent::Resync).is_ok() {
                sim.note_forgot(node, listener.life, None);
            }
        }
    }

    fn lose(&mut self, sim: &Arc<Sim>, node: usize) {
        if self.cut.contains(&node) {
            self.missed.insert(node);
            return;
        }
        let (world, after) = (Arc::clone(sim), sim.up_to(NOTICED_WITHIN));
        tokio::spawn(async move {
            world.pass(after).await;
            let mut state = world.bus.state.lock();
            if state.cut.contains(&node) {
                state.missed.insert(node);
            } else {
                state.resync(&world, node);
            }
        });
    }
}

/// The way from one process to the bus.
pub(crate) struct BusLink {
    pub(crate) sim: Arc<Sim>,
    pub(crate) process: Arc<Process>,
}

impl BusLink {
    fn is_cut(&self) -> bool {
        self.sim.bus.state.lock().cut.contains(&self.process.node)
    }
}

impl fmt::Debug for BusLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusLink").field("process", &self.process).finish_non_exhaustive()
    }
}

#[async_trait]
impl InvalidationBus for BusLink {
    async fn publish(&self, scope: Scope, changes: &[Invalidation]) -> Result<()> {
        if self.process.dead.is_cancelled() {
            return std::future::pending().await;
        }
        self.sim.pass(self.sim.latency()).await;
        if self.is_cut() || self.process.dead.is_cancelled() {
            self.sim.count("publish failed");
            return Err(Error::unavailable("bus", "publish"));
        }
        self.sim.bus.send(&self.sim, self.process.node, scope, changes);
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>> {
        if self.process.dead.is_cancelled() {
            return std::future::pending().await;
        }
        self.sim.pass(self.sim.latency()).await;
        if self.is_cut() {
            return Err(Error::unavailable("bus", "subscribe"));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let listener = Listener { life: self.process.life, sender };
        self.sim.bus.state.lock().listeners.insert(self.process.node, listener);
        Ok(Box::new(Ear { receiver }))
    }

    fn health(&self) -> BusHealth {
        if self.is_cut() { BusHealth::Degraded } else { BusHealth::Healthy }
    }
}

#[derive(Debug)]
struct Ear {
    receiver: mpsc::UnboundedReceiver<BusEvent>,
}

#[async_trait]
impl Subscription for Ear {
    async fn next(&mut self) -> BusEvent {
        match self.receiver.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}
