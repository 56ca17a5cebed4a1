//! What kind of run it is: how many nodes, what they are set to, and what goes wrong.

use std::time::Duration;

use session_core::OnExceed;

use crate::world::ms;

/// What kind of run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Nothing fails, no client leaves.
    Calm,
    /// Every cache and the bus are down all the time; the store is well.
    WithoutCaches,
    /// Everything fails now and then.
    Wild,
    /// The first cache is down all the time, and nothing else fails: the second must know
    /// everything.
    OnlySecond,
    /// Nodes lose caches and find them again. Caches keep what they hold.
    Recovering,
    /// Another program ends sessions in the store and notifies no node, and the clocks disagree.
    Silent,
    /// The answers of the store to one node are slow, and everything changes meanwhile.
    SlowReads,
    /// A node that is ahead of its time sweeps what others take for live; nothing fails.
    Sweeping,
    /// Caches start again from old snapshots, all the time.
    Forgetful,
    /// The store is away for longer than copies may be used.
    Outage,
    /// Passwords change and users are disabled, deleted and registered again, at one node and
    /// unknown to the others.
    Directory,
    /// Pairs of tokens are refreshed, by their owners, by thieves, and from where a rule denies it.
    Refreshing,
    /// Two tenants share the caches and the bus.
    Tenants,
    /// Sign-ins evict sessions while replies of the store are lost.
    Evicting,
    /// Sign-ins replace sessions while other clients save into these.
    SigningIn,
    /// Secrets are replaced, and presented long after, while replies of the store are lost.
    Rotating,
    /// Wall clocks jump by minutes while nodes sweep.
    Jumping,
}

impl Profile {
    fn of(seed: u64, rng: &mut fastrand::Rng) -> Self {
        // Even and odd seeds belong to different tests.
        match seed / 2 % 19 {
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
            11 if (seed / 38).is_multiple_of(2) => Self::Sweeping,
            11 => Self::Outage,
            12 => Self::Directory,
            13 => Self::Refreshing,
            14 => Self::Tenants,
            15 => Self::Evicting,
            16 => Self::SigningIn,
            17 => Self::Rotating,
            _ => Self::Jumping,
        }
    }

    /// Whether few sessions are used quickly, for one purpose.
    pub(crate) const fn is_focused(self) -> bool {
        !matches!(self, Self::Calm | Self::WithoutCaches | Self::Wild)
    }

    /// Whether it is about two features that meet.
    pub(crate) const fn is_crossing(self) -> bool {
        matches!(
            self,
            Self::Directory
                | Self::Refreshing
                | Self::Tenants
                | Self::Evicting
                | Self::SigningIn
                | Self::Rotating
                | Self::Jumping
        )
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
    pub(crate) exceed: OnExceed,
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
    /// How many stores of record there are. A node works for one of them.
    pub(crate) tenants: usize,
    /// How long a node remembers what the directory answered; no directory if none.
    pub(crate) directory_lag: Option<Duration>,
    /// Whether a rule denies requests from outside.
    pub(crate) denies: bool,
    /// Whether the ends that nodes report are counted.
    pub(crate) reports: bool,
    /// Whether things break in a run about a crossing.
    pub(crate) trouble: bool,
}

impl Plan {
    pub(crate) fn of(seed: u64, rng: &mut fastrand::Rng) -> Self {
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
            exceed: OnExceed::EndOldest,
            tenants: 1,
            directory_lag: None,
            denies: false,
            reports: false,
            trouble: false,
        };
        match profile {
            _ if profile.is_crossing() => plan.crossing(rng),
            _ if profile.is_focused() => plan.focused(rng),
            _ => plan,
        }
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
            _ => plan,
        }
    }

    /// What makes two features meet often.
    fn crossing(self, rng: &mut fastrand::Rng) -> Self {
        let plan = Self {
            limit: None,
            rotation: None,
            clocks_jump: false,
            offsets: vec![0; self.nodes().min(3)],
            skew: ms(4_000),
            deadline: ms(*choose(rng, &[600, 1_000])),
            grace: ms(500),
            trouble: rng.u32(..3) > 0,
            length: ms(rng.u64(1_300..2_500)),
            ..self
        };
        match plan.profile {
            Profile::Directory => {
                let directory_lag = Some(ms(*choose(rng, &[0, 200, 500, 1_200])));
                Self { directory_lag, ..plan }
            }
            Profile::Refreshing => Self { denies: true, length: ms(rng.u64(1_800..3_000)), ..plan },
            Profile::Tenants => {
                let (caches, bus) = (rng.usize(1..=2), rng.u32(..4) > 0);
                let limit = Some(rng.u32(2..=3));
                Self {
                    caches,
                    bus,
                    limit,
                    tenants: 2,
                    offsets: vec![0; 4],
                    clients: 1,
                    reports: true,
                    ..plan
                }
            }
            Profile::Evicting => {
                let exceed = *choose(rng, &[OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen]);
                Self { limit: Some(rng.u32(1..=3)), exceed, clients: 2, reports: true, ..plan }
            }
            Profile::SigningIn => Self { clients: 2, ..plan },
            // An unconfirmed replacement is taken back soon.
            Profile::Rotating => {
                let (rotation, length) = (Some(ms(1_000)), ms(rng.u64(2_500..4_000)));
                Self { rotation, length, skew: ms(0), deadline: ms(600), trouble: true, ..plan }
            }
            Profile::Jumping => Self {
                clocks_jump: true,
                skew: ms(90_000),
                deadline: ms(600),
                touch_interval: ms(60_000),
                trouble: false,
                ..plan
            },
            _ => plan,
        }
    }

    /// Which tenant a node works for.
    pub(crate) fn tenant(&self, node: usize) -> usize {
        node % self.tenants
    }

    pub(crate) fn nodes(&self) -> usize {
        self.offsets.len()
    }
}

pub(crate) fn choose<'a, T>(rng: &mut fastrand::Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}
