//! Which entry stays, where Lua's numbers end.

use session_conformance::fixtures::{at, full};
use session_core::{CacheEntry, SessionCache, SessionRecord, Timestamp};

use super::lab::{Lab, assert_holds, entry, given, put, tombstone};

const REVISIONS: [u64; 11] = [
    1,
    255,
    256,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 53,
    (1 << 53) + 1,
    (1 << 63) - 2,
    (1 << 63) - 1,
];

const TIMES: [i64; 14] = [
    i64::MIN,
    i64::MIN + 1,
    -(1 << 53) - 1,
    -(1 << 32) - 1,
    -(1 << 32),
    -256,
    -1,
    0,
    1,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    i64::MAX - 1,
    i64::MAX,
];

/// The rule of `CacheEntry::replaces`, for every pair of numbers that differ in one place only, or in all.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_orders_as_the_rule_does() {
    let Some(lab) = Lab::start() else { return };
    let cache = lab.cache();
    for make in [entry, tombstone] {
        for other in [entry, tombstone] {
            for (first, second) in pairs() {
                let record = full("ann");
                let there = made(make, &record, first);
                let new = made(other, &record, second);
                given(&cache, &there).await;
                assert_eq!(put(&cache, &new).await.unwrap(), new.replaces(&there), "{first:?}, {second:?}");
                assert_holds(&cache, if new.replaces(&there) { &new } else { &there }).await;
                cache.remove(record.id).await.unwrap();
            }
        }
    }
}

type Make = fn(&SessionRecord, u64, Timestamp) -> CacheEntry;

fn made(make: Make, record: &SessionRecord, (revision, time): (u64, i64)) -> CacheEntry {
    make(record, revision, Timestamp::from_millis(time))
}

fn pairs() -> Vec<((u64, i64), (u64, i64))> {
    let revisions = REVISIONS.iter().flat_map(|a| REVISIONS.map(|b| (*a, b)));
    let times = TIMES.iter().flat_map(|a| TIMES.map(|b| (*a, b)));
    revisions
        .map(|(a, b)| ((a, i64::MAX), (b, i64::MIN)))
        .chain(times.map(|(a, b)| ((1 << 53, a), (1 << 53, b))))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_session_keeps_nothing_out() {
    let Some(lab) = Lab::start() else { return };
    let (cache, ann, other) = (lab.cache(), full("ann"), full("ann"));
    given(&cache, &tombstone(&other, 9, at(0))).await;
    lab.store(ann.id, &lab.stored(other.id).await).await;
    let put = entry(&ann, 1, at(0));
    given(&cache, &put).await;
    assert_holds(&cache, &put).await;
}
