//! Wall clocks that jump by minutes, while every node sweeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use session_core::{EndReason, ErrorKind, Lifetime, Timestamp};
use session_manager::NewSession;

use crate::acts::user;
use crate::checker::Checker;
use crate::history::{Answer, Call, Detail, Event, Violation};
use crate::workload::{Ask, Client};
use crate::world::{BEGIN, Sim, Time, ms};

/// When each node's clock was set, and by how many milliseconds it is off since then.
#[derive(Debug, Default)]
pub(crate) struct Jumps(Mutex<Vec<(Time, usize, i64)>>);

impl Jumps {
    pub(crate) fn note(&self, at: Time, node: usize, offset: i64) {
        self.0.lock().push((at, node, offset));
    }

    /// How far a clock was off at a time. None in the millisecond in which it was set.
    fn offset(&self, at: Time, node: usize) -> Option<i64> {
        let jumps = self.0.lock();
        let mut of_node = jumps.iter().filter(|(_, other, _)| *other == node);
        if of_node.clone().any(|(when, ..)| *when == at) {
            return None;
        }
        Some(of_node.rfind(|(when, ..)| *when < at).map_or(0, |(.., offset)| *offset))
    }
}

/// The largest step of a wall clock that a sweep believes, in milliseconds.
const UNNOTICED: u64 = 120_000;

/// A step that every sweep believes, in milliseconds.
const SMALL: i64 = 60_000;

pub(crate) async fn step(client: &Client) {
    let number = client.sim.draw(|rng| rng.u32(..100));
    let Some(known) = client.hot() else { return create(client).await };
    match number {
        0..=9 => create(client).await,
        10..=34 => client.sweep().await,
        35..=42 => client.save(&known).await,
        43..=44 => client.revoke(&known).await,
        45..=54 => drop(client.open(Call::Authoritative, &known).await),
        _ => drop(client.open(Call::Validate, &known).await),
    }
}

/// Begins a session that ends within minutes, or within the run.
async fn create(client: &Client) {
    let (number, idle, whole) = client.sim.draw(|rng| {
        let whole = if rng.u32(..4) == 0 { rng.u64(1_000..2_000) } else { rng.u64(180_000..900_000) };
        (rng.usize(..2), rng.bool(), whole)
    });
    let lifetime = Lifetime::new(idle.then_some(ms(whole.min(180_000))), ms(whole)).expect("within bounds");
    let new = NewSession::for_user(user(number)).with_lifetime(lifetime);
    client.begin(new, number, Ask::new(Call::Create, Detail::None)).await;
}

/// Sets the clocks of nodes until that time: a little, by minutes, and right again.
pub(crate) async fn jump(sim: &Arc<Sim>, until: Time) {
    while sim.now() < until {
        // No call sees two jumps.
        sim.pass(ms(300) + sim.up_to(ms(400))).await;
        let (node, offset) = sim.draw(|rng| {
            let offset = match rng.u32(..10) {
                0..=2 => 0,
                3 => rng.i64(-SMALL..=SMALL),
                4..=7 => rng.i64(200_000..=1_800_000),
                _ => rng.i64(-1_800_000..=-200_000),
            };
            (rng.usize(..sim.plan.nodes()), offset)
        });
        if offset.unsigned_abs() > UNNOTICED {
            sim.count("clock jumped by minutes");
        }
        let node = Arc::clone(&sim.nodes.lock()[node]);
        node.set_clock(sim, offset);
    }
}

impl Checker<'_> {
    /// A wall clock that jumped sweeps nothing, and a request that it refuses changes nothing.
    pub(crate) fn clocks_that_jump_end_no_session(&mut self) {
        if self.sim.plan.profile != crate::plan::Profile::Jumping {
            return;
        }
        let mut sweeps: Vec<&Event> = self.events.iter().filter(|event| event.call == Call::Sweep).collect();
        sweeps.sort_by_key(|event| event.start);
        let mut trusted: BTreeMap<usize, i64> = BTreeMap::new();
        for sweep in sweeps {
            let trusted = trusted.entry(sweep.node).or_default();
            let Some(offset) = self.sim.jumps.offset(sweep.start, sweep.node) else {
                // In the millisecond in which the clock is set, a sweep reads either time.
                continue;
            };
            let is_believed = offset.abs_diff(*trusted) <= UNNOTICED;
            match sweep.answer {
                Answer::Done if is_believed => *trusted = offset,
                Answer::Done => {
                    let what = format!("the clock is off by {offset} ms, and by {trusted} ms was believed");
                    self.wrong("sweeps-believe-no-jump", sweep, what);
                }
                Answer::Failed(ErrorKind::Unavailable) if !is_believed => {
                    self.sim.count("sweep stopped by a jump of the clock");
                }
                Answer::Failed(_) if !sweep.trouble => {
                    self.wrong("sweeps-believe-no-jump", sweep, "the clock did not jump");
                }
                _ => {}
            }
        }
        for (id, states) in self.truth {
            let Some((at, last)) = states.last() else { continue };
            let timeout = |reason| matches!(reason, EndReason::IdleTimeout | EndReason::AbsoluteTimeout);
            if !last.ended().is_some_and(|ended| timeout(ended.reason)) {
                continue;
            }
            let before = states.iter().rev().find(|(_, record)| record.ended().is_none());
            let latest = Timestamp::from_millis(BEGIN + SMALL).saturating_add(*at);
            if before.is_some_and(|(_, record)| record.is_live(latest)) {
                let what = "a sweep ended it before its time".to_owned();
                let (invariant, session) = ("clocks-that-jump-end-no-session", Some(*id));
                self.found.push(Violation { invariant, session, at: *at, what });
            }
        }
    }
}
