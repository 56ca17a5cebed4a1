//! Many runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use metrics::with_local_recorder;
use session_core::Successor;

use crate::history::{Answer, Call, Event, Report, Violation};
use crate::node::Node;
use crate::workload::Client;
use crate::world::{Sim, Time, ms};
use crate::{checker, crossings, faults, metering};

/// How many seeds a test goes through, and how few would prove nothing.
const SEEDS: u64 = 3_000;
const FEWEST: u64 = 1_000;

/// After this much real time a test is content with what it has, if that is enough.
const BUDGET: Duration = Duration::from_secs(45);

/// What must have happened somewhere.
const RARE: &[&str] = &[
    "answer of the first cache",
    "answer of the memory",
    "answer of the second cache",
    "answer of the store",
    "answer within the lag of the directory",
    "cache started again empty",
    "cache started again from a snapshot",
    "clock jump noticed",
    "clock jumped by minutes",
    "clock set",
    "crash",
    "crash between store and spread",
    "credentials changed",
    "dropped while reading",
    "fail-back to the first cache",
    "failover to the second cache",
    "failover to the store",
    "foreign token refused",
    "id of two tenants",
    "inactive",
    "joined flight",
    "late write of a cache",
    "message of another tenant",
    "message of the bus lost",
    "node cut from the bus",
    "outbox in use",
    "outbox overflow",
    "password changed",
    "publish failed",
    "refresh denied",
    "replacement at once",
    "replacement taken back",
    "resync",
    "rotation on the timer",
    "same pair again",
    "save carried over",
    "save carried over beside a sign-in",
    "save refused beside a sign-in",
    "session evicted",
    "sign-in from a session that ended",
    "sign-in refused by the directory",
    "sign-in that failed",
    "sign-in whose reply was lost",
    "invalidated fill",
    "stale_if_error answer",
    "sweep stopped by a jump of the clock",
    "theft noticed",
    "tombstone lost",
    "tombstone not confirmed",
    "user deleted",
    "user disabled or enabled",
    "user gone",
];

/// One run.
pub(crate) fn run(seed: u64, whole: bool) -> Report {
    let recorder = metering::Recorder::default();
    with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let sim = Sim::new(seed);
            let length = sim.plan.length;
            let nodes: Vec<_> = (0..sim.plan.nodes()).map(|number| Node::start(&sim, number)).collect();
            *sim.nodes.lock() = nodes.clone();
            let breaking = tokio::spawn(faults::run(Arc::clone(&sim), length));
            let mut clients = Vec::new();
            for node in &nodes {
                for number in 0..sim.plan.clients {
                    let client = Client { sim: Arc::clone(&sim), node: Arc::clone(node), first: number == 0 };
                    clients.push(tokio::spawn(client.run(length)));
                }
            }
            for client in clients {
                client.await.expect("a client does not panic");
            }
            breaking.await.expect("faults do not panic");
            repair(&sim, &nodes).await;
            crossings::settle(&sim).await;
            checker::check(&sim);
            sim.add("outbox overflow", recorder.count("session_tier_outbox_overflows_total"));
            sim.add("clock jump noticed", recorder.count("session_clock_jumps_total"));
            let report = Report::of(&sim, whole);
            // The nodes hold the world, and the world the nodes.
            sim.nodes.lock().clear();
            report
        })
    })
}

/// Some time after everything works again, all nodes agree with the store.
async fn repair(sim: &Arc<Sim>, nodes: &[Arc<Node>]) {
    // What was broken for a while breaks no more.
    sim.pass(ms(3_000)).await;
    faults::repair_all(sim);
    sim.repaired.store(true, Ordering::SeqCst);
    let until = sim.now() + ms(5_000) + sim.plan.max_stale;
    let sessions = sim.sessions.lock().clone();
    let latest: Vec<_> = sessions.iter().rev().take(5).collect();
    while sim.now() < until {
        for node in nodes {
            let client = Client { sim: Arc::clone(sim), node: Arc::clone(node), first: false };
            if let Some(known) = latest.iter().find(|known| known.tenant == client.tenant()) {
                drop(client.open(Call::Validate, known).await);
            }
        }
        sim.pass(ms(1_700)).await;
    }
    for node in nodes {
        let running = node.running();
        let health = running.manager.health();
        if !health.is_healthy() || health.tiers.iter().any(|tier| tier.outbox > 0) {
            wrong(sim, None, &format!("node {} is not healthy: {health:?}", node.number));
        }
        let tenant = sim.plan.tenant(node.number);
        for known in latest.iter().filter(|known| known.tenant == tenant) {
            let client = Client { sim: Arc::clone(sim), node: Arc::clone(node), first: false };
            drop(client.open(Call::Validate, known).await);
            let event: Event = sim.events.lock().last().expect("it was just watched").clone();
            let Some(stored) = sim.store(node.number).stored(known.id) else {
                wrong(sim, Some(&event), "the store of this tenant never held the session");
                continue;
            };
            let agrees = match event.answer {
                Answer::Live { revision, .. } => {
                    // It may have been rotated by this very call, or noted that a new secret was
                    // presented.
                    stored.ended().is_none() && (revision..=revision + 1).contains(&stored.revision.get())
                }
                Answer::Rejected("ended") => stored.ended().is_some(),
                Answer::Rejected("expired") => stored.ended().is_none() && !stored.is_live(event.wall.1),
                // Its owner lost the token when an answer was lost; the checker judges that.
                Answer::Rejected("wrong secret" | "token expired" | "inactive") => stored.ended().is_none(),
                // What is ended in the background is judged by the rule about the directory.
                Answer::Rejected("credentials changed" | "user gone") => true,
                // A node died while it replaced the secret: for as long as its clock may be off,
                // it is unknown whether it will go on.
                Answer::Unavailable(_) => {
                    let secret = stored.secret.as_ref();
                    secret.and_then(session_core::SecretState::successor) == Some(Successor::Unconfirmed)
                }
                _ => false,
            };
            if !agrees {
                wrong(sim, Some(&event), &format!("the store holds revision {}", stored.revision.get()));
            }
        }
    }
}

fn wrong(sim: &Sim, event: Option<&Event>, what: &str) {
    let what = event.map_or_else(|| what.to_owned(), |event| format!("{event}: {what}"));
    let (invariant, session, at): (_, _, Time) =
        ("self-healing", event.and_then(|event| event.session), sim.now());
    sim.violations.lock().push(Violation { invariant, session, at, what });
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds `first`, `first + 2`, ... so that two tests share them.
fn many(first: u64) {
    let (began, longer) = (Instant::now(), number("SESSION_SIM_SEEDS"));
    let seeds = longer.map_or(SEEDS, |seeds| seeds.div_ceil(2));
    let (mut counts, mut ran, mut events) = (BTreeMap::<_, u64>::new(), 0, 0);
    for seed in (first..).step_by(2).take(usize::try_from(seeds).unwrap()) {
        if longer.is_none() && ran >= FEWEST && began.elapsed() > BUDGET {
            break;
        }
        let report = run(seed, false);
        assert!(
            report.violations.is_empty(),
            "after {ran} seeds, {} violations, the first:\n{}",
            report.violations.len(),
            report.violations[0]
        );
        report.counts.iter().for_each(|(name, times)| *counts.entry(*name).or_default() += times);
        ran += 1;
        events += report.events;
    }
    println!("sim: {ran} seeds, {events} calls in {:?}", began.elapsed());
    counts.iter().for_each(|(name, times)| println!("sim: {times:>8} {name}"));
    let missing: Vec<_> = RARE.iter().filter(|name| !counts.contains_key(**name)).collect();
    assert!(missing.is_empty() || ran < FEWEST, "never happened: {missing:?}");
}

#[test]
fn every_guarantee_holds_in_every_even_run() {
    many(0);
}

#[test]
fn every_guarantee_holds_in_every_odd_run() {
    many(1);
}

#[test]
fn a_run_follows_from_its_seed() {
    for seed in [3, 14, 159, 2_653, 58_979] {
        let (once, again) = (run(seed, true), run(seed, true));
        assert_eq!(once.lines, again.lines, "seed {seed}");
        assert_eq!(once.hash, again.hash);
        assert!(once.events > 50, "seed {seed} has a history");
    }
}

#[test]
fn replay() {
    let Some(seed) = number("SESSION_SIM_SEED") else { return };
    let report = run(seed, true);
    report.lines.iter().for_each(|line| println!("{line}"));
    println!("seed {}, {} calls, history {:016x}", report.seed, report.events, report.hash);
    report.violations.iter().for_each(|violation| println!("{violation}"));
    assert!(report.violations.is_empty(), "{} violations", report.violations.len());
}
