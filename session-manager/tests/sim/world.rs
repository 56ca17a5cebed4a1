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
    /// The first cache is down all the time, and nothing else fails: the second must know everything.
    OnlySecond,
    /// Nodes lose caches and find them again. Caches keep what they hold.
    Recovering,
    /// Sessions are ended in the store by somebody who tells nobody, and the clocks disagree.
    Silent,
    /// The answers of the store to one node are slow, and everything changes meanwhile.
    SlowReads,
    /// A node that is ahead of its time sweeps what others take for live; nothing fails.
    Sweeping,
    /// Caches start again from old snapshots, all the time.
    Forgetful,
    /// The store is away for longer than copies may be used.
    Outage,
}

impl Profile {
    fn of(seed: u64, rng: &mut fastrand::Rng) -> Self {
        // Even and odd seeds belong to different tests.
        match seed / 2 % 12 {
            0..4 => match rng.u32(..100) {
                0..14 => Self::Calm,
                14..22 => Self::WithoutCaches,
                _ => Self::Wild,
            },
            4 => Self::OnlySecond,
            5 | 6 => Self::Recovering,
            7 => Self::Silent,
            8 | 9 => Self::SlowReads,
            10 => Self::Forgetful,
            _ if (seed / 24).is_multiple_of(2) => Self::Sweeping,
            _ => Self::Outage,
        }
    }

    /// Whether few sessions are used quickly, for one purpose.
    pub(crate) const fn is_focused(self) -> bool {
        !matches!(self, Self::Calm | Self::WithoutCaches | Self::Wild)
    }

    /// Whether all nodes and what serves them are well.
    pub(crate) const fn is_quiet(self) -> bool {
        matches!(self, Self::Calm | Self::OnlySecond | Self::Sweeping)
    }
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
    /// By how much the nodes assume that their clocks may differ.
    pub(crate) skew: Duration,
    pub(crate) clients: usize,
    pub(crate) length: Duration,
}

impl Plan {
    fn of(seed: u64, rng: &mut fastrand::Rng) -> Self {
        let profile = Profile::of(seed, rng);
        let nodes = rng.usize(2..=4);
        let max_stale = ms(*choose(rng, &[1_000, 1_000, 1_500, 2_000, 3_000]));
        let l1_max_age = max_stale.min(ms(*choose(rng, &[50, 300, 800, 1_500])));
        let width = *choose(rng, &[0, 0, 1_000, 1_900, 40_000]);
        let clock = |rng: &mut fastrand::Rng| if rng.bool() { 0 } else { rng.i64(-width..=width) };
        let stale_if_error = (rng.u32(..3) == 0).then(|| max_stale + ms(rng.u64(500..5_000)));
        let plan = Self {
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
            skew: ms(if width > 0 { 90_000 } else { 4_000 }),
            clients: if nodes == 2 { 2 } else { 1 },
            length: ms(rng.u64(1_300..2_900)),
        };
        if profile.is_focused() { plan.focused(rng) } else { plan }
    }

    /// The grace of the nodes: at most the interval of their rotation.
    pub(crate) fn grace(&self) -> Duration {
        self.rotation.map_or(self.grace, |rotation| rotation.min(self.grace))
    }

    /// What makes the purpose of the run likely.
    fn focused(self, rng: &mut fastrand::Rng) -> Self {
        let same = vec![0; self.nodes().min(3)];
        let plan = Self {
            limit: None,
            rotation: None,
            clocks_jump: false,
            stale_if_error: None,
            offsets: same,
            touch_interval: ms(*choose(rng, &[400, 1_000, 60_000])),
            max_stale: ms(1_000),
            length: ms(rng.u64(1_000..1_600)),
            ..self
        };
        match plan.profile {
            Profile::OnlySecond => {
                Self { caches: 2, bus: rng.u32(..4) == 0, l1_max_age: ms(rng.u64(20..100)), ..plan }
            }
            Profile::Recovering => {
                let (caches, memory) = (rng.usize(1..=2), rng.bool());
                let l1_max_age = ms(rng.u64(20..100));
                Self { caches, memory, l1_max_age, bus: rng.bool(), max_stale: ms(3_000), ..plan }
            }
            Profile::Silent => {
                let width = *choose(rng, &[0, 0, 700, 1_900]);
                let offsets = plan.offsets.iter().map(|_| rng.i64(-width / 2..=width / 2)).collect();
                let l1_max_age = ms(rng.u64(50..=700));
                let (caches, bus) = (rng.usize(1..=2), rng.bool());
                Self { caches, bus, memory: true, l1_max_age, offsets, length: ms(3_200), ..plan }
            }
            Profile::SlowReads => {
                let l1_max_age = ms(rng.u64(600..=2_000));
                let (bus, memory) = (rng.u32(..4) > 0, rng.u32(..4) > 0);
                let (max_stale, deadline) = (ms(3_000), ms(2_000));
                Self { caches: 0, bus, memory, l1_max_age, max_stale, deadline, clients: 2, ..plan }
            }
            Profile::Sweeping => {
                let offsets = (0..plan.nodes()).map(|node| if node == 0 { rng.i64(900..1_900) } else { 0 });
                let offsets = offsets.collect();
                let (caches, bus) = (rng.usize(0..=2), rng.bool());
                Self { caches, bus, memory: true, l1_max_age: ms(rng.u64(20..200)), offsets, ..plan }
            }
            Profile::Forgetful => {
                let (max_stale, l1_max_age) = (ms(3_000), ms(rng.u64(20..100)));
                Self { caches: rng.usize(1..=2), bus: rng.bool(), max_stale, l1_max_age, ..plan }
            }
            Profile::Outage => {
                let stale_if_error = Some(ms(rng.u64(1_100..1_500)));
                let (caches, deadline) = (rng.usize(0..=1), ms(600));
                let l1_max_age = ms(rng.u64(50..500));
                let length = ms(rng.u64(3_000..3_600));
                Self { caches, deadline, memory: true, stale_if_error, l1_max_age, length, ..plan }
            }
            Profile::Calm | Profile::WithoutCaches | Profile::Wild => plan,
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

/// Revisions that a process wrote, and when it was told so.
pub(crate) type Learnt = BTreeMap<SessionId, (u64, Time)>;

/// A message that reached a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
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
    pub(crate) store: Arc<Store>,
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
    /// What each process was told by others: when, which revision, and whether that is the end.
    pub(crate) heard: Mutex<BTreeMap<(usize, u32, SessionId), Vec<Heard>>>,
    /// What the store told each process of its own writes: the revision, and when.
    pub(crate) learnt: Mutex<BTreeMap<(usize, u32), Learnt>>,
    /// When processes had to forget what they held.
    pub(crate) forgot: Mutex<Vec<Forgot>>,
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
        let plan = Plan::of(seed, &mut rng);
        // The manager draws from this one.
        fastrand::seed(rng.u64(..));
        let names = ["first", "second"];
        let caches = names.into_iter().take(plan.caches).map(|name| Cache::new(name, plan.nodes()));
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
            replies: Mutex::new(vec![Vec::new(); plan.nodes()]),
            clock_ranges: Mutex::new(plan.offsets.iter().map(|offset| (*offset, *offset)).collect()),
            heard: Mutex::default(),
            learnt: Mutex::default(),
            forgot: Mutex::default(),
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

    /// The store answered a write: whoever is asked by this process later must not say less.
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
            self.count("spoiled fill");
        }
    }

    /// What a node hears of ends.
    pub(crate) fn note_heard(&self, node: usize, life: u32, changes: &[Invalidation]) {
        let mut heard = self.heard.lock();
        for change in changes {
            let message = Heard { at: self.now(), revision: change.revision.get(), ended: change.ended };
            heard.entry((node, life, change.id)).or_default().push(message);
        }
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
