//! The time at which an entry disappears.

use std::time::Duration;

use session_core::SessionId;
use tokio::time::{Instant, sleep};

use super::{entry, tombstone};
use crate::CacheHarness;
use crate::fixtures::{at, record};

/// Long enough to read the entry once, short enough to wait for.
const SHORT: Duration = Duration::from_millis(400);

/// Long enough that the entry never expires during the case.
const LONG: Duration = Duration::from_secs(120);

/// How long an entry may outlive its time to live, for caches that count in whole seconds.
const SLACK: Duration = Duration::from_secs(3);

/// A put with a time to live of zero stores nothing and returns false.
pub async fn ttl_of_zero_stores_nothing(h: CacheHarness) {
    let record = record("ann");
    assert!(!h.put_for(&entry(&record, 1, at(0)), Duration::ZERO).await);
    assert_eq!(h.get(record.id).await, None);
    assert!(!h.put_for(&tombstone(&record, 2, at(0)), Duration::ZERO).await);
    assert_eq!(h.get(record.id).await, None);
}

/// A newer entry with a time to live of zero does not remove the present entry either.
pub async fn ttl_of_zero_leaves_what_is_there(h: CacheHarness) {
    let record = record("ann");
    let put = entry(&record, 1, at(0));
    h.given(&put).await;
    assert!(!h.put_for(&entry(&record, 2, at(0)), Duration::ZERO).await);
    h.assert_holds(&put).await;
}

/// A time to live that rounds to zero is no error and does not mean "for ever".
pub async fn ttl_below_a_millisecond_does_not_live_for_ever(h: CacheHarness) {
    let record = record("ann");
    h.put_for(&entry(&record, 1, at(0)), Duration::from_nanos(1)).await;
    assert_gone(&h, record.id, Instant::now()).await;
}

/// The longest possible time to live is accepted; the cache may keep the entry for less.
pub async fn ttl_without_end_is_accepted(h: CacheHarness) {
    let put = entry(&record("ann"), 1, at(0));
    assert!(h.put_for(&put, Duration::MAX).await);
    h.assert_holds(&put).await;
}

/// An entry exists before the end of its time to live, and not after it.
pub async fn entry_is_gone_after_its_ttl(h: CacheHarness) {
    let put = entry(&record("ann"), 1, at(0));
    let start = Instant::now();
    assert!(h.put_for(&put, SHORT).await);
    let stored = Instant::now();
    let found = h.get(put.id).await;
    if start.elapsed() < SHORT {
        assert_eq!(found, Some(put.clone()), "a time to live of {SHORT:?} stored nothing");
    }
    sleep(SHORT).await;
    assert_gone(&h, put.id, stored + SHORT).await;
}

/// A tombstone expires as well.
pub async fn tombstone_is_gone_after_its_ttl(h: CacheHarness) {
    let record = record("ann");
    assert!(h.put_for(&tombstone(&record, 2, at(0)), SHORT).await);
    let stored = Instant::now();
    sleep(SHORT).await;
    assert_gone(&h, record.id, stored + SHORT).await;
}

/// The remaining time counts down from the time to live and never exceeds what is left.
pub async fn remaining_time_counts_down(h: CacheHarness) {
    let put = entry(&record("ann"), 1, at(0));
    assert!(h.put_for(&put, LONG).await);
    let stored = Instant::now();
    for _ in 0..3 {
        let before = stored.elapsed();
        let remaining = h.get_with_life(put.id).await.expect("the entry").remaining;
        // Caches count in milliseconds or coarser units.
        let most = LONG - before + Duration::from_millis(1);
        assert!(remaining <= most, "{before:?} after it was stored for {LONG:?}, {remaining:?} remain");
        assert!(remaining > LONG / 2, "{before:?} after it was stored for {LONG:?}, {remaining:?} remain");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Reading an entry does not extend its time to live.
pub async fn reading_does_not_extend_the_ttl(h: CacheHarness) {
    let put = entry(&record("ann"), 1, at(0));
    assert!(h.put_for(&put, SHORT).await);
    assert_gone(&h, put.id, Instant::now() + SHORT).await;
}

/// After an entry has expired, an older one can be stored.
pub async fn expired_entry_does_not_keep_others_out(h: CacheHarness) {
    let record = record("ann");
    assert!(h.put_for(&entry(&record, 9, at(9)), SHORT).await);
    assert_gone(&h, record.id, Instant::now() + SHORT).await;
    let older = entry(&record, 1, at(1));
    assert!(h.put(&older).await);
    h.assert_holds(&older).await;
}

/// A removed record is gone, and an older one can be stored after it.
pub async fn remove_forgets_a_record(h: CacheHarness) {
    let record = record("ann");
    h.given(&entry(&record, 9, at(9))).await;
    h.remove(record.id).await;
    assert_eq!(h.get(record.id).await, None);
    let older = entry(&record, 1, at(1));
    h.given(&older).await;
    h.assert_holds(&older).await;
}

/// A removed tombstone is gone as well: maintenance may remove what no writer may replace.
pub async fn remove_forgets_a_tombstone(h: CacheHarness) {
    let record = record("ann");
    h.given(&tombstone(&record, 9, at(9))).await;
    h.remove(record.id).await;
    assert_eq!(h.get(record.id).await, None);
    h.given(&entry(&record, 1, at(1))).await;
}

/// Removing an absent entry is no error, once or twice.
pub async fn remove_of_nothing_is_fine(h: CacheHarness) {
    let (record, other) = (record("ann"), entry(&record("bob"), 1, at(0)));
    h.given(&other).await;
    h.remove(record.id).await;
    h.remove(record.id).await;
    h.assert_holds(&other).await;
}

/// Reads until the entry is gone. The frequent reads must not keep it alive.
async fn assert_gone(h: &CacheHarness, id: SessionId, since: Instant) {
    loop {
        let read_at = Instant::now();
        if h.get(id).await.is_none() {
            return;
        }
        let late = read_at.saturating_duration_since(since);
        assert!(late < SLACK, "an entry is still there {SLACK:?} after its time to live");
        sleep(Duration::from_millis(10)).await;
    }
}
