//! The network: requests that are late, lost, refused, or carried out without an answer.
//!
//! A request that was sent is a task of its own. Who gives up waiting for the answer does not call
//! it back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::world::{Sim, Time};

/// What happens to requests to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    /// Each way takes up to so long.
    Slow(Duration),
    /// Nothing arrives, and no error is returned.
    Black,
    /// Requests are carried out, answers do not come back.
    Mute,
    /// As `Mute`, but the caller gets an error at once, because the connection broke.
    Broken,
    /// An error at once; nothing happened.
    Refusing,
    /// Requests wait until the server goes on, and are carried out then.
    Paused,
}

/// A server, as the network sees it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    state: Mutex<State>,
    resumed: Notify,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Nodes from which nothing arrives.
    cut: BTreeSet<usize>,
    /// Nodes to which answers are slow.
    slow: BTreeMap<usize, Duration>,
    /// When a request of a node last met trouble.
    trouble: Vec<Time>,
}

/// The process of a node. What it sends after its death does not exist.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) node: usize,
    pub(crate) life: u32,
    pub(crate) dead: CancellationToken,
}

impl Server {
    pub(crate) fn new(name: &'static str, nodes: usize) -> Arc<Self> {
        let trouble = vec![Time::ZERO; nodes];
        let state = State { mode: Mode::Up, cut: BTreeSet::new(), slow: BTreeMap::new(), trouble };
        Arc::new(Self { name, state: Mutex::new(state), resumed: Notify::new() })
    }

    pub(crate) fn set(&self, mode: Mode, now: Time) {
        {
            let mut state = self.state.lock();
            state.mode = mode;
            state.trouble.fill(now);
        }
        self.resumed.notify_waiters();
    }

    pub(crate) fn cut(&self, node: usize, cut: bool, now: Time) {
        let mut state = self.state.lock();
        if cut {
            state.cut.insert(node)
        } else {
            state.cut.remove(&node)
        };
        state.trouble[node] = now;
    }

    /// Makes answers to a node take up to so long.
    pub(crate) fn slow_down(&self, node: usize, most: Duration) {
        let mut state = self.state.lock();
        if most.is_zero() {
            state.slow.remove(&node);
        } else {
            state.slow.insert(node, most);
        }
    }

    fn slowness_for(&self, node: usize) -> Duration {
        self.state.lock().slow.get(&node).copied().unwrap_or_default()
    }

    fn mode_for(&self, node: usize) -> Mode {
        let state = self.state.lock();
        if state.cut.contains(&node) { Mode::Black } else { state.mode }
    }

    fn note_trouble(&self, node: usize, now: Time) {
        self.state.lock().trouble[node] = now;
    }

    /// Whether a request of a node met trouble since then.
    pub(crate) fn troubled(&self, node: usize, since: Time) -> bool {
        let state = self.state.lock();
        let now = state.mode != Mode::Up || state.cut.contains(&node) || state.slow.contains_key(&node);
        now || (state.trouble[node] > Time::ZERO && state.trouble[node] >= since)
    }

    async fn running(&self) {
        loop {
            let resumed = self.resumed.notified();
            if self.state.lock().mode != Mode::Paused {
                return;
            }
            resumed.await;
        }
    }

    /// Sends a request. `apply` is what the server does when it arrives, and receives how late that
    /// is.
    pub(crate) async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        sim: &Arc<Sim>,
        process: &Process,
        what: &'static str,
        apply: impl FnOnce(Duration) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if process.dead.is_cancelled() {
            return std::future::pending().await;
        }
        let (node, mode, sent) = (process.node, self.mode_for(process.node), sim.now());
        let (before, after) = match mode {
            Mode::Slow(most) => (sim.up_to(most), sim.up_to(most)),
            _ => (sim.latency(), sim.latency()),
        };
        let slowness = self.slowness_for(node);
        let after = if slowness.is_zero() { after } else { after + sim.up_to(slowness) };
        if mode != Mode::Up {
            self.note_trouble(node, sent);
        }
        if mode == Mode::Refusing {
            sim.pass(after).await;
            return Err(Error::new(ErrorKind::Unavailable, self.name, what));
        }
        if mode == Mode::Black {
            return std::future::pending().await;
        }
        let (sender, answer) = oneshot::channel();
        let (server, world) = (Arc::clone(self), Arc::clone(sim));
        tokio::spawn(async move {
            world.pass(before).await;
            server.running().await;
            let done = apply(world.now() - sent);
            let executed = world.now();
            match mode {
                Mode::Mute => drop((std::future::pending::<()>().await, sender)),
                Mode::Broken => {
                    world.pass(after).await;
                    let _ = sender.send(Err(Error::new(ErrorKind::Unavailable, server.name, what)));
                }
                _ => {
                    world.pass(after).await;
                    if mode != Mode::Up || executed - sent > Duration::from_millis(50) {
                        server.note_trouble(node, world.now());
                    }
                    world.note_reply(node, executed);
                    let _ = sender.send(done);
                }
            }
        });
        let answer = answer.await.unwrap_or_else(|_| Err(Error::unavailable(self.name, what)));
        // The answer to a process that died meanwhile is lost.
        if process.dead.is_cancelled() { std::future::pending().await } else { answer }
    }
}
