//! `touch` after a deadline: a touch that arrives too late does not count, however early the use
//! was.

use session_core::{LastClient, OnExceed, Revision, SessionRecord, Timestamp, Touch};

use super::{apply, apply_at, assert_all_stored, assert_stored, expire, expired, given_all, idle, live};
use crate::fixtures::{at, full, limit, record, record_at, touch};
use crate::harness::{Harness, ids};

/// Asserts that touches do not count when they arrive at `deadline` or later, whatever the time of
/// use, and that a touch counts when it arrives a millisecond earlier.
async fn assert_counts_only_before(h: &Harness, record: &SessionRecord, deadline: u64) {
    for arrival in [at(deadline), at(deadline + 1), at(9_000_000_000), Timestamp::MAX] {
        for used in [1, deadline / 2, deadline - 1] {
            assert_eq!(apply_at(h, &[touch(record.id, used)], arrival).await, 0);
        }
    }
    assert_stored(h, record).await;
    let seen = Touch::new(record.id, at(deadline / 2), LastClient::default());
    assert_eq!(apply_at(h, std::slice::from_ref(&seen), at(deadline - 1)).await, 1);
    let mut used = record.clone();
    (used.last_seen_at, used.last_client) = (seen.last_seen_at, seen.last_client);
    assert_stored(h, &used).await;
}

/// A touch that arrives at the idle deadline or later does not count, however early the use was.
/// The session has ended by then: a limit or a list may have excluded it already.
pub async fn touch_that_arrives_after_the_idle_deadline_does_not_count(h: Harness) {
    let record = idle("ann", 1_000);
    h.given(&record).await;
    assert_counts_only_before(&h, &record, 1_000).await;
}

/// A touch that arrives at the absolute deadline or later does not count, however early the use
/// was, even if the idle deadline is later.
pub async fn touch_that_arrives_after_the_absolute_deadline_does_not_count(h: Harness) {
    for idle_timeout in [None, full("ann").idle_timeout] {
        let mut record = full("ann");
        (record.idle_timeout, record.expires_at) = (idle_timeout, at(1_000));
        h.given(&record).await;
        assert_counts_only_before(&h, &record, 1_000).await;
    }
}

/// The stored deadline decides, as the latest touches and updates left it.
pub async fn touch_is_judged_by_the_deadline_as_it_is_now(h: Harness) {
    let (used, mut cut) = (idle("ann", 1_000), record("ann"));
    given_all(&h, &[used.clone(), cut.clone()]).await;
    assert_eq!(apply_at(&h, &[touch(used.id, 900)], at(900)).await, 1);
    assert_eq!(apply_at(&h, &[touch(used.id, 1_000)], at(1_899)).await, 1);
    assert_eq!(apply_at(&h, &[touch(used.id, 1_100)], at(2_000)).await, 0);
    cut.expires_at = at(700);
    h.update(&cut, Revision::FIRST).await.expect("update");
    assert_eq!(apply_at(&h, &[touch(cut.id, 600)], at(700)).await, 0);
    assert_eq!(apply_at(&h, &[touch(cut.id, 600)], at(699)).await, 1);
}

/// A touch that arrives before its use, because a clock lags, is evaluated at the time of the use.
pub async fn touch_that_arrives_before_the_use_is_judged_by_the_use(h: Harness) {
    let record = idle("ann", 1_000);
    h.given(&record).await;
    for arrival in [Timestamp::from_millis(i64::MIN), Timestamp::EPOCH, at(0), at(999)] {
        assert_eq!(apply_at(&h, &[touch(record.id, 1_000)], arrival).await, 0);
    }
    assert_stored(&h, &record).await;
    assert_eq!(apply_at(&h, &[touch(record.id, 999)], Timestamp::from_millis(i64::MIN)).await, 1);
}

/// In a batch, a touch that arrives too late affects no other touch.
pub async fn touch_that_arrives_late_costs_only_itself(h: Harness) {
    let (mut live, idle, mut absolute) = ([record("ann"), full("bob")], idle("ann", 1_000), full("cid"));
    absolute.expires_at = at(900);
    given_all(&h, &live).await;
    given_all(&h, &[idle.clone(), absolute.clone()]).await;
    let all = [idle.id, live[0].id, absolute.id, live[1].id];
    let batch: Vec<_> = all.into_iter().map(|id| touch(id, 500)).collect();
    assert_eq!(apply_at(&h, &batch, at(1_000)).await, 2);
    for record in &mut live {
        (record.last_seen_at, record.last_client) = (at(500), touch(record.id, 500).last_client);
    }
    assert_all_stored(&h, live.iter().chain([&idle, &absolute])).await;
}

/// A late touch does not revive a session that a limit no longer counted. Otherwise more sessions
/// than the limit allows would be live.
pub async fn touch_does_not_revive_what_a_limit_counted_out(h: Harness) {
    let (forgotten, new) = (idle("ann", 1_000), record_at("ann", 1_000));
    h.given(&forgotten).await;
    let limit = limit(1, OnExceed::Refuse, 1_000);
    assert!(h.create(&new, &limit).await.expect("create").is_empty());
    assert_eq!(apply_at(&h, &[touch(forgotten.id, 999)], at(1_000)).await, 0);
    assert_eq!(live(&h, "ann", 1_000).await, [new.id]);
    let swept = expire(&h, 1_000, 10).await;
    assert_eq!(ids(&swept), [forgotten.id]);
    let end = expired(session_core::EndReason::IdleTimeout, at(1_000));
    assert_eq!(swept[0].ended(), Some(&end));
    assert_eq!(apply(&h, &[touch(new.id, 1_001)]).await, 1);
}
