//! `create` under a limit: which sessions are evicted, and which are refused.

use std::num::NonZeroU32;

use session_core::{ErrorKind, LastClient, OnExceed, Revision, SessionLimit};

use super::{
    apply, assert_all_stored, assert_ended, assert_same, assert_stored, evicted, given_all, ids_of, live,
    several,
};
use crate::fixtures::{at, full, limit, record, record_at, touch};
use crate::harness::{Harness, assert_kind, ids};

/// Below the limit nothing ends, up to the last free place.
pub async fn limit_that_is_not_reached_ends_nothing(h: Harness) {
    let records = several("ann", 3);
    for record in &records {
        assert!(h.create(record, &limit(3, OnExceed::EndOldest, 5)).await.expect("create").is_empty());
    }
    assert_all_stored(&h, &records).await;
}

/// The session that was created first is evicted, even if it is in use.
pub async fn limit_ends_the_oldest(h: Harness) {
    let records = several("ann", 3);
    given_all(&h, &[records[1].clone(), records[0].clone(), records[2].clone()]).await;
    assert_eq!(apply(&h, &[touch(records[0].id, 500)]).await, 1);
    let new = record_at("ann", 600);
    let gone = h.create(&new, &limit(3, OnExceed::EndOldest, 600)).await.expect("create");
    assert_eq!(ids(&gone), [records[0].id]);
    assert_eq!(live(&h, "ann", 600).await, ids_of([&records[1], &records[2], &new]));
}

/// The session that was unused for the longest time is evicted, as recorded by touches and updates.
pub async fn limit_ends_the_least_recently_seen(h: Harness) {
    let mut records = several("ann", 4);
    given_all(&h, &records).await;
    assert_eq!(apply(&h, &[touch(records[0].id, 500)]).await, 1);
    (records[1].last_seen_at, records[1].last_client) = (at(400), LastClient::default());
    h.update(&records[1], Revision::FIRST).await.expect("update");
    let limit = limit(4, OnExceed::EndLeastRecentlySeen, 600);
    for (millis, expected) in [(600, 2), (601, 3), (602, 1), (603, 0)] {
        let gone = h.create(&record_at("ann", millis), &limit).await.expect("create");
        assert_eq!(ids(&gone), [records[expected].id]);
    }
}

/// An evicted session is stored and returned as after an end: by the system, as evicted, at the
/// time of the limit, without secrets and data.
pub async fn limit_returns_the_evicted_as_stored(h: Harness) {
    let (old, other) = (full("ann"), full("bob"));
    given_all(&h, &[old.clone(), other.clone()]).await;
    let limit = limit(1, OnExceed::EndOldest, 42);
    let gone = h.create(&record("ann"), &limit).await.expect("create");
    assert_ended(&h, &gone, &old, &evicted(&limit)).await;
    assert_stored(&h, &other).await;
}

/// The new session is stored as given and is not evicted, however old its times are. Catches
/// "insert first, evict later".
pub async fn limit_never_ends_the_new_session(h: Harness) {
    for on_exceed in [OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen] {
        let name = format!("user of {on_exceed:?}");
        let stored = record_at(&name, 1_000);
        h.given(&stored).await;
        let older = record_at(&name, 0);
        let gone = h.create(&older, &limit(1, on_exceed, 2_000)).await.expect("create");
        assert_eq!(ids(&gone), [stored.id]);
        assert_stored(&h, &older).await;
    }
}

/// After the limit was lowered, one sign-in evicts as many sessions as necessary, the oldest first.
pub async fn limit_that_was_lowered_ends_several(h: Harness) {
    let records = several("ann", 8);
    given_all(&h, &records).await;
    let new = record_at("ann", 100);
    let gone = h.create(&new, &limit(3, OnExceed::EndOldest, 100)).await.expect("create");
    assert_eq!(ids(&gone), ids_of(&records[..6]));
    assert_eq!(live(&h, "ann", 100).await, ids_of([&records[6], &records[7], &new]));
}

/// A refusal returns the sessions that fill the limit, so that a person can choose one; without
/// secrets, refresh state and data.
pub async fn limit_refuses_with_the_live_sessions_redacted(h: Harness) {
    let mut records = [full("ann"), full("ann")];
    records.sort_unstable_by_key(|record| record.id);
    given_all(&h, &records).await;
    h.given(&full("bob")).await;
    let refused = h.create(&record("ann"), &limit(2, OnExceed::Refuse, 5)).await;
    let error = assert_kind(refused, ErrorKind::LimitExceeded);
    let mut shown = error.live_sessions().to_vec();
    shown.sort_unstable_by_key(|record| record.id);
    assert_eq!(shown.len(), records.len());
    for (shown, record) in shown.iter().zip(&records) {
        assert_same(shown, &record.redacted());
    }
}

/// A refused session is not stored, and nothing ends for it. The next session below the limit is
/// created.
pub async fn limit_that_refuses_writes_nothing(h: Harness) {
    let stored = full("ann");
    h.given(&stored).await;
    let refused = record("ann");
    for _ in 0..3 {
        let answer = h.create(&refused, &limit(1, OnExceed::Refuse, 5)).await;
        assert_kind(answer, ErrorKind::LimitExceeded);
    }
    assert!(h.load(refused.id).await.is_none());
    assert_stored(&h, &stored).await;
    assert!(h.create(&refused, &limit(2, OnExceed::Refuse, 5)).await.expect("create").is_empty());
    assert_eq!(live(&h, "ann", 5).await, ids_of([&stored, &refused]));
}

/// A refusal above a lowered limit returns every live session, not only as many as the limit.
pub async fn limit_that_was_lowered_refuses_with_all_live_sessions(h: Harness) {
    let records = several("ann", 5);
    given_all(&h, &records).await;
    let refused = h.create(&record("ann"), &limit(2, OnExceed::Refuse, 5)).await;
    let error = assert_kind(refused, ErrorKind::LimitExceeded);
    assert_eq!(ids(error.live_sessions()), ids_of(&records));
}

/// A create that fails because its id is stored evicts nothing. Catches an eviction outside of the
/// transaction.
pub async fn limit_ends_nothing_for_an_id_that_is_taken(h: Harness) {
    let records = [full("ann"), full("ann"), full("ann")];
    given_all(&h, &records).await;
    for on_exceed in [OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen] {
        let again = h.create(&records[2], &limit(1, on_exceed, 5)).await;
        assert_kind(again, ErrorKind::AlreadyExists);
    }
    assert_all_stored(&h, &records).await;
}

/// A create that is refused as invalid evicts nothing either.
pub async fn limit_ends_nothing_for_an_invalid_record(h: Harness) {
    let stored = full("ann");
    h.given(&stored).await;
    let limit = limit(1, OnExceed::EndOldest, 5);
    let mut large = record("ann");
    large.data = vec![7; h.store().capabilities().max_payload + 1].into();
    assert_kind(h.create(&large, &limit).await, ErrorKind::Invalid);
    let mut unnamed = record("ann");
    unnamed.label = Some(String::new());
    assert_kind(h.create(&unnamed, &limit).await, ErrorKind::Invalid);
    assert_stored(&h, &stored).await;
}

/// The largest possible limit does not overflow.
pub async fn limit_of_the_largest_number_ends_nothing(h: Harness) {
    for on_exceed in [OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen, OnExceed::Refuse] {
        let limit = SessionLimit::new(NonZeroU32::MAX, on_exceed, at(1));
        assert!(h.create(&record("ann"), &limit).await.expect("create").is_empty());
    }
    assert_eq!(live(&h, "ann", 1).await.len(), 3);
}
