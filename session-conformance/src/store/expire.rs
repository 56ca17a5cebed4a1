//! `expire`: which sessions a sweep ends, and how.

use std::time::Duration;

use session_core::limits::MAX_BATCH;
use session_core::{EndReason, EndScope, ErrorKind, Revision, SessionKind};

use super::{
    apply, assert_all_stored, assert_ended, assert_still_ended, assert_stored, expire, expired, expiring,
    given_all, idle, ids_of, live, several,
};
use crate::fixtures::{anonymous, at, full, logged_out, record, touch};
use crate::harness::{Harness, assert_kind, ids};

/// A session past its absolute end ends with that reason and the time of the deadline, not of the
/// sweep, by the system. It is cleared and stored as after any end.
pub async fn expire_ends_at_the_absolute_deadline(h: Harness) {
    let mut record = full("ann");
    record.expires_at = at(1_000);
    h.given(&record).await;
    let swept = expire(&h, 77_777, 10).await;
    assert_ended(&h, &swept, &record, &expired(EndReason::AbsoluteTimeout, at(1_000))).await;
}

/// A session past its idle end ends with that reason, one idle timeout after its last use.
pub async fn expire_ends_at_the_idle_deadline(h: Harness) {
    let mut record = full("ann");
    record.idle_timeout = Some(Duration::from_millis(1_001));
    record.last_seen_at = at(500);
    h.given(&record).await;
    let swept = expire(&h, 77_777, 10).await;
    assert_ended(&h, &swept, &record, &expired(EndReason::IdleTimeout, at(1_501))).await;
}

/// If a session is past both ends, the earlier one counts; if they are equal, the absolute one.
pub async fn expire_names_the_earlier_deadline(h: Harness) {
    let deadlines = [
        (1_000, 2_000, EndReason::AbsoluteTimeout, 1_000),
        (2_000, 1_000, EndReason::IdleTimeout, 1_000),
        (1_000, 1_000, EndReason::AbsoluteTimeout, 1_000),
        (1_001, 1_000, EndReason::IdleTimeout, 1_000),
    ];
    for (absolute, after, reason, expected) in deadlines {
        let mut record = idle("ann", after);
        record.expires_at = at(absolute);
        h.given(&record).await;
        let swept = expire(&h, 9_000, 10).await;
        assert_ended(&h, &swept, &record, &expired(reason, at(expected))).await;
    }
}

/// At the deadline itself a session is expired; one millisecond before it is not.
pub async fn expire_counts_the_deadline_itself(h: Harness) {
    let (mut absolute, idle) = (record("ann"), idle("ann", 1_000));
    absolute.expires_at = at(1_000);
    given_all(&h, &[absolute.clone(), idle.clone()]).await;
    assert!(expire(&h, 999, 10).await.is_empty());
    assert_stored(&h, &absolute).await;
    assert_stored(&h, &idle).await;
    assert_eq!(ids(&expire(&h, 1_000, 10).await), ids_of([&absolute, &idle]));
}

/// Live sessions stay unchanged, including those without idle limit. Catches a missing idle limit
/// treated as zero.
pub async fn expire_leaves_live_sessions_alone(h: Harness) {
    let records = [full("ann"), record("ann"), anonymous(), idle("bob", 5_001)];
    given_all(&h, &records).await;
    let mut past = record("ann");
    past.expires_at = at(1);
    h.given(&past).await;
    assert_eq!(ids(&expire(&h, 5_000, 10).await), [past.id]);
    assert_all_stored(&h, &records).await;
}

/// A sweep does not return sessions that an earlier sweep or call ended, and the first end is
/// final.
pub async fn expire_returns_each_session_once(h: Harness) {
    let records = expiring("ann", 3);
    given_all(&h, &records).await;
    assert_eq!(h.end(&EndScope::id(records[0].id), &logged_out(1)).await, [records[0].id]);
    assert_eq!(ids(&expire(&h, 1_000, 10).await), ids_of(&records[1..]));
    for now in [1_000, 2_000, 90_000_000] {
        assert!(expire(&h, now, 10).await.is_empty());
    }
    assert_still_ended(&h, records[0].id, &logged_out(1)).await;
    assert_still_ended(&h, records[1].id, &expired(EndReason::AbsoluteTimeout, at(1_000))).await;
}

/// At most as many sessions end as requested, each is returned, and a shorter result means that
/// nothing is left.
pub async fn expire_ends_at_most_the_limit(h: Harness) {
    let records = expiring("ann", 7);
    given_all(&h, &records).await;
    let mut swept = Vec::new();
    for expected in [3, 3, 1, 0] {
        let batch = expire(&h, 1_000, 3).await;
        assert_eq!(batch.len(), expected);
        swept.extend(batch);
        assert_eq!(live(&h, "ann", 999).await.len(), 7 - swept.len(), "a sweep ended more than it returned");
    }
    assert_eq!(ids(&swept), ids_of(&records));
}

/// Live sessions among the first do not use up the limit. Catches a limit that is applied before
/// the deadline is checked.
pub async fn expire_finds_the_expired_among_many_live_ones(h: Harness) {
    let mut records = several("ann", 60);
    for record in records.iter_mut().step_by(10) {
        record.idle_timeout = Some(Duration::from_millis(100));
    }
    given_all(&h, &records).await;
    let past: Vec<_> = records.iter().step_by(10).cloned().collect();
    let mut swept = expire(&h, 1_000, 4).await;
    assert_eq!(swept.len(), 4);
    swept.extend(expire(&h, 1_000, 4).await);
    assert_eq!(ids(&swept), ids_of(&past));
}

/// A limit of zero ends nothing. Catches zero that means "no limit".
pub async fn expire_of_zero_ends_nothing(h: Harness) {
    let records = expiring("ann", 2);
    given_all(&h, &records).await;
    assert!(expire(&h, 1_000, 0).await.is_empty());
    assert_stored(&h, &records[0]).await;
}

/// The largest batch ends 500 of 501.
pub async fn expire_of_500_leaves_the_501st(h: Harness) {
    let records = expiring("ann", MAX_BATCH + 1);
    given_all(&h, &records).await;
    let mut swept = expire(&h, 1_000, MAX_BATCH).await;
    assert_eq!(swept.len(), 500);
    let rest = expire(&h, 1_000, MAX_BATCH).await;
    assert_eq!(rest.len(), 1);
    swept.extend(rest);
    assert_eq!(ids(&swept), ids_of(&records));
}

/// A larger limit is refused, and nothing ends.
pub async fn expire_of_501_is_invalid_and_ends_nothing(h: Harness) {
    let records = expiring("ann", 2);
    given_all(&h, &records).await;
    for limit in [501, usize::MAX] {
        assert_kind(h.store().expire(at(1_000), limit).await, ErrorKind::Invalid);
    }
    assert_stored(&h, &records[0]).await;
}

/// The deadline follows the latest touches and updates. Catches a sweep by a deadline that was
/// computed at creation.
pub async fn expire_goes_by_the_latest_use(h: Harness) {
    let (touched, mut updated, forgotten) = (idle("ann", 1_000), idle("ann", 1_000), idle("ann", 1_000));
    given_all(&h, &[touched.clone(), updated.clone(), forgotten.clone()]).await;
    assert_eq!(apply(&h, &[touch(touched.id, 800)]).await, 1);
    updated.last_seen_at = at(600);
    h.update(&updated, Revision::FIRST).await.expect("update");
    for (now, expected) in [(1_599, &forgotten), (1_600, &updated), (1_800, &touched)] {
        assert_eq!(ids(&expire(&h, now, 10).await), [expected.id]);
    }
}

/// A sweep ends sessions of every kind, including anonymous ones and ones without a secret.
pub async fn expire_ends_sessions_of_every_kind(h: Harness) {
    let mut records = expiring("ann", 3);
    for (record, kind) in records.iter_mut().zip(SessionKind::ALL) {
        (record.kind, record.secret) = (*kind, None);
    }
    let mut visitor = anonymous();
    visitor.expires_at = at(1_000);
    records.push(visitor);
    given_all(&h, &records).await;
    assert_eq!(ids(&expire(&h, 1_000, 10).await), ids_of(&records));
}
