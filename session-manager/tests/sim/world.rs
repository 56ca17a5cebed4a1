//! What one run consists of. Everything in it follows from its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{Clock, Invalidation, SecureRandom, SessionId, SessionRecord, Timestamp};
use tokio::time::Instant;

use crate::bus::Bus;
use crate::cache::Cache;
use crate::history::{Event, Violation};
use crate::node::Node;
use crate::store::Store;

/// True time, since the run began.
pub(crate) type Time = Duration;

/// 2026-01-01 00:00 UTC.
pub(crate) const BEGIN: i64 = 1_767_225_600_000;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What kind of run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Nothing fails, nobody goes away.
    Calm,
    /// Every cache and the bus are down all the time; the store is well.
    WithoutCaches,
    /// Everything fails now and then.
    Wild,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) profile: Profile,
    pub(crate) caches: usize,
    pub(crate) bus: bool,
    pub(crate) memory: bool,
    pub(crate) max_stale: Duration,
    pub(crate) l1_max_age: Duration,
    pub(crate) cache_timeout: Duration,
    pub(crate) deadline: Duration,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) outbox: usize,
    pub(crate) limit: Option<u32>,
    pub(crate) rotation: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) touch_interval: Duration,
    /// How far each node's clock is off, in milliseconds.
    pub(crate) offsets: Vec<i64>,
    pub(crate) clocks_jump: bool,
    pub(crate) clients: usize,
    pub(crate) length: Duration,
}

impl Plan {
    fn of(rng: &mut fastrand::Rng) -> Self {
        let profile = match rng.u32(..100) {
            0..14 => Profile::Calm,
            14..22 => Profile::WithoutCaches,
            _ => Profile::Wild,
        };
        let nodes = rng.usize(2..=4);
        let max_stale = ms(*choose(rng, &[1_000, 1_000, 1_500, 2_000, 3_000]));
        let l1_max_age = max_stale.min(ms(*choose(rng, &[50, 300, 800, 1_500])));
        let width = *choose(rng, &[0, 0, 1_000, 1_900, 40_000]);
        let clock = |rng: &mut fastrand::Rng| if rng.bool() { 0 } else { rng.i64(-width..=width) };
        let stale_if_error = (rng.u32(..3) == 0).then(|| max_stale + ms(rng.u64(500..5_000)));
        Self {
            profile,
            caches: if profile == Profile::WithoutCaches { rng.usize(1..=2) } else { rng.usize(0..=2) },
            bus: rng.u32(..3) > 0,
            memory: rng.u32(..8) > 0,
            max_stale,
            l1_max_age,
            cache_timeout: ms(*choose(rng, &[10, 20, 50])),
            deadline: ms(*choose(rng, &[600, 1_000, 2_000])),
            stale_if_error,
            outbox: *choose(rng, &[1, 2, 4, 100]),
            limit: (rng.u32(..3) == 0).then(|| rng.u32(2..=4)),
            rotation: (rng.u32(..4) == 0).then(|| ms(rng.u64(1_000..3_000))),
            grace: ms(*choose(rng, &[500, 30_000, 300_000])),
            touch_interval: ms(*choose(rng, &[400, 1_000, 60_000])),
            offsets: (0..nodes).map(|_| clock(rng)).collect(),
            clocks_jump: width > 0 && rng.u32(..3) == 0,
            clients: if nodes == 2 { 2 } else { 1 },
            length: ms(rng.u64(1_300..2_900)),
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.offsets.len()
    }
}

pub(crate) fn choose<'a, T>(rng: &mut fastrand::Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}

/// A session as its owner and its administrator know it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) id: SessionId,
    pub(crate) user: usize,
    /// The tokens that its owner was given, the latest last. None for an external session.
    pub(crate) tokens: Vec<String>,
    pub(crate) external: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    start: Instant,
    rng: Mutex<fastrand::Rng>,
    pub(crate) store: Arc<Store>,
    pub(crate) caches: Vec<Arc<Cache>>,
    pub(crate) bus: Bus,
    pub(crate) nodes: Mutex<Vec<Arc<Node>>>,
    pub(crate) sessions: Mutex<Vec<Known>>,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) violations: Mutex<Vec<Violation>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// How long the slowest answer was on its way back.
    slowest_reply: Mutex<Duration>,
    /// How far clocks were off at any time, in milliseconds.
    pub(crate) clock_range: Mutex<(i64, i64)>,
    /// Sessions of which a process knows the end.
    pub(crate) known_ended: Mutex<BTreeSet<(usize, u32, SessionId)>>,
    /// Whether the faults are over.
    pub(crate) healed: AtomicBool,
    /// How often a node asked the store for a session.
    pub(crate) reading: Mutex<BTreeMap<(usize, SessionId), u32>>,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let plan = Plan::of(&mut rng);
        // The manager draws from this one.
        fastrand::seed(rng.u64(..));
        let names = ["first", "second"];
        let caches = names.into_iter().take(plan.caches).map(|name| Cache::new(name, plan.nodes()));
        let range = |most: bool| {
            let all = plan.offsets.iter().copied();
            if most { all.max() } else { all.min() }.unwrap_or_default()
        };
        Arc::new(Self {
            seed,
            start: Instant::now(),
            rng: Mutex::new(rng),
            store: Store::new(plan.nodes()),
            caches: caches.collect(),
            bus: Bus::default(),
            nodes: Mutex::default(),
            sessions: Mutex::default(),
            events: Mutex::default(),
            violations: Mutex::default(),
            counts: Mutex::default(),
            slowest_reply: Mutex::default(),
            clock_range: Mutex::new((range(false), range(true))),
            known_ended: Mutex::default(),
            healed: AtomicBool::new(false),
            reading: Mutex::default(),
            plan,
        })
    }

    pub(crate) fn now(&self) -> Time {
        self.start.elapsed()
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

    pub(crate) fn note_reply(&self, took: Duration) {
        let mut slowest = self.slowest_reply.lock();
        *slowest = took.max(*slowest);
    }

    pub(crate) fn slowest_reply(&self) -> Duration {
        *self.slowest_reply.lock()
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
            self.count("spoiled fill");
        }
    }

    /// What a node hears of ends.
    pub(crate) fn note_heard(&self, node: usize, changes: &[Invalidation]) {
        let life = self.nodes.lock()[node].running().life;
        let ended = changes.iter().filter(|change| change.ended).map(|change| (node, life, change.id));
        self.known_ended.lock().extend(ended);
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
