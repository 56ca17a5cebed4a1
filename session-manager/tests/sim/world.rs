//! What one run consists of. Everything in it follows from its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{Clock, Invalidation, SecureRandom, SessionId, SessionRecord, Timestamp};
use tokio::time::Instant;

use crate::bus::Bus;
use crate::cache::Cache;
use crate::crossings::clocks::Jumps;
use crate::crossings::directory::Users;
use crate::crossings::limits::Reported;
use crate::crossings::refresh::Successors;
use crate::history::{Event, Violation};
use crate::node::Node;
use crate::plan::Plan;
use crate::store::Store;

/// True time, since the run began.
pub(crate) type Time = Duration;

/// 2026-01-01 00:00 UTC.
pub(crate) const BEGIN: i64 = 1_767_225_600_000;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A session as its owner and its administrator know it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) id: SessionId,
    pub(crate) user: usize,
    pub(crate) tenant: usize,
    /// The tokens that its owner was given, the latest last. None for an external session.
    pub(crate) tokens: Vec<String>,
    /// The refresh tokens that its owner was given, the latest last.
    pub(crate) refresh: Vec<String>,
    pub(crate) external: Option<u32>,
}

/// Revisions that a process wrote, and when it got the answer.
pub(crate) type Learnt = BTreeMap<SessionId, (u64, Time)>;

/// A message that reached a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceivedChange {
    pub(crate) at: Time,
    pub(crate) revision: u64,
    pub(crate) ended: bool,
}

/// From this moment on a process must not use an older copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forgot {
    pub(crate) node: usize,
    pub(crate) life: u32,
    /// All of them, if none.
    pub(crate) id: Option<SessionId>,
    pub(crate) at: Time,
    pub(crate) wall: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    start: Instant,
    rng: Mutex<fastrand::Rng>,
    /// One for each tenant.
    pub(crate) stores: Vec<Arc<Store>>,
    pub(crate) users: Users,
    pub(crate) reported: Reported,
    pub(crate) pairs: Successors,
    pub(crate) jumps: Jumps,
    pub(crate) caches: Vec<Arc<Cache>>,
    pub(crate) bus: Bus,
    pub(crate) nodes: Mutex<Vec<Arc<Node>>>,
    pub(crate) sessions: Mutex<Vec<Known>>,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) violations: Mutex<Vec<Violation>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// When answers to each node were given, and when they arrived.
    replies: Mutex<Vec<Vec<(Time, Time)>>>,
    /// How far each node's clock was off at any time, in milliseconds.
    pub(crate) clock_ranges: Mutex<Vec<(i64, i64)>>,
    /// The messages that each process received: when, which revision, and whether that is the end.
    pub(crate) received: Mutex<BTreeMap<(usize, u32, SessionId), Vec<ReceivedChange>>>,
    /// The store's answers to each process's own writes: the revision, and when.
    pub(crate) learnt: Mutex<BTreeMap<(usize, u32), Learnt>>,
    /// When processes had to forget what they held.
    pub(crate) forgot: Mutex<Vec<Forgot>>,
    /// Sessions of which a process knows the end.
    pub(crate) known_ended: Mutex<BTreeSet<(usize, u32, SessionId)>>,
    /// Whether the faults are over.
    pub(crate) repaired: AtomicBool,
    /// How often a node asked the store for a session.
    pub(crate) reading: Mutex<BTreeMap<(usize, SessionId), u32>>,
    /// How many keys were saved that no other call writes.
    keys: AtomicU32,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let plan = Plan::of(seed, &mut rng);
        // The manager draws from this one.
        fastrand::seed(rng.u64(..));
        let names = ["first", "second"];
        let caches = names.into_iter().take(plan.caches).map(|name| Cache::new(name, plan.nodes()));
        Arc::new(Self {
            seed,
            start: Instant::now(),
            rng: Mutex::new(rng),
            stores: (0..plan.tenants).map(|tenant| Store::new(tenant, plan.nodes())).collect(),
            users: Users::new(plan.nodes()),
            reported: Reported::default(),
            pairs: Successors::default(),
            jumps: Jumps::default(),
            caches: caches.collect(),
            bus: Bus::default(),
            nodes: Mutex::default(),
            sessions: Mutex::default(),
            events: Mutex::default(),
            violations: Mutex::default(),
            counts: Mutex::default(),
            replies: Mutex::new(vec![Vec::new(); plan.nodes()]),
            clock_ranges: Mutex::new(plan.offsets.iter().map(|offset| (*offset, *offset)).collect()),
            received: Mutex::default(),
            learnt: Mutex::default(),
            forgot: Mutex::default(),
            known_ended: Mutex::default(),
            repaired: AtomicBool::new(false),
            reading: Mutex::default(),
            keys: AtomicU32::default(),
            plan,
        })
    }

    pub(crate) fn now(&self) -> Time {
        self.start.elapsed()
    }

    /// The store of record of a node's tenant.
    pub(crate) fn store(&self, node: usize) -> &Arc<Store> {
        &self.stores[self.plan.tenant(node)]
    }

    /// What a clock that is right shows.
    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::from_millis(BEGIN).saturating_add(self.now())
    }

    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.lock())
    }

    pub(crate) fn chance(&self, percent: u32) -> bool {
        percent > 0 && self.draw(|rng| rng.u32(..100) < percent)
    }

    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_millis()).unwrap_or_default();
        ms(self.draw(|rng| rng.u64(0..=most)))
    }

    /// One way over a network that is well.
    pub(crate) fn latency(&self) -> Duration {
        ms(self.draw(|rng| rng.u64(0..4)).saturating_sub(1))
    }

    pub(crate) async fn pass(&self, time: Duration) {
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&self, what: &'static str, times: u64) {
        if times > 0 {
            *self.counts.lock().entry(what).or_default() += times;
        }
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }

    pub(crate) fn note_reply(&self, node: usize, given: Time) {
        self.replies.lock()[node].push((given, self.now()));
    }

    /// How long the slowest answer was on its way back.
    pub(crate) fn slowest_reply(&self) -> Duration {
        let replies = self.replies.lock();
        replies.iter().flatten().map(|(given, arrived)| *arrived - *given).max().unwrap_or_default()
    }

    /// Whether an answer that was given by that time reached a node after the other.
    pub(crate) fn has_old_reply(&self, node: usize, given_by: Time, arrived_after: Time) -> bool {
        let replies = self.replies.lock();
        replies[node].iter().any(|(given, arrived)| *given <= given_by && *arrived >= arrived_after)
    }

    /// The store answered a write: later answers of this process must not be older.
    pub(crate) fn note_learnt(&self, node: usize, life: u32, id: SessionId, revision: u64) {
        let mut learnt = self.learnt.lock();
        let known = learnt.entry((node, life)).or_default().entry(id).or_default();
        if known.0 < revision {
            *known = (revision, self.now());
        }
    }

    pub(crate) fn note_forgot(&self, node: usize, life: u32, id: Option<SessionId>) {
        let wall = self.nodes.lock().get(node).map(|node| node.wall());
        if let Some(wall) = wall {
            self.forgot.lock().push(Forgot { node, life, id, at: self.now(), wall });
        }
    }

    pub(crate) fn violated(&self, invariant: &'static str, id: SessionId, what: impl Into<String>) {
        let (at, what) = (self.now(), what.into());
        self.violations.lock().push(Violation { invariant, session: Some(id), at, what });
    }

    /// An answer of the store that came after its process had learnt better.
    pub(crate) fn note_load(&self, node: usize, life: u32, loaded: &[Arc<SessionRecord>]) {
        let known = self.known_ended.lock();
        let late = |record: &&Arc<SessionRecord>| {
            record.ended().is_none() && known.contains(&(node, life, record.id))
        };
        if loaded.iter().any(|record| late(&record)) {
            self.count("invalidated fill");
        }
    }

    /// What a node receives about ends.
    pub(crate) fn note_received(&self, node: usize, life: u32, changes: &[Invalidation]) {
        let mut received = self.received.lock();
        for change in changes {
            let message =
                ReceivedChange { at: self.now(), revision: change.revision.get(), ended: change.ended };
            received.entry((node, life, change.id)).or_default().push(message);
        }
        let ended = changes.iter().filter(|change| change.ended).map(|change| (node, life, change.id));
        self.known_ended.lock().extend(ended);
    }

    pub(crate) fn next_key(&self) -> u32 {
        self.keys.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn note_question(&self, node: usize, asked: &[SessionId]) {
        let mut reading = self.reading.lock();
        for id in asked {
            *reading.entry((node, *id)).or_default() += 1;
        }
    }

    pub(crate) fn loads_of(&self, node: usize, id: SessionId) -> u32 {
        self.reading.lock().get(&(node, id)).copied().unwrap_or_default()
    }
}

/// A node's clock: true time, and an error.
#[derive(Debug)]
pub(crate) struct NodeClock {
    pub(crate) start: Instant,
    pub(crate) offset: AtomicI64,
}

impl NodeClock {
    pub(crate) fn of(sim: &Sim, node: usize) -> Arc<Self> {
        Arc::new(Self { start: sim.start, offset: AtomicI64::new(sim.plan.offsets[node]) })
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or_default();
        Timestamp::from_millis(BEGIN + passed + self.offset.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A generator that a run can repeat.
#[derive(Debug)]
pub(crate) struct Repeatable(pub(crate) Mutex<fastrand::Rng>);

impl SecureRandom for Repeatable {
    fn fill(&self, buffer: &mut [u8]) -> session_core::Result<()> {
        self.0.lock().fill(buffer);
        Ok(())
    }
}
