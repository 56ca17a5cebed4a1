//! Which of two entries is kept, at the limits of Lua's numbers.

use session_conformance::fixtures::{SCOPE, at, full};
use session_core::{CacheEntry, Scope, SessionCache, SessionRecord, Timestamp};

use super::lab::{Lab, assert_holds, entry, given, key, key_in, put, tombstone};

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

/// Checks the rule of `CacheEntry::replaces` for every pair of numbers that differ in one place
/// only, or in all.
#[tokio::test(flavor = "multi_thread")]
async fn the_script_orders_entries_as_the_rule_does() {
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
                cache.remove(SCOPE, record.id).await.unwrap();
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
async fn an_entry_of_another_scope_does_not_prevent_a_new_one() {
    let Some(lab) = Lab::start() else { return };
    let (cache, ann) = (lab.cache(), full("ann"));
    given(&cache, &tombstone(&ann, 9, at(0))).await;
    let mut elsewhere = entry(&ann, 1, at(0));
    elsewhere.scope = Scope::from_bytes([9; 16]);
    given(&cache, &elsewhere).await;
    assert_holds(&cache, &elsewhere).await;
    // Its bytes name the scope of the tombstone, although the key is that of the other scope.
    let (from, to) = (key(ann.id), key_in(elsewhere.scope, ann.id));
    let copied: bool = lab.ask(&format!("COPY {from} {to} REPLACE")).await;
    assert!(copied);
    given(&cache, &elsewhere).await;
    assert_holds(&cache, &elsewhere).await;
    assert_holds(&cache, &tombstone(&ann, 9, at(0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_session_does_not_prevent_a_new_one() {
    let Some(lab) = Lab::start() else { return };
    let (cache, ann, other) = (lab.cache(), full("ann"), full("ann"));
    given(&cache, &tombstone(&other, 9, at(0))).await;
    lab.store(ann.id, &lab.stored(other.id).await).await;
    let put = entry(&ann, 1, at(0));
    given(&cache, &put).await;
    assert_holds(&cache, &put).await;
}
