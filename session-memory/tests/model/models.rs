//! A store of record that is one number, a process-local cache in front of it, and threads that
//! read and write.

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use loom::thread;
use session_core::{
    Actor, EndReason, Ended, LastClient, Revision, SessionId, SessionRecord, SystemRandom, Timestamp, Touch,
};

use crate::L1;
use crate::protocol::{Authority, L1Settings, Lookup, Moment};
use crate::sync::{AtomicU64, Ordering};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_123);
const MAX_STALE: Duration = Duration::from_secs(30);

/// State of the store: no such session, its revision, or that it ended.
const ABSENT: u64 = 0;
const ENDED: u64 = 99;

const START: Moment = Moment { wall: NOW, mono: Duration::from_secs(1_000) };
static ID: LazyLock<SessionId> = LazyLock::new(|| SessionId::mint(NOW, None, &SystemRandom).unwrap());

struct World {
    l1: L1,
    store: AtomicU64,
}

/// The result of a lookup.
#[derive(Debug, PartialEq)]
enum Seen {
    Ended,
    Live(u64),
    Miss,
    Unknown,
}

fn record(revision: u64) -> Arc<SessionRecord> {
    let record = SessionRecord::new(*ID, NOW, NOW.saturating_add(Duration::from_secs(3_600)));
    Arc::new(record.with_revision(Revision::new(revision).unwrap()))
}

fn logged_out() -> Ended {
    Ended::new(EndReason::LoggedOut, NOW, Actor::System)
}

impl World {
    fn holding(stored: u64) -> Arc<Self> {
        let unknown_for = Duration::from_secs(1);
        let l1 = L1::new(L1Settings {
            bytes: 1024 * 1024,
            max_stale: MAX_STALE,
            max_age: Duration::from_secs(5),
            max_skew: Duration::from_secs(2),
            unknown_for,
        });
        Arc::new(Self { l1, store: AtomicU64::new(stored) })
    }

    fn see(&self) -> Seen {
        match self.l1.get(*ID, START) {
            Lookup::Ended(_) => Seen::Ended,
            Lookup::Live(held) => Seen::Live(held.record.revision.get()),
            Lookup::Miss => Seen::Miss,
            Lookup::Unknown => Seen::Unknown,
        }
    }

    /// Reads the store, and keeps the result.
    fn read(&self) {
        let ticket = self.l1.ticket(*ID);
        match self.store.load(Ordering::SeqCst) {
            ABSENT => self.l1.absent(&ticket, START),
            ENDED => self.l1.end(*ID, &logged_out()),
            revision => {
                let stale_at = START.mono + MAX_STALE;
                self.l1.fill(&ticket, &record(revision), NOW, stale_at, START, Authority::Store);
            }
        }
    }

    /// Copies the record of a shared cache.
    fn copy(&self, revision: u64) {
        let ticket = self.l1.ticket(*ID);
        let stale_at = START.mono + MAX_STALE;
        self.l1.fill(&ticket, &record(revision), NOW, stale_at, START, Authority::Cache);
    }

    /// Writes a revision into the store.
    fn write(&self, revision: u64) {
        let ticket = self.l1.ticket(*ID);
        self.store.store(revision, Ordering::SeqCst);
        self.l1.wrote(&ticket, &record(revision), NOW, START.mono + MAX_STALE, START);
    }

    fn end(&self) {
        self.store.store(ENDED, Ordering::SeqCst);
        self.l1.end(*ID, &logged_out());
    }

    /// Another node writes, and its message arrives.
    fn change_elsewhere(&self, revision: u64) {
        self.store.store(revision, Ordering::SeqCst);
        self.l1.changed(*ID, Revision::new(revision).unwrap(), false);
    }

    fn see_never_older_than(&self, revision: u64) {
        let seen = self.see();
        assert!(!matches!(seen, Seen::Live(older) if older < revision), "{seen:?} after {revision}");
    }
}

type Step = fn(&World);

/// Runs the threads in every order, and checks the final state.
fn check(stored: u64, preemptions: usize, threads: &[Step], after: Step) {
    let threads = threads.to_vec();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let world = World::holding(stored);
        let (first, others) = threads.split_first().unwrap();
        let others: Vec<_> = others
            .iter()
            .copied()
            .map(|step| {
                let world = Arc::clone(&world);
                thread::spawn(move || step(&world))
            })
            .collect();
        first(&world);
        others.into_iter().for_each(|thread| thread.join().unwrap());
        after(&world);
    });
}

fn ended(world: &World) {
    assert_eq!(world.see(), Seen::Ended);
}

fn end(world: &World) {
    world.end();
    ended(world);
}

#[test]
fn a_read_never_brings_back_an_ended_session() {
    check(1, 3, &[World::read, end], ended);
}

#[test]
fn a_copied_copy_never_brings_back_an_ended_session() {
    check(1, 3, &[|world| world.copy(1), end, World::read], ended);
}

#[test]
fn a_read_never_brings_back_a_remotely_replaced_record() {
    let remote: Step = |world| {
        world.change_elsewhere(2);
        world.see_never_older_than(2);
    };
    check(1, 3, &[World::read, remote], |world| world.see_never_older_than(2));
    check(1, 3, &[|world| world.copy(1), remote], |world| world.see_never_older_than(2));
}

#[test]
fn a_read_never_brings_back_a_locally_replaced_record() {
    let write: Step = |world| {
        world.write(2);
        world.see_never_older_than(2);
    };
    check(1, 3, &[World::read, write], |world| world.see_never_older_than(2));
}

#[test]
fn of_two_reads_the_newer_one_stays() {
    let newer: Step = |world| {
        world.store.store(2, Ordering::SeqCst);
        world.read();
        world.see_never_older_than(2);
    };
    check(1, 3, &[World::read, newer], |world| assert_eq!(world.see(), Seen::Live(2)));
}

#[test]
fn of_two_writes_the_newer_one_stays() {
    let remote: Step = |world| world.change_elsewhere(3);
    check(1, 3, &[|world| world.write(2), remote], |world| {
        if world.store.load(Ordering::SeqCst) == 3 {
            world.see_never_older_than(3);
        }
    });
}

#[test]
fn no_read_that_began_before_a_resync_counts_after_it() {
    let resync: Step = |world| {
        // Another node wrote, and its message was lost.
        world.store.store(2, Ordering::SeqCst);
        world.l1.resync();
        world.see_never_older_than(2);
    };
    check(1, 3, &[World::read, resync], |world| world.see_never_older_than(2));
}

#[test]
fn a_session_created_here_is_never_unknown() {
    let create: Step = |world| {
        world.write(1);
        assert_ne!(world.see(), Seen::Unknown);
    };
    check(ABSENT, 3, &[World::read, create, World::read], |world| assert_ne!(world.see(), Seen::Unknown));
}

#[test]
fn a_touch_never_brings_back_an_ended_or_replaced_session() {
    let read_and_touch: Step = |world| {
        world.read();
        let at = NOW.saturating_add(Duration::from_secs(1));
        world.l1.touched(&Touch::new(*ID, at, LastClient::default()), at);
    };
    check(1, 3, &[read_and_touch, end], ended);
    check(1, 3, &[read_and_touch, |world| world.write(2)], |world| world.see_never_older_than(2));
}

#[test]
fn an_unanswered_write_leaves_nothing_that_counts() {
    let lost: Step = |world| {
        world.store.store(2, Ordering::SeqCst);
        world.l1.distrust(*ID);
        world.see_never_older_than(2);
    };
    check(1, 3, &[World::read, lost], |world| world.see_never_older_than(2));
}

/// Looks up several times: the result never goes back to an earlier state.
fn look(world: &World) {
    let mut before = Seen::Miss;
    for _ in 0..3 {
        let now = world.see();
        match (&before, &now) {
            (Seen::Ended, other) => assert_eq!(*other, Seen::Ended),
            (Seen::Live(before), Seen::Live(now)) => assert!(now >= before, "{now} after {before}"),
            (_, Seen::Unknown) => panic!("the session existed from the beginning"),
            _ => {}
        }
        if now != Seen::Miss {
            before = now;
        }
    }
}

#[test]
fn a_concurrent_lookup_never_goes_back() {
    let write_and_end: Step = |world| {
        world.write(2);
        world.end();
    };
    check(1, 2, &[look, World::read, write_and_end], ended);
    check(1, 2, &[look, World::read, |world| world.change_elsewhere(2)], |world| {
        world.see_never_older_than(2);
    });
    check(1, 2, &[look, |world| world.write(2), World::end], ended);
}
