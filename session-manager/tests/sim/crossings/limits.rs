//! Sign-ins that evict sessions, and the ends that nodes report, while replies of the store are
//! lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use session_core::{EndReason, Event as Reports, EventKind, EventSink, SessionId};
use session_manager::SessionManagerBuilder;

use crate::checker::Checker;
use crate::history::{Answer, Call, Violation};
use crate::net::Process;
use crate::store::{Author, Store};
use crate::workload::Client;
use crate::world::{Sim, Time, ms};

/// How late a write may be carried out so that its process still learns of it. A process looks for
/// half a minute after it gave up. A write that is carried out later, by a store that was stopped,
/// is a known gap: its session stays, and what it evicted is not reported.
const LOOKED_FOR: Time = ms(20_000);

/// The same for an end of a user's sessions. A retry that was answered is the last look: what the
/// first attempt ends after that, because a sign-in was carried out late too, is a known gap. The
/// session ends, and its end is not reported.
const RETRIED_FOR: Time = ms(190);

/// The sessions whose end a process reported, in that order.
type Ends = Arc<Mutex<Vec<SessionId>>>;

/// What each process reported.
#[derive(Debug, Default)]
pub(crate) struct Reported(Mutex<BTreeMap<(usize, u32), Ends>>);

#[derive(Debug)]
struct Sink(Ends);

impl EventSink for Sink {
    fn emit(&self, event: &Reports) {
        if let (EventKind::Ended(_), Some(id)) = (&event.kind, event.session) {
            self.0.lock().push(id);
        }
    }
}

pub(crate) fn configure(
    builder: SessionManagerBuilder,
    sim: &Arc<Sim>,
    process: &Arc<Process>,
) -> SessionManagerBuilder {
    if !sim.plan.reports {
        return builder;
    }
    let mut reported = sim.reported.0.lock();
    builder.with_event_sink(Sink(Arc::clone(reported.entry((process.node, process.life)).or_default())))
}

/// Waits until the sinks, which have threads of their own, took what was reported.
pub(crate) async fn collect(sim: &Arc<Sim>) {
    if !sim.plan.reports {
        return;
    }
    let nodes = sim.nodes.lock().clone();
    tokio::time::resume();
    for node in nodes {
        node.running().manager.shutdown().await;
    }
}

pub(crate) async fn step(client: &Client) {
    let number = client.sim.draw(|rng| rng.u32(..100));
    let Some(known) = client.hot() else { return client.create().await };
    match number {
        0..=29 => client.create().await,
        30..=34 => client.ensure().await,
        35..=39 => client.logout(&known).await,
        40..=44 => client.revoke(&known).await,
        45..=47 => client.revoke_others(&known).await,
        48..=49 => client.revoke_all(&known).await,
        50..=54 => client.sweep().await,
        55..=59 => client.save(&known).await,
        _ => drop(client.open(Call::Validate, &known).await),
    }
}

/// `exact-limit`: at no moment has a user more live sessions than the limit. Called after each
/// write.
pub(crate) fn check(sim: &Sim, store: &Store) {
    let plan = &sim.plan;
    // Nodes whose clocks differ do not agree about what is live.
    let Some(limit) =
        plan.limit.filter(|_| !plan.clocks_jump && plan.offsets.iter().all(|offset| *offset == 0))
    else {
        return;
    };
    let (truth, wall) = (store.truth.lock(), sim.wall());
    let mut live: BTreeMap<_, u32> = BTreeMap::new();
    for record in truth.values().filter_map(|states| Some(&states.last()?.1)) {
        if let Some(user) = record.user_id.as_ref().filter(|_| record.is_live(wall)) {
            let count = live.entry(user).or_default();
            *count += 1;
            if *count > limit {
                sim.violated(
                    "exact-limit",
                    record.id,
                    format!("{user} has {count} live sessions of {limit}"),
                );
            }
        }
    }
}

impl Checker<'_> {
    fn found(&mut self, invariant: &'static str, id: SessionId, what: String) {
        let at = self.ended_at(id).unwrap_or_else(|| self.sim.now());
        self.found.push(Violation { invariant, session: Some(id), at, what });
    }

    /// Whether a sweep of a process failed after it had ended a session.
    fn is_lost(&self, process: (usize, u32), id: SessionId) -> bool {
        self.events.iter().any(|event| {
            (event.call, event.node, event.life) == (Call::Sweep, process.0, process.1)
                && event.answer != Answer::Done
                && self.ended_at(id).is_some_and(|at| at >= event.start)
        })
    }

    /// `one-end-event`: the process that ended a session reports it, if it lives, and no process
    /// reports an end twice, or one that never was.
    pub(crate) fn ends_are_reported_once(&mut self) {
        if !self.sim.plan.reports {
            return;
        }
        let nodes = self.sim.nodes.lock().clone();
        let reported: BTreeMap<_, _> = self
            .sim
            .reported
            .0
            .lock()
            .iter()
            .map(|(process, ends)| (*process, ends.lock().clone()))
            .collect();
        let of_us = |process: &(usize, u32)| self.sim.plan.tenant(process.0) == self.store.tenant;
        for (process, ends) in reported.iter().filter(|(process, _)| of_us(process)) {
            let mut once = BTreeSet::new();
            for id in ends {
                if !once.insert(id) {
                    self.found("one-end-event", *id, format!("{process:?} reported the end twice"));
                }
                if self.ended_at(*id).is_none() {
                    self.found("one-end-event", *id, format!("{process:?} reported an end that never was"));
                }
            }
        }
        let ended_by = self.store.ended_by.lock().clone();
        for (id, Author { process, late }) in ended_by {
            let lives = nodes[process.0].running().life == process.1;
            let reason = self.states(id).last().and_then(|(_, record)| Some(record.ended()?.reason));
            // A known gap: no process looks for what a sweep ended whose reply was lost.
            let is_swept = matches!(reason, Some(EndReason::IdleTimeout | EndReason::AbsoluteTimeout));
            if reason == Some(EndReason::LimitEvicted) {
                self.sim.count("session evicted");
            }
            if is_swept && self.is_lost(process, id) {
                self.sim.count("sweep whose reply was lost");
                continue;
            }
            let looked_for = if reason == Some(EndReason::LimitEvicted) { LOOKED_FOR } else { RETRIED_FOR };
            if lives && late <= looked_for && !reported.get(&process).is_some_and(|ends| ends.contains(&id)) {
                self.found("one-end-event", id, format!("{process:?} ended it and reported nothing"));
            }
        }
        for event in self.events.iter().filter(|event| event.call == Call::Create) {
            let until = event.end + self.sim.plan.deadline;
            let states = self.truth.values().filter_map(|states| states.first());
            let stored = states.filter(|(at, _)| (event.start..=until).contains(at)).count();
            if matches!(event.answer, Answer::Failed(_)) && stored > 0 {
                self.sim.count("sign-in whose reply was lost");
            }
        }
    }

    /// `failed-sign-ins-leave-nothing`: a session whose token no client received is ended, if its
    /// process lives.
    pub(crate) fn failed_sign_ins_leave_nothing(&mut self) {
        if !self.sim.plan.profile.is_crossing() {
            return;
        }
        let nodes = self.sim.nodes.lock().clone();
        let handed: BTreeSet<_> = self.events.iter().filter_map(|event| event.session).collect();
        let created_by = self.store.created_by.lock().clone();
        for (id, Author { process, late }) in created_by.into_iter().filter(|(id, _)| !handed.contains(id)) {
            let (Some((created, _)), Some((_, last))) = (self.states(id).first(), self.states(id).last())
            else {
                continue;
            };
            // A sign-in whose caller went away is carried out all the same.
            let abandoned = self.events.iter().any(|event| {
                (event.node, event.life) == process
                    && matches!(event.answer, Answer::Dropped)
                    && (event.start..=event.end + self.sim.plan.deadline + ms(500)).contains(created)
            });
            let lives = nodes[process.0].running().life == process.1;
            if late > LOOKED_FOR {
                self.sim.count("sign-in carried out after it was given up");
                continue;
            }
            if lives && !abandoned && last.ended().is_none() {
                self.found(
                    "failed-sign-ins-leave-nothing",
                    id,
                    format!(
                        "{process:?} created it at {created:?}, {late:?} late, and no client has its token"
                    ),
                );
            }
        }
    }
}
