use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Actor, EndReason, Ended, LastClient, Revision, SessionId, SessionRecord, SystemRandom, Timestamp, Touch,
};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_123);
const MAX_STALE: Duration = Duration::from_secs(30);
const MAX_SKEW: Duration = Duration::from_secs(2);
const MAX_AGE: Duration = Duration::from_secs(5);

struct Bench {
    l1: L1,
    start: Moment,
}

impl Bench {
    fn new() -> Self {
        Self::holding(1024 * 1024)
    }

    fn holding(bytes: u64) -> Self {
        let unknown_for = Duration::from_secs(1);
        let l1 = L1::new(L1Settings {
            bytes,
            max_stale: MAX_STALE,
            max_age: MAX_AGE,
            max_skew: MAX_SKEW,
            unknown_for,
        });
        Self { l1, start: Moment { wall: NOW, mono: Duration::from_secs(1_000) } }
    }

    fn after(&self, seconds: u64) -> Moment {
        let by = Duration::from_secs(seconds);
        Moment { wall: self.start.wall.saturating_add(by), mono: self.start.mono + by }
    }

    fn fill(&self, ticket: &Ticket, record: &Arc<SessionRecord>, authority: Authority) -> Filled {
        let stale_at = self.start.mono + MAX_STALE;
        self.l1.fill(ticket, record, NOW, stale_at, self.start, authority)
    }

    fn read(&self, record: &Arc<SessionRecord>) -> Filled {
        self.fill(&self.l1.ticket(record.id), record, Authority::Store)
    }

    fn revision(&self, id: SessionId) -> Option<u64> {
        match self.l1.get(id, self.start) {
            Lookup::Live(held) => Some(held.record.revision.get()),
            _ => None,
        }
    }
}

fn record(revision: u64) -> Arc<SessionRecord> {
    let id = SessionId::mint(NOW, None, &SystemRandom).unwrap();
    at(&Arc::new(SessionRecord::new(id, NOW, NOW.saturating_add(Duration::from_secs(3_600)))), revision)
}

fn at(record: &Arc<SessionRecord>, revision: u64) -> Arc<SessionRecord> {
    Arc::new(SessionRecord::clone(record).with_revision(Revision::new(revision).unwrap()))
}

fn logged_out() -> Ended {
    Ended::new(EndReason::LoggedOut, NOW, Actor::System)
}

#[test]
fn a_record_that_was_read_is_held() {
    let bench = Bench::new();
    let record = record(3);
    assert!(matches!(bench.l1.get(record.id, bench.start), Lookup::Miss));
    assert!(matches!(bench.read(&record), Filled::Kept(_)));
    assert_eq!(bench.revision(record.id), Some(3));
    assert_eq!(bench.l1.usage().sessions, 1);
}

#[test]
fn a_read_that_an_end_overtook_is_not_kept() {
    let bench = Bench::new();
    let record = record(1);
    let slow = bench.l1.ticket(record.id);
    bench.l1.end(record.id, &logged_out());
    assert!(matches!(bench.fill(&slow, &record, Authority::Store), Filled::Ended(_)));
    assert!(matches!(bench.l1.get(record.id, bench.start), Lookup::Ended(_)));
}

#[test]
fn a_read_that_a_message_overtook_is_not_kept() {
    let bench = Bench::new();
    let record = record(1);
    let slow = bench.l1.ticket(record.id);
    assert!(bench.l1.changed(record.id, Revision::new(2).unwrap(), false));
    assert!(!bench.l1.is_current(&slow));
    assert!(matches!(bench.fill(&slow, &record, Authority::Store), Filled::Overtaken));
    assert_eq!(bench.revision(record.id), None);
}

#[test]
fn after_a_message_only_the_store_may_fill_older_records() {
    let bench = Bench::new();
    let old = record(1);
    bench.l1.changed(old.id, Revision::new(2).unwrap(), true);
    let ticket = bench.l1.ticket(old.id);
    assert!(matches!(bench.fill(&ticket, &old, Authority::Cache), Filled::Outdated));
    assert!(matches!(bench.fill(&ticket, &at(&old, 2), Authority::Cache), Filled::Kept(_)));
    // A forged message is as harmless as a restored backup: the store is trusted.
    let forged = record(1);
    bench.l1.changed(forged.id, Revision::new(1 << 40).unwrap(), true);
    assert!(matches!(bench.read(&forged), Filled::Kept(_)));
}

#[test]
fn a_message_about_a_known_revision_changes_nothing() {
    let bench = Bench::new();
    let record = record(4);
    bench.read(&record);
    assert!(!bench.l1.changed(record.id, Revision::new(4).unwrap(), false));
    assert_eq!(bench.revision(record.id), Some(4));
    assert!(bench.l1.changed(record.id, Revision::new(5).unwrap(), false));
    assert_eq!(bench.revision(record.id), None);
}

#[test]
fn revisions_never_decrease() {
    let bench = Bench::new();
    let old = record(1);
    let (slow, fast) = (bench.l1.ticket(old.id), bench.l1.ticket(old.id));
    bench.fill(&fast, &at(&old, 2), Authority::Store);
    assert!(matches!(bench.fill(&slow, &old, Authority::Store), Filled::Outdated));
    assert_eq!(bench.revision(old.id), Some(2));
}

#[test]
fn a_write_invalidates_slower_reads() {
    let bench = Bench::new();
    let old = record(1);
    let (slow, writing) = (bench.l1.ticket(old.id), bench.l1.ticket(old.id));
    bench.l1.wrote(&writing, &at(&old, 2), NOW, bench.start.mono + MAX_STALE, bench.start);
    assert!(matches!(bench.fill(&slow, &old, Authority::Store), Filled::Overtaken));
    assert_eq!(bench.revision(old.id), Some(2));
}

#[test]
fn a_write_that_a_message_overtook_is_not_kept() {
    let bench = Bench::new();
    let old = record(1);
    let writing = bench.l1.ticket(old.id);
    bench.l1.changed(old.id, Revision::new(3).unwrap(), false);
    bench.l1.wrote(&writing, &at(&old, 2), NOW, bench.start.mono + MAX_STALE, bench.start);
    assert_eq!(bench.revision(old.id), None);
    let reading = bench.l1.ticket(old.id);
    assert!(matches!(bench.fill(&reading, &at(&old, 2), Authority::Cache), Filled::Outdated));
}

#[test]
fn the_reply_to_a_write_does_not_replace_a_later_read() {
    let bench = Bench::new();
    let old = record(1);
    let (writing, reading) = (bench.l1.ticket(old.id), bench.l1.ticket(old.id));
    bench.fill(&reading, &at(&old, 3), Authority::Store);
    bench.l1.wrote(&writing, &at(&old, 2), NOW, bench.start.mono + MAX_STALE, bench.start);
    assert_eq!(bench.revision(old.id), Some(3));
}

#[test]
fn no_older_copy_counts_after_a_read_that_is_not_kept() {
    let bench = Bench::new();
    let old = record(1);
    bench.read(&old);
    let slow = bench.l1.ticket(old.id);
    let writing = bench.l1.ticket(old.id);
    bench.l1.wrote(&writing, &at(&old, 2), NOW, bench.start.mono + MAX_STALE, bench.start);
    assert!(matches!(bench.fill(&slow, &at(&old, 3), Authority::Store), Filled::Overtaken));
    assert_eq!(bench.revision(old.id), None, "its reader saw 3");
    let copying = bench.l1.ticket(old.id);
    assert!(matches!(bench.fill(&copying, &at(&old, 2), Authority::Cache), Filled::Outdated));
}

#[test]
fn copies_count_only_while_they_are_young_on_both_clocks() {
    let bench = Bench::new();
    let record = record(1);
    bench.read(&record);
    let live = |now| matches!(bench.l1.get(record.id, now), Lookup::Live(_));
    assert!(live(bench.after(4)));
    assert!(!live(bench.after(5)), "taken too long ago");
    let suspended = Moment { mono: bench.start.mono, ..bench.after(30) };
    assert!(!live(suspended), "the process's clock stood still");
    let set_back = Moment { wall: NOW.saturating_sub(Duration::from_secs(3)), ..bench.start };
    assert!(!live(set_back), "verified in the future");
    let skewed = Moment { wall: NOW.saturating_sub(Duration::from_secs(2)), ..bench.start };
    assert!(live(skewed));
    assert!(
        bench.l1.last_known(record.id, MAX_STALE, bench.start).is_some(),
        "still held as the last known copy"
    );
}

#[test]
fn copying_inherits_staleness_and_never_renews_it() {
    let bench = Bench::new();
    let record = record(1);
    bench.read(&record);
    let ticket = bench.l1.ticket(record.id);
    let (inherited, later) = (bench.start.mono + Duration::from_secs(20), bench.after(6));
    bench.l1.fill(&ticket, &record, NOW, inherited, later, Authority::Cache);
    assert!(matches!(bench.l1.get(record.id, later), Lookup::Live(_)), "it was confirmed");
    let age = |limit| bench.l1.last_known(record.id, Duration::from_secs(limit), later).is_some();
    assert!(age(7) && !age(6), "the later verification counts: 6 s ago");
}

#[test]
fn a_copy_of_an_old_copy_is_old() {
    let bench = Bench::new();
    let record = record(1);
    let ticket = bench.l1.ticket(record.id);
    let inherited = bench.start.mono + Duration::from_secs(2);
    bench.l1.fill(&ticket, &record, NOW, inherited, bench.start, Authority::Cache);
    assert!(matches!(bench.l1.get(record.id, bench.after(1)), Lookup::Live(_)));
    assert!(matches!(bench.l1.get(record.id, bench.after(2)), Lookup::Miss));
}

#[test]
fn no_copy_from_before_a_resync_counts() {
    let bench = Bench::new();
    let (held, reading) = (record(1), record(1));
    bench.read(&held);
    let ticket = bench.l1.ticket(reading.id);
    bench.l1.end(held.id, &logged_out());
    let other = record(1);
    bench.read(&other);
    bench.l1.resync();
    assert_eq!(bench.revision(other.id), None);
    bench.fill(&ticket, &reading, Authority::Store);
    assert_eq!(bench.revision(reading.id), None, "its read began before");
    bench.read(&reading);
    assert_eq!(bench.revision(reading.id), Some(1));
    assert!(matches!(bench.l1.get(held.id, bench.start), Lookup::Ended(_)), "an end is final");
}

#[test]
fn unknown_ids_are_forgotten_after_a_moment_or_a_creation() {
    let bench = Bench::new();
    let record = record(1);
    let unknown = |now| matches!(bench.l1.get(record.id, now), Lookup::Unknown);
    bench.l1.absent(&bench.l1.ticket(record.id), bench.start);
    assert!(unknown(bench.start) && !unknown(bench.after(1)));
    bench.l1.absent(&bench.l1.ticket(record.id), bench.start);
    let slow = bench.l1.ticket(record.id);
    let creating = bench.l1.ticket(record.id);
    bench.l1.wrote(&creating, &record, NOW, bench.start.mono + MAX_STALE, bench.start);
    assert_eq!(bench.revision(record.id), Some(1));
    bench.l1.absent(&slow, bench.start);
    assert_eq!(bench.revision(record.id), Some(1), "a slower miss does not hide it");
}

#[test]
fn distrust_drops_copies_and_invalidates_slower_reads() {
    let bench = Bench::new();
    let record = record(1);
    bench.read(&record);
    let slow = bench.l1.ticket(record.id);
    bench.l1.distrust(record.id);
    assert!(bench.l1.last_known(record.id, MAX_STALE, bench.start).is_none());
    assert!(matches!(bench.fill(&slow, &record, Authority::Store), Filled::Overtaken));
}

#[test]
fn last_seen_moves_forward_and_survives_an_older_copy() {
    let bench = Bench::new();
    let record = record(1);
    bench.read(&record);
    let seen = NOW.saturating_add(Duration::from_secs(60));
    bench.l1.touched(&Touch::new(record.id, seen, LastClient::default()), seen);
    let last_seen = || bench.l1.last_known(record.id, MAX_STALE, bench.start).unwrap().record.last_seen_at;
    assert_eq!(last_seen(), seen);
    bench.read(&record);
    assert_eq!(last_seen(), seen);
}

#[test]
fn a_touch_that_arrives_after_the_deadline_moves_no_copy() {
    let bench = Bench::new();
    let mut idle = SessionRecord::clone(&record(1));
    idle.idle_timeout = Some(Duration::from_secs(10));
    let idle = Arc::new(idle);
    bench.read(&idle);
    let at = |seconds| NOW.saturating_add(Duration::from_secs(seconds));
    let last_seen = || bench.l1.last_known(idle.id, MAX_STALE, bench.start).unwrap().record.last_seen_at;
    let touch = Touch::new(idle.id, at(4), LastClient::default());
    bench.l1.touched(&touch, at(10));
    assert_eq!(last_seen(), NOW);
    bench.l1.touched(&touch, at(9));
    assert_eq!(last_seen(), at(4));
}

#[test]
fn the_clock_skew_is_a_setting() {
    let live_with = |max_skew, behind| {
        let settings = L1Settings {
            bytes: 1024 * 1024,
            max_stale: MAX_STALE,
            max_age: MAX_AGE,
            max_skew,
            unknown_for: Duration::from_secs(1),
        };
        let bench = Bench { l1: L1::new(settings), ..Bench::new() };
        let record = record(1);
        bench.read(&record);
        let now = Moment { wall: NOW.saturating_sub(behind), ..bench.start };
        bench.l1.copy(record.id, now).is_some() && bench.l1.last_known(record.id, MAX_STALE, now).is_some()
    };
    let millis = Duration::from_millis;
    assert!(live_with(Duration::ZERO, Duration::ZERO) && !live_with(Duration::ZERO, millis(1)));
    assert!(live_with(millis(60_000), millis(60_000)) && !live_with(millis(60_000), millis(60_001)));
}

#[test]
fn without_memory_only_ends_are_remembered() {
    let bench = Bench::holding(0);
    let record = record(1);
    assert!(matches!(bench.read(&record), Filled::Kept(_)));
    assert_eq!(bench.revision(record.id), None);
    bench.l1.end(record.id, &logged_out());
    assert!(matches!(bench.l1.get(record.id, bench.start), Lookup::Ended(_)));
}

#[test]
fn memory_is_bounded() {
    let bench = Bench::holding(1024 * 1024);
    for _ in 0..5_000 {
        let mut record = SessionRecord::clone(&record(1));
        record.data = vec![7; 10_000].into();
        bench.read(&Arc::new(record));
        assert!(bench.l1.usage().bytes <= 1024 * 1024);
    }
    assert!(bench.l1.usage().sessions > 50);
}

#[test]
fn fences_are_removed_with_their_tickets() {
    let bench = Bench::new();
    let tickets: Vec<_> = (0..100).map(|_| bench.l1.ticket(record(1).id)).collect();
    let same = bench.l1.ticket(tickets[0].id());
    drop(tickets);
    assert!(bench.l1.is_current(&same));
    let id = same.id();
    drop(same);
    assert!(!format!("{:?}", bench.l1).contains(&format!("{id:?}")), "a fence outlived its tickets");
}

#[test]
fn the_newest_ends_are_remembered() {
    let bench = Bench::new();
    let ids: Vec<_> = (0..200_000_u128).map(|n| SessionId::derive("test", &n.to_be_bytes(), None)).collect();
    let ended = logged_out();
    ids.iter().for_each(|id| bench.l1.end(*id, &ended));
    let remembered = |ids: &[SessionId]| ids.iter().filter(|id| bench.l1.ended(**id).is_some()).count();
    assert!(remembered(&ids[150_000..]) > 45_000, "{} of the newest 50,000", remembered(&ids[150_000..]));
    assert!(remembered(&ids) <= 65_536 + 64, "{} in all", remembered(&ids));
}

#[test]
fn a_late_miss_does_not_hide_a_session_that_was_seen() {
    let bench = Bench::new();
    let record = record(1);
    let slow = bench.l1.ticket(record.id);
    bench.read(&record);
    bench.l1.absent(&slow, bench.start);
    assert!(matches!(bench.l1.get(record.id, bench.start), Lookup::Miss), "only the next read decides");
}
