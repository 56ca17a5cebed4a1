//! A node: a manager in a process that can die, with a clock that can be wrong.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use session_core::{Scope, Timestamp};
use session_manager::{ConflictPolicy, SessionManager, Source, Tiers, UserLimit};
use tokio_util::sync::CancellationToken;

use crate::bus::BusLink;
use crate::cache::CacheLink;
use crate::crossings;
use crate::net::Process;
use crate::store::StoreLink;
use crate::world::{NodeClock, Repeatable, Sim, Time};

/// A write that took longer is not checked: the notification of it counts for a shorter time.
pub(crate) const QUICK: Time = crate::world::ms(200);

/// How much longer than one cache may take it takes at most to notify all.
const NOTIFYING: Time = crate::world::ms(10);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) clock: Arc<NodeClock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: Running,
    serving: Source,
    /// When the clock was last set.
    jumped: Option<Time>,
}

/// One life of a node.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) life: u32,
    pub(crate) manager: SessionManager,
    pub(crate) process: Arc<Process>,
}

impl Node {
    pub(crate) fn start(sim: &Arc<Sim>, number: usize) -> Arc<Self> {
        let clock = NodeClock::of(sim, number);
        let running = Running::start(sim, number, 0, &clock);
        let state = State { running, serving: Source::Store, jumped: None };
        Arc::new(Self { number, clock, state: Mutex::new(state) })
    }

    pub(crate) fn running(&self) -> Running {
        self.state.lock().running.clone()
    }

    /// The process dies in the middle of everything, and another one starts.
    pub(crate) fn crash(&self, sim: &Arc<Sim>) {
        let life = {
            let state = self.state.lock();
            state.running.process.dead.cancel();
            state.running.life + 1
        };
        let running = Running::start(sim, self.number, life, &self.clock);
        self.state.lock().running = running;
    }

    pub(crate) fn set_clock(&self, sim: &Sim, offset: i64) {
        self.clock.offset.store(offset, Ordering::SeqCst);
        self.state.lock().jumped = Some(sim.now());
        sim.jumps.note(sim.now(), self.number, offset);
        let range = &mut sim.clock_ranges.lock()[self.number];
        *range = (range.0.min(offset), range.1.max(offset));
    }

    pub(crate) fn wall(&self) -> Timestamp {
        session_core::Clock::now(&*self.clock)
    }

    pub(crate) fn jumped(&self) -> bool {
        self.state.lock().jumped.is_some()
    }

    /// Counts who serves now.
    pub(crate) fn watch(&self, sim: &Sim) {
        let mut state = self.state.lock();
        let health = state.running.manager.health();
        let before = std::mem::replace(&mut state.serving, health.serving);
        match (before, health.serving) {
            (Source::Shared("first"), Source::Shared("second")) => sim.count("failover to the second cache"),
            (Source::Shared("second"), Source::Shared("first")) => sim.count("fail-back to the first cache"),
            (Source::Shared(_), Source::Store) => sim.count("failover to the store"),
            _ => {}
        }
        if health.tiers.iter().any(|tier| tier.outbox > 0) {
            sim.count("outbox in use");
        }
        let serving = health.tiers.iter().map(|tier| tier.healthy);
        let serving: Vec<_> = serving.collect();
        if let Some(scope) = state.running.manager.scope() {
            self.caches_were_notified(sim, state.running.life, scope, &serving);
        }
    }

    /// A cache that may be read here has received everything that was done here.
    fn caches_were_notified(&self, sim: &Sim, life: u32, scope: Scope, serving: &[bool]) {
        let now = sim.now();
        let mut learnt = sim.learnt.lock();
        let Some(learnt) = learnt.get_mut(&(self.number, life)) else { return };
        learnt.retain(|_, (_, at)| now - *at + QUICK < sim.plan.max_stale);
        let notifying = sim.plan.cache_timeout + NOTIFYING;
        for (id, (revision, at)) in learnt.iter().filter(|(_, (_, at))| now > *at + notifying) {
            for (cache, serves) in sim.caches.iter().zip(serving) {
                let older = cache.holds_active(scope, *id, now).filter(|held| held < revision);
                if let (true, Some(held), false) = (*serves, older, cache.has_lost(*at)) {
                    let what = format!(
                        "node {} reads the {} cache, which holds revision {held}, and wrote {revision} at {} ms",
                        self.number,
                        cache.server.name,
                        at.as_millis()
                    );
                    sim.violated("notified before it is read", *id, what);
                }
            }
        }
    }
}

impl Running {
    fn start(sim: &Arc<Sim>, node: usize, life: u32, clock: &Arc<NodeClock>) -> Self {
        let plan = &sim.plan;
        let process = Arc::new(Process { node, life, dead: CancellationToken::new() });
        let mut tiers =
            if plan.memory { Tiers::memory().with_memory_bytes(1024 * 1024) } else { Tiers::none() }
                .with_scope("simulation")
                .with_max_stale(plan.max_stale)
                .with_l1_max_age(plan.l1_max_age)
                .with_cache_timeout(plan.cache_timeout)
                .with_stale_if_error(plan.stale_if_error)
                .with_outbox_capacity(plan.outbox);
        for cache in &sim.caches {
            let (sim, cache, process) = (Arc::clone(sim), Arc::clone(cache), Arc::clone(&process));
            tiers = tiers.with_cache(CacheLink { sim, cache, process });
        }
        if plan.bus {
            tiers = tiers.with_bus(BusLink { sim: Arc::clone(sim), process: Arc::clone(&process) });
        }
        let store = StoreLink { sim: Arc::clone(sim), process: Arc::clone(&process) };
        let limit = plan.limit.and_then(NonZeroU32::new).map(|max| UserLimit::new(max, plan.exceed));
        let random = Repeatable(Mutex::new(sim.draw(fastrand::Rng::fork)));
        let builder = crossings::configure(SessionManager::builder(store), sim, &process);
        let manager = builder
            .with_tiers(tiers)
            .with_clock(Arc::clone(clock))
            .with_random(random)
            .with_store_deadline(plan.deadline)
            .with_concurrent_loads(NonZeroUsize::MIN.saturating_add(999))
            .with_limit(limit)
            .with_rotation(plan.rotation)
            .with_grace(plan.grace())
            .with_clock_skew(plan.skew)
            .with_touch_interval(plan.touch_interval)
            .with_touch_flush(crate::world::ms(100))
            .with_touch_capacity(100)
            .with_conflict_policy(ConflictPolicy::Mine)
            .with_sweep_interval(None)
            .build()
            .expect("the plan is within all bounds");
        Self { life, manager, process }
    }
}
