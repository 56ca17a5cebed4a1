//! The cache on moka: its conformance suite, its bound, and its consistency between threads.
#![allow(clippy::expect_used, reason = "tests")]

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use session_conformance::fixtures::{NOW, SCOPE, anonymous, at, record};
use session_core::{
    Actor, CacheBody, CacheEntry, EndReason, Ended, Revision, SessionCache, SessionId, SessionRecord,
    SystemRandom,
};
use session_memory::MokaCache;

mod conformance {
    session_conformance::session_cache_suite!(moka_cache, || async { session_memory::MokaCache::default() });
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Polls once: a cache in this process never waits.
fn now<T>(answer: impl Future<Output = session_core::Result<T>>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(answer).poll(&mut context) {
        Poll::Ready(answer) => answer.expect("an answer"),
        Poll::Pending => panic!("the cache waits for something"),
    }
}

fn put(cache: &MokaCache, entry: CacheEntry) -> bool {
    now(cache.put_if_newer(entry, HOUR))
}

fn get(cache: &MokaCache, id: SessionId) -> Option<CacheEntry> {
    now(cache.get(SCOPE, id)).map(|hit| hit.entry)
}

fn remove(cache: &MokaCache, id: SessionId) {
    now(cache.remove(SCOPE, id));
}

fn revision(number: u64) -> Revision {
    Revision::new(number).expect("a revision")
}

fn live(record: &SessionRecord, number: u64) -> CacheEntry {
    let mut record = record.clone();
    record.revision = revision(number);
    CacheEntry::of(SCOPE, record.into(), at(number))
}

fn tombstone(record: &SessionRecord) -> CacheEntry {
    let ended = Ended::new(EndReason::LoggedOut, at(1), Actor::System);
    CacheEntry::of(SCOPE, record.clone().into_ended(ended).into(), at(1))
}

/// Returns entries of distinct sessions, whose sizes repeat in a cycle of seven.
fn distinct_entries(count: usize) -> impl Iterator<Item = CacheEntry> {
    let records: Vec<_> = (0..7)
        .map(|size| {
            let mut record = anonymous();
            record.data = vec![0; size * 500].into();
            record
        })
        .collect();
    (0..count).map(move |number| {
        let mut record = records[number % 7].clone();
        record.id = SessionId::mint(NOW, None, &SystemRandom).expect("an id");
        CacheEntry::of(SCOPE, record.into(), NOW)
    })
}

#[test]
fn weight_never_exceeds_the_capacity() {
    let capacity = 4 << 20;
    let cache = MokaCache::new(capacity);
    for entry in distinct_entries(100_000) {
        assert!(put(&cache, entry));
        assert!(cache.weight() <= capacity, "{cache:?}");
    }
    assert!(cache.weight() > capacity * 9 / 10, "the capacity is not used: {cache:?}");
    assert!((900..5_000).contains(&cache.len()), "{cache:?}");
}

#[test]
fn evicted_records_are_freed() {
    let cache = MokaCache::new(1 << 20);
    let records: Vec<_> = distinct_entries(20_000)
        .map(|entry| {
            let CacheBody::Record(record) = &entry.body else { panic!("a live session") };
            let record = Arc::downgrade(record);
            put(&cache, entry);
            record
        })
        .collect();
    let alive = records.iter().filter(|record| record.strong_count() > 0).count() as u64;
    // moka frees memory in batches.
    assert!(alive <= cache.len() + 128, "{alive} are alive, {cache:?}");
}

#[test]
fn weight_never_exceeds_the_capacity_for_long_under_threads() {
    let capacity = 4 << 20;
    let cache = MokaCache::new(capacity);
    let heaviest = 8 << 10;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for entry in distinct_entries(25_000) {
                    put(&cache, entry);
                    // Other threads may be putting entries.
                    assert!(cache.weight() <= capacity + 4 * heaviest, "{cache:?}");
                }
            });
        }
    });
    assert!(cache.weight() <= capacity, "{cache:?}");
}

#[test]
fn replacing_an_entry_changes_its_weight() {
    let cache = MokaCache::default();
    let small = record("ann");
    let mut large = small.clone();
    large.data = vec![0; 10_000].into();
    assert!(put(&cache, live(&small, 1)));
    let before = cache.weight();
    assert!(put(&cache, live(&large, 2)));
    assert_eq!(cache.weight(), before + 10_000);
    assert!(put(&cache, tombstone(&large)));
    assert!(cache.weight() < before);
    assert_eq!(cache.len(), 1);
}

#[test]
fn an_entry_that_is_too_large_is_not_kept_and_evicts_nothing() {
    let cache = MokaCache::new(16 << 10);
    let small = record("ann");
    let mut large = record("bob");
    large.data = vec![0; 60_000].into();
    assert!(put(&cache, live(&small, 1)));
    put(&cache, live(&large, 1));
    assert!(get(&cache, large.id).is_none());
    assert!(get(&cache, small.id).is_some(), "{cache:?}");
}

#[test]
fn a_tombstone_put_into_a_full_cache_stays() {
    let cache = MokaCache::new(1 << 20);
    let ended = record("ann");
    let popular: Vec<_> = distinct_entries(2_000).collect();
    for entry in &popular {
        put(&cache, entry.clone());
    }
    for entry in popular.iter().cycle().take(20_000) {
        get(&cache, entry.id);
    }
    assert!(put(&cache, tombstone(&ended)));
    for entry in distinct_entries(100) {
        put(&cache, entry);
    }
    assert!(!put(&cache, live(&ended, 9)), "the slower read does not replace it");
}

#[test]
fn expired_entries_are_removed() {
    let cache = MokaCache::default();
    for entry in distinct_entries(1_000) {
        assert!(now(cache.put_if_newer(entry, Duration::from_millis(1))));
    }
    // moka looks for expired entries about once a second. This waits for that and not for a fixed
    // time.
    while cache.len() > 100 {
        thread::sleep(Duration::from_millis(50));
        put(&cache, live(&record("ann"), 1));
    }
}

#[test]
fn a_race_of_puts_and_an_end_never_goes_back() {
    for _ in 0..50 {
        let cache = MokaCache::default();
        let session = record("ann");
        let start = Barrier::new(6);
        thread::scope(|scope| {
            for first in 1..=4 {
                let (cache, session, start) = (&cache, &session, &start);
                scope.spawn(move || {
                    start.wait();
                    for number in (first..=400).step_by(4) {
                        put(cache, live(session, number));
                    }
                });
            }
            scope.spawn(|| {
                start.wait();
                while get(&cache, session.id).is_none_or(|seen| seen.revision < revision(200)) {}
                assert!(put(&cache, tombstone(&session)), "a tombstone replaces every record");
            });
            start.wait();
            let mut last = None;
            while last.as_ref().is_none_or(|last: &CacheEntry| !last.is_tombstone()) {
                let seen = get(&cache, session.id);
                assert!(last.is_none() || seen.is_some(), "it vanished from a cache with room");
                let order = |entry: &CacheEntry| (entry.is_tombstone(), entry.revision);
                assert!(last.as_ref().map(order) <= seen.as_ref().map(order), "{last:?}, and then {seen:?}");
                last = seen;
            }
        });
        assert!(get(&cache, session.id).is_some_and(|left| left.is_tombstone()));
    }
}

#[test]
fn a_race_with_removals_stores_an_entry_at_most_once_for_each() {
    let cache = MokaCache::default();
    let session = record("ann");
    let start = Barrier::new(4);
    let (stored, removals) = (AtomicU64::new(0), 20_000);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..20_000 {
                    stored.fetch_add(put(&cache, live(&session, 1)).into(), Ordering::Relaxed);
                }
            });
        }
        start.wait();
        for _ in 0..removals {
            remove(&cache, session.id);
        }
    });
    let stored = stored.into_inner();
    assert!((1..=removals + 1).contains(&stored), "stored {stored} times");
    remove(&cache, session.id);
    assert!(cache.is_empty(), "{cache:?}");
}

#[test]
fn a_race_for_little_capacity_keeps_the_bound() {
    let capacity = 64 << 10;
    let cache = MokaCache::new(capacity);
    let sessions: Vec<_> = distinct_entries(200).collect();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, sessions) = (&cache, &sessions);
            scope.spawn(move || {
                for number in 0..20_000 {
                    let session = &sessions[(number * 31 + thread * 57) % sessions.len()];
                    match number % 7 {
                        0 => remove(cache, session.id),
                        1..=3 => drop(put(cache, session.clone())),
                        _ => {
                            let seen = get(cache, session.id);
                            assert!(seen.is_none_or(|seen| seen == *session), "another session's entry");
                        }
                    }
                }
            });
        }
    });
    assert!(cache.weight() <= capacity, "{cache:?}");
}

#[test]
fn debug_shows_the_usage_and_no_entry() {
    let cache = MokaCache::new(1 << 20);
    assert!(put(&cache, live(&record("ann"), 1)));
    let shown = format!("{cache:?}");
    assert!(shown.contains("1048576") && shown.contains("len: 1"), "{shown}");
    assert!(!shown.contains("ann"), "{shown}");
}
