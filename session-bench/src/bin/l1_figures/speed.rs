//! The time of gets and puts.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use session_core::SessionId;

use crate::candidates::{Candidate, FLOOR, KINDS};
use crate::line::Line;
use crate::sessions::{Copy, WEIGHT, copies, evenly, ids};

/// The number of rounds in which the candidates alternate.
const ROUNDS: usize = 21;
/// The number of operations of a thread in a round.
const OPERATIONS: usize = 50_000;
/// The number of sessions for which the candidates have room.
const SESSIONS: usize = 10_000;

/// A case: its name, and the work of a thread in a round.
struct Case<'a> {
    name: &'static str,
    threads: usize,
    /// The sessions that are put before the measurement.
    filled: &'a [(SessionId, Copy)],
    run: &'a (dyn Fn(&dyn Candidate, usize, usize) + Sync),
}

/// Measures the time of each operation.
pub(crate) fn times() -> Vec<Line> {
    let sessions = copies(&ids(1, SESSIONS));
    let hot = orders(&sessions[..256]);
    let cold = orders(&sessions);
    let puts: Vec<Vec<_>> = (0..2)
        .map(|thread| evenly(30 + thread, SESSIONS, OPERATIONS))
        .map(|order| order.into_iter().map(|place| sessions[place].clone()).collect())
        .collect();
    let unknown = ids(2, OPERATIONS);
    let arriving = ids(3, (ROUNDS + 2) * OPERATIONS);
    let get_hot = |of: &dyn Candidate, thread: usize, _| of.get_each(&hot[thread]);
    let get_cold = |of: &dyn Candidate, thread: usize, _| of.get_each(&cold[thread]);
    let miss = |of: &dyn Candidate, _, _| of.get_each(&unknown);
    let replace = |of: &dyn Candidate, thread: usize, _| of.put_each(&puts[thread]);
    let turn_over = |of: &dyn Candidate, _, round: usize| {
        let new = round * OPERATIONS + SESSIONS;
        let old = new - SESSIONS;
        of.turn_over(&arriving[new..new + OPERATIONS], &arriving[old..old + OPERATIONS], &sessions[0].1);
    };
    let few = &sessions[..256];
    [
        Case { name: "get, 256 hot sessions, 1 thread", threads: 1, filled: few, run: &get_hot },
        Case { name: "get, 256 hot sessions, 2 threads", threads: 2, filled: few, run: &get_hot },
        Case { name: "get, 10,000 sessions, 1 thread", threads: 1, filled: &sessions, run: &get_cold },
        Case { name: "get, 10,000 sessions, 2 threads", threads: 2, filled: &sessions, run: &get_cold },
        Case { name: "get of a missing session, 1 thread", threads: 1, filled: &sessions, run: &miss },
        Case { name: "replace, 10,000 sessions, 1 thread", threads: 1, filled: &sessions, run: &replace },
        Case { name: "replace, 10,000 sessions, 2 threads", threads: 2, filled: &sessions, run: &replace },
        Case { name: "put into a full cache, 1 thread", threads: 1, filled: &sessions, run: &turn_over },
    ]
    .iter()
    .flat_map(measure)
    .collect()
}

fn orders(sessions: &[(SessionId, Copy)]) -> Vec<Vec<SessionId>> {
    let order = |thread: u64| evenly(20 + thread, sessions.len(), OPERATIONS);
    (0..2).map(|thread| order(thread).into_iter().map(|place| sessions[place].0).collect()).collect()
}

fn measure(case: &Case<'_>) -> Vec<Line> {
    eprintln!("{}", case.name);
    // Leaves spare room, because the shards of the candidates do not fill evenly.
    let spare = if case.name.starts_with("put") { 1 } else { 2 };
    let made: Vec<_> = KINDS.iter().map(|kind| (kind.of_bytes)(spare * SESSIONS as u64 * WEIGHT)).collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); made.len()];
    for candidate in &made {
        candidate.put_each(case.filled);
        candidate.settle();
    }
    for round in 0..=ROUNDS {
        for (candidate, times) in made.iter().zip(&mut times) {
            let time = timed(case, candidate.as_ref(), round);
            // The first round warms up.
            if round > 0 {
                times.push(time);
            }
        }
    }
    let figures: Vec<_> =
        KINDS.iter().zip(&mut times).map(|(kind, times)| (kind.name, median(times))).collect();
    let mut lines = Line::beside(FLOOR, case.name, "ns", &figures);
    for (line, times) in lines.iter_mut().zip(&times) {
        let (low, high) = (times[ROUNDS / 4], times[ROUNDS * 3 / 4]);
        line.spread = Some((high - low) / line.value);
    }
    lines
}

/// Returns the nanoseconds per operation of the slowest thread.
fn timed(case: &Case<'_>, candidate: &dyn Candidate, round: usize) -> f64 {
    let start = Barrier::new(case.threads);
    let work = |thread| {
        start.wait();
        let (started, before) = (Instant::now(), cpu_seconds());
        (case.run)(candidate, thread, round);
        // A single thread never waits for another, so the time without a core belongs to other
        // programs, and it grows with the length of the round. Threads that share locks wait for
        // each other, and that time counts.
        if case.threads == 1 { cpu_seconds() - before } else { started.elapsed().as_secs_f64() }
    };
    let slowest = thread::scope(|scope| {
        let others: Vec<_> = (1..case.threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let own = work(0);
        others.into_iter().map(|other| other.join().expect("no panic")).fold(own, f64::max)
    });
    slowest * 1e9 / OPERATIONS as f64
}

/// Returns the CPU time of this thread in seconds.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
