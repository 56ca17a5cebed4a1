//! Order: which entry wins.

use super::{entry, tombstone};
use crate::CacheHarness;
use crate::fixtures::{at, record, record_at};
use session_core::{CacheEntry, SessionId, SessionRecord, Timestamp};

/// `get` of an id that was never put returns `None`, and no error.
pub async fn get_of_nothing_is_none(h: CacheHarness) {
    let record = record("ann");
    assert_eq!(h.get(record.id).await, None);
    assert_eq!(h.get(record.id).await, None, "the read created an entry");
}

/// `get` returns the entry that was put.
pub async fn put_then_get_returns_the_entry(h: CacheHarness) {
    let put = entry(&record("ann"), 1, at(0));
    h.given(&put).await;
    h.assert_holds(&put).await;
    h.assert_holds(&put).await;
}

/// `put_if_newer` returns true exactly if it stored the entry.
pub async fn put_returns_whether_it_stored(h: CacheHarness) {
    let record = record("ann");
    assert!(h.put(&entry(&record, 2, at(0))).await, "an empty slot accepts every entry");
    assert!(!h.put(&entry(&record, 1, at(0))).await, "older");
    assert!(h.put(&entry(&record, 3, at(0))).await, "newer");
    assert!(h.put(&tombstone(&record, 4, at(0))).await, "the end");
    assert!(!h.put(&entry(&record, 5, at(0))).await, "after the end");
    h.assert_holds(&tombstone(&record, 4, at(0))).await;
}

/// A newer revision replaces an older one, even if it was verified earlier.
pub async fn newer_revision_replaces(h: CacheHarness) {
    let record = record("ann");
    h.given(&entry(&record, 1, at(50))).await;
    let newer = entry(&record, 2, at(10));
    h.given(&newer).await;
    h.assert_holds(&newer).await;
}

/// An older revision never replaces a newer one, even if it was verified later.
pub async fn older_revision_never_replaces(h: CacheHarness) {
    let record = record("ann");
    let newer = entry(&record, 3, at(10));
    h.given(&newer).await;
    for (revision, verified) in [(2, 10), (1, 10), (2, 99_999)] {
        assert!(!h.put(&entry(&record, revision, at(verified))).await, "revision {revision}");
        h.assert_holds(&newer).await;
    }
}

/// Of two copies of one revision, the one that was verified later replaces the other.
pub async fn later_verified_copy_of_a_revision_replaces(h: CacheHarness) {
    let record = record("ann");
    h.given(&entry(&record, 2, at(10))).await;
    let later = entry(&record, 2, at(11));
    h.given(&later).await;
    h.assert_holds(&later).await;
}

/// Of two copies of one revision, the one that was verified earlier does not replace the other.
pub async fn earlier_verified_copy_of_a_revision_stays_out(h: CacheHarness) {
    let record = record("ann");
    let later = entry(&record, 2, at(11));
    h.given(&later).await;
    assert!(!h.put(&entry(&record, 2, at(10))).await);
    h.assert_holds(&later).await;
}

/// An entry that is exactly as new as the present one is not stored.
pub async fn same_entry_again_is_not_stored(h: CacheHarness) {
    let put = entry(&record("ann"), 2, at(10));
    h.given(&put).await;
    assert!(!h.put(&put).await);
    h.assert_holds(&put).await;
}

/// Revisions are 63-bit numbers: not text, where 10 comes before 9, and not floating point, where
/// 2^53 + 1 is 2^53.
pub async fn revisions_compare_as_numbers(h: CacheHarness) {
    for (number, (low, high)) in [(9, 10), (99, 100), (1 << 53, (1 << 53) + 1)].into_iter().enumerate() {
        let record = record(&format!("user{number}"));
        let (low, high) = (entry(&record, low, at(0)), entry(&record, high, at(0)));
        assert_newer(&h, &low, &high).await;
    }
}

/// Times are compared as numbers, too.
pub async fn times_compare_as_numbers(h: CacheHarness) {
    for (number, (low, high)) in [(999, 1_000), (-1_000, -999), (-1, 0)].into_iter().enumerate() {
        let record = record(&format!("user{number}"));
        let verified = |millis| entry(&record, 1, Timestamp::from_millis(millis));
        assert_newer(&h, &verified(low), &verified(high)).await;
    }
}

async fn assert_newer(h: &CacheHarness, low: &CacheEntry, high: &CacheEntry) {
    h.given(low).await;
    h.given(high).await;
    assert!(!h.put(low).await, "{:?} replaced {:?}", low.revision, high.revision);
    h.assert_holds(high).await;
}

/// A tombstone replaces every record, regardless of its revision and time.
pub async fn tombstone_replaces_a_record_of_any_revision(h: CacheHarness) {
    for (number, revision) in [1, 7, 8, 1 << 53].into_iter().enumerate() {
        let record = record(&format!("user{number}"));
        h.given(&entry(&record, revision, at(1_000))).await;
        let end = tombstone(&record, 7, at(10));
        assert!(h.put(&end).await, "a tombstone did not replace revision {revision}");
        h.assert_holds(&end).await;
    }
}

/// Nothing replaces a tombstone: no newer revision, no later copy, no other tombstone.
pub async fn nothing_replaces_a_tombstone(h: CacheHarness) {
    let record = record("ann");
    let end = tombstone(&record, 2, at(10));
    h.given(&end).await;
    let others = [
        entry(&record, 1, at(0)),
        entry(&record, 2, at(99_999)),
        entry(&record, 1 << 53, at(99_999)),
        tombstone(&record, 2, at(99_999)),
        tombstone(&record, 1 << 53, at(99_999)),
    ];
    for other in others {
        assert!(!h.put(&other).await, "a tombstone was replaced by {other:?}");
        h.assert_holds(&end).await;
    }
}

/// Entries of different sessions are independent, even those of one user.
pub async fn ids_are_independent(h: CacheHarness) {
    let records = [record("ann"), record("ann"), record_at("ann", 1), record("bob")];
    let puts = [
        entry(&records[0], 9, at(0)),
        entry(&records[1], 1, at(0)),
        tombstone(&records[2], 2, at(0)),
        entry(&records[3], 4, at(0)),
    ];
    for put in &puts {
        h.given(put).await;
    }
    for put in &puts {
        h.assert_holds(put).await;
    }
    h.remove(records[0].id).await;
    assert_eq!(h.get(records[0].id).await, None);
    for put in &puts[1..] {
        h.assert_holds(put).await;
    }
}

/// Ids differ even if only one bit differs, or only the bit that would be the case of a letter.
pub async fn ids_are_compared_byte_by_byte(h: CacheHarness) {
    let first = SessionRecord::new(id_with(0x41), at(0), at(3_600_000));
    h.given(&entry(&first, 1, at(0))).await;
    for byte in [0x61, 0x40, 0x00, 0xc1] {
        let other = SessionRecord::new(id_with(byte), at(0), at(3_600_000));
        assert_eq!(h.get(other.id).await, None, "an id with {byte:#x} found the one with 0x41");
        h.given(&entry(&other, 1, at(0))).await;
    }
    h.assert_holds(&entry(&first, 1, at(0))).await;
}

/// Returns an id in which only one byte varies.
fn id_with(byte: u8) -> SessionId {
    let mut bytes = [0x41; 16];
    bytes[6] = 0x71;
    bytes[8] = 0x81;
    bytes[12] = byte;
    SessionId::from_bytes(bytes).expect("an id")
}
