//! `create` under a limit: which sessions count.

use std::num::NonZeroU32;
use std::time::Duration;

use session_core::{
    DeviceKind, EndReason, ErrorKind, LimitScope, OnExceed, Revision, SessionLimit, SessionRecord,
};

use super::{
    apply, assert_all_stored, assert_stored, expire, given_all, given_ended, idle, ids_of, live, on, several,
    sign_out,
};
use crate::fixtures::{anonymous, at, full, limit, logged_out, record, record_at, touch};
use crate::harness::{Harness, assert_kind, ids};

/// Creates a session under a limit. Returns false if the limit refuses.
async fn fits(h: &Harness, record: &SessionRecord, limit: &SessionLimit) -> bool {
    match h.create(record, limit).await {
        Ok(ended) => {
            assert!(ended.is_empty(), "a limit that refuses ended something");
            true
        }
        Err(error) => {
            assert_kind::<()>(Err(error), ErrorKind::LimitExceeded);
            false
        }
    }
}

fn per_device_kind(max: u32, on_exceed: OnExceed) -> SessionLimit {
    limit(max, on_exceed, 100).with_scope(LimitScope::UserAndDeviceKind)
}

/// A session at its absolute or idle deadline does not count. It is left to the sweep, which
/// records the deadline's reason.
pub async fn limit_does_not_count_expired_sessions_and_leaves_them(h: Harness) {
    let (mut absolute, idle) = (full("ann"), idle("ann", 1_000));
    absolute.expires_at = at(1_000);
    given_all(&h, &[absolute.clone(), idle.clone()]).await;
    assert!(!fits(&h, &record("ann"), &limit(2, OnExceed::Refuse, 999)).await);
    assert!(fits(&h, &record("ann"), &limit(1, OnExceed::Refuse, 1_000)).await);
    let gone = h.create(&record_at("ann", 1), &limit(1, OnExceed::EndOldest, 1_000)).await;
    assert_eq!(gone.expect("create").len(), 1);
    assert_stored(&h, &absolute).await;
    assert_stored(&h, &idle).await;
    assert_eq!(ids(&expire(&h, 1_000, 10).await), ids_of([&absolute, &idle]));
}

/// Ended sessions free their places, regardless of how they ended.
pub async fn limit_does_not_count_ended_sessions(h: Harness) {
    let over = several("ann", 4);
    for record in &over {
        given_ended(&h, record, &logged_out(1)).await;
    }
    let live = record("ann");
    assert!(fits(&h, &live, &limit(1, OnExceed::Refuse, 2)).await);
    let gone = h.create(&record("ann"), &limit(1, OnExceed::EndOldest, 3)).await.expect("create");
    assert_eq!(ids(&gone), [live.id]);
    assert_eq!(gone[0].ended().map(|ended| ended.reason), Some(EndReason::LimitEvicted));
    assert_stored(&h, &over[0].clone().into_ended(logged_out(1))).await;
}

/// Each user has separate places; anonymous sessions occupy none.
pub async fn limit_does_not_count_other_users(h: Harness) {
    given_all(&h, &several("bob", 5)).await;
    given_all(&h, &[anonymous(), anonymous()]).await;
    assert!(fits(&h, &record("ann"), &limit(1, OnExceed::Refuse, 9)).await);
    assert!(!fits(&h, &record("ann"), &limit(1, OnExceed::Refuse, 9)).await);
    assert_eq!(live(&h, "bob", 9).await.len(), 5);
}

/// The session that the new one replaces does not count, neither for the user nor for the kind of
/// device. It stays as it is: the caller ends it.
pub async fn limit_does_not_count_the_replaced_session(h: Harness) {
    let old = full("ann");
    h.given(&old).await;
    assert!(fits(&h, &record("ann"), &limit(1, OnExceed::Refuse, 9).with_replaces(old.id)).await);
    assert_stored(&h, &old).await;

    for (name, replaced) in [("bob", 0), ("cid", 1)] {
        let stored = several(name, 2);
        given_all(&h, &stored).await;
        let limit = limit(2, OnExceed::EndOldest, 9).with_replaces(stored[replaced].id);
        assert!(fits(&h, &record_at(name, 5), &limit).await);
        assert_all_stored(&h, &stored).await;
    }

    let phone = on(Some(DeviceKind::Mobile), 1);
    h.given(&phone).await;
    let narrow = per_device_kind(1, OnExceed::Refuse).with_replaces(phone.id);
    let second = limit(9, OnExceed::Refuse, 9).with_max_per_device_kind(NonZeroU32::MIN);
    for limit in [narrow, second.with_replaces(phone.id)] {
        let new = on(Some(DeviceKind::Mobile), 2);
        assert!(fits(&h, &new, &limit).await);
        assert_eq!(sign_out(&h, new.id, 3).await, [new.id]);
    }
    assert_stored(&h, &phone).await;
}

/// If other sessions must end, the replaced one is left out, although it comes first. A refusal
/// does not show it either.
pub async fn limit_evicts_others_than_the_replaced_session(h: Harness) {
    for on_exceed in [OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen] {
        let name = format!("user of {on_exceed:?}");
        let stored = several(&name, 2);
        given_all(&h, &stored).await;
        let limit = limit(1, on_exceed, 9).with_replaces(stored[0].id);
        let gone = h.create(&record_at(&name, 5), &limit).await.expect("create");
        assert_eq!(ids(&gone), [stored[1].id]);
        assert_stored(&h, &stored[0]).await;
    }

    let phones = [0, 1, 2].map(|millis| on(Some(DeviceKind::Mobile), millis));
    given_all(&h, &phones).await;
    let second = limit(9, OnExceed::EndOldest, 9).with_max_per_device_kind(NonZeroU32::MIN.saturating_add(1));
    let new = on(Some(DeviceKind::Mobile), 5);
    let gone = h.create(&new, &second.with_replaces(phones[0].id)).await.expect("create");
    assert_eq!(ids(&gone), [phones[1].id]);
    let refuse = limit(2, OnExceed::Refuse, 9).with_replaces(phones[0].id);
    let error = assert_kind(h.create(&record_at("ann", 6), &refuse).await, ErrorKind::LimitExceeded);
    assert_eq!(ids(error.live_sessions()), ids_of([&phones[2], &new]));
    assert_stored(&h, &phones[0]).await;
}

/// A replaced session that does not count anyway frees no place, and stays as it is: an unknown,
/// ended or expired one, one of another user, and an anonymous one.
pub async fn limit_frees_no_place_for_a_replaced_session_that_does_not_count(h: Harness) {
    let (over, mut past, bob, visitor) = (record("ann"), record("ann"), record("bob"), anonymous());
    past.expires_at = at(5);
    given_all(&h, &[past.clone(), bob.clone(), visitor.clone()]).await;
    given_ended(&h, &over, &logged_out(1)).await;
    let mut stored = record("ann");
    h.given(&stored).await;
    let replaced = [record("ann").id, over.id, past.id, bob.id, visitor.id];
    for (replaced, millis) in replaced.into_iter().zip(1..) {
        let new = record_at("ann", millis);
        assert!(!fits(&h, &new, &limit(1, OnExceed::Refuse, 9).with_replaces(replaced)).await);
        let gone = h.create(&new, &limit(1, OnExceed::EndOldest, 9).with_replaces(replaced)).await;
        assert_eq!(ids(&gone.expect("create")), [stored.id]);
        stored = new;
    }
    assert_all_stored(&h, [&past, &bob, &visitor, &over.into_ended(logged_out(1))]).await;
}

/// Sessions that were created without a limit count as well. Catches a counter that only limited
/// sign-ins raise.
pub async fn limit_counts_sessions_created_without_one(h: Harness) {
    given_all(&h, &several("ann", 2)).await;
    assert!(!fits(&h, &record("ann"), &limit(2, OnExceed::Refuse, 9)).await);
    assert!(fits(&h, &record("ann"), &limit(3, OnExceed::Refuse, 9)).await);
    h.given(&record("ann")).await;
    assert!(!fits(&h, &record("ann"), &limit(4, OnExceed::Refuse, 9)).await);
}

/// Places are freed and taken repeatedly. Catches a counter that drifts.
pub async fn limit_counts_right_after_many_sign_ins_and_outs(h: Harness) {
    let limit = limit(2, OnExceed::Refuse, 9);
    h.given(&record("ann")).await;
    for _ in 0..10 {
        let record = record("ann");
        assert!(fits(&h, &record, &limit).await);
        assert!(!fits(&h, &record_at("ann", 1), &limit).await);
        assert_eq!(sign_out(&h, record.id, 1).await, [record.id]);
        assert_eq!(sign_out(&h, record.id, 2).await, []);
    }
    assert!(fits(&h, &record("ann"), &limit).await);
}

/// A session is live by the limit's own time and by the deadlines after the latest touches and
/// updates.
pub async fn limit_counts_by_the_deadlines_as_they_are_now(h: Harness) {
    let (used, mut cut, mut longer) = (idle("ann", 1_000), record("ann"), record("ann"));
    longer.expires_at = at(500);
    given_all(&h, &[used.clone(), cut.clone(), longer.clone()]).await;
    assert_eq!(apply(&h, &[touch(used.id, 900)]).await, 1);
    (cut.expires_at, longer.expires_at) = (at(600), at(700_000));
    h.update(&cut, Revision::FIRST).await.expect("update");
    h.update(&longer, Revision::FIRST).await.expect("update");

    let refused = h.create(&record("ann"), &limit(1, OnExceed::Refuse, 1_500)).await;
    let error = assert_kind(refused, ErrorKind::LimitExceeded);
    assert_eq!(ids(error.live_sessions()), ids_of([&used, &longer]));
    let refused = h.create(&record("ann"), &limit(1, OnExceed::Refuse, 599)).await;
    let error = assert_kind(refused, ErrorKind::LimitExceeded);
    assert_eq!(ids(error.live_sessions()), ids_of([&used, &cut, &longer]));
}

/// With a limit per kind of device, only sessions on the same kind count, are evicted, and are
/// returned by a refusal, even if another kind has older ones.
pub async fn limit_by_device_kind_counts_that_kind_only(h: Harness) {
    let phones = [on(Some(DeviceKind::Mobile), 10), on(Some(DeviceKind::Mobile), 20)];
    let others = [on(Some(DeviceKind::Desktop), 0), on(Some(DeviceKind::Tablet), 1), on(None, 2)];
    given_all(&h, &phones).await;
    given_all(&h, &others).await;
    let limit = per_device_kind(2, OnExceed::EndOldest);
    let gone = h.create(&on(Some(DeviceKind::Mobile), 30), &limit).await.expect("create");
    assert_eq!(ids(&gone), [phones[0].id]);
    assert!(h.create(&on(Some(DeviceKind::Tv), 31), &limit).await.expect("create").is_empty());
    let refused = h.create(&on(Some(DeviceKind::Desktop), 32), &per_device_kind(1, OnExceed::Refuse)).await;
    let error = assert_kind(refused, ErrorKind::LimitExceeded);
    assert_eq!(ids(error.live_sessions()), [others[0].id]);
    assert_all_stored(&h, &others).await;
}

/// Unknown is a separate kind: unknown devices count against each other and against no other kind.
/// Catches `NULL = NULL`.
pub async fn limit_by_device_kind_counts_unknown_as_a_kind(h: Harness) {
    let unknown = [on(None, 10), on(None, 20)];
    given_all(&h, &unknown).await;
    given_all(&h, &[on(Some(DeviceKind::Other), 0), on(Some(DeviceKind::Desktop), 1)]).await;
    let gone = h.create(&on(None, 30), &per_device_kind(2, OnExceed::EndOldest)).await.expect("create");
    assert_eq!(ids(&gone), [unknown[0].id]);
    assert!(!fits(&h, &on(None, 31), &per_device_kind(2, OnExceed::Refuse)).await);
    assert!(fits(&h, &on(Some(DeviceKind::Other), 32), &per_device_kind(2, OnExceed::Refuse)).await);
}

/// A limit for the whole user counts all kinds of devices together.
pub async fn limit_of_a_user_counts_all_device_kinds(h: Harness) {
    let records =
        [on(Some(DeviceKind::Mobile), 0), on(None, 1), on(Some(DeviceKind::Desktop), 2), on(None, 3)];
    given_all(&h, &records).await;
    let new = on(Some(DeviceKind::Tv), 4);
    let gone = h.create(&new, &limit(3, OnExceed::EndOldest, 9)).await.expect("create");
    assert_eq!(ids(&gone), ids_of(&records[..2]));
}

/// The stored kind of device counts, also after an update of the client.
pub async fn limit_by_device_kind_follows_an_update(h: Harness) {
    let mut record = on(Some(DeviceKind::Mobile), 0);
    record.idle_timeout = Some(Duration::from_secs(60));
    h.given(&record).await;
    record.client = on(Some(DeviceKind::Desktop), 0).client;
    h.update(&record, Revision::FIRST).await.expect("update");
    let limit = per_device_kind(1, OnExceed::Refuse);
    assert!(fits(&h, &on(Some(DeviceKind::Mobile), 1), &limit).await);
    assert!(!fits(&h, &on(Some(DeviceKind::Desktop), 2), &limit).await);
}
