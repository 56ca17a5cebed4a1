//! `create` under two limits: one for the user, and one for the kind of device.

use std::num::NonZeroU32;

use session_core::{DeviceKind, ErrorKind, LimitScope, OnExceed, SessionLimit, SessionRecord};

use super::{apply, assert_all_stored, assert_same, given_all, ids_of, live, on};
use crate::fixtures::{limit, touch};
use crate::harness::{Harness, assert_kind, ids};

const PHONE: Option<DeviceKind> = Some(DeviceKind::Mobile);
const DESKTOP: Option<DeviceKind> = Some(DeviceKind::Desktop);
const TV: Option<DeviceKind> = Some(DeviceKind::Tv);

/// Returns a limit of `max` sessions, and of `per_kind` on each kind of device.
fn both(max: u32, per_kind: u32, on_exceed: OnExceed) -> SessionLimit {
    let per_kind = NonZeroU32::new(per_kind).expect("a limit above zero");
    limit(max, on_exceed, 1_000).with_max_per_device_kind(per_kind)
}

/// Creates a session, and asserts that exactly the sessions in `gone` are evicted.
async fn assert_evicts(h: &Harness, new: &SessionRecord, limit: &SessionLimit, gone: &[&SessionRecord]) {
    let evicted = h.create(new, limit).await.expect("create");
    assert_eq!(ids(&evicted), ids_of(gone.iter().copied()));
}

/// Asserts that a session is refused, and that the refusal returns exactly the sessions in `by`.
async fn assert_refused(h: &Harness, new: &SessionRecord, limit: &SessionLimit, by: &[SessionRecord]) {
    let error = assert_kind(h.create(new, limit).await, ErrorKind::LimitExceeded);
    let mut shown = error.live_sessions().to_vec();
    shown.sort_unstable_by_key(|record| record.created_at);
    assert_eq!(ids(&shown), ids_of(by));
    for (shown, record) in shown.iter().zip(by) {
        assert_same(shown, &record.redacted());
    }
    assert!(h.load(new.id).await.is_none(), "a refused session is stored");
}

/// Each limit evicts when it is exceeded: the limit per kind among sessions of that kind, the limit
/// of the user among all.
pub async fn limits_of_the_user_and_of_the_device_kind_both_hold(h: Harness) {
    let limit = both(3, 2, OnExceed::EndOldest);
    let phones = [on(PHONE, 1), on(PHONE, 2), on(PHONE, 3), on(PHONE, 6)];
    let (desktop, tv) = (on(DESKTOP, 4), on(TV, 5));
    assert_evicts(&h, &phones[0], &limit, &[]).await;
    assert_evicts(&h, &phones[1], &limit, &[]).await;
    assert_evicts(&h, &phones[2], &limit, &[&phones[0]]).await;
    assert_evicts(&h, &desktop, &limit, &[]).await;
    assert_evicts(&h, &tv, &limit, &[&phones[1]]).await;
    assert_evicts(&h, &phones[3], &limit, &[&phones[2]]).await;
    assert_eq!(live(&h, "ann", 1_000).await, ids_of([&desktop, &tv, &phones[3]]));
}

/// If both limits are exceeded, the session evicted for the kind also makes room for the user.
pub async fn limits_that_are_both_reached_end_one_session(h: Harness) {
    let stored = [on(DESKTOP, 1), on(PHONE, 2), on(PHONE, 3), on(DESKTOP, 4)];
    given_all(&h, &stored).await;
    let limit = both(4, 2, OnExceed::EndOldest);
    assert_evicts(&h, &on(PHONE, 5), &limit, &[&stored[1]]).await;
    assert_all_stored(&h, [&stored[0], &stored[2], &stored[3]]).await;
    let limit = both(4, 2, OnExceed::EndLeastRecentlySeen);
    assert_eq!(apply(&h, &[touch(stored[0].id, 900), touch(stored[2].id, 800)]).await, 2);
    assert_evicts(&h, &on(DESKTOP, 6), &limit, &[&stored[3]]).await;
}

/// After both limits were lowered, one sign-in evicts as many sessions as both limits require, the
/// oldest of each.
pub async fn limits_that_were_both_lowered_end_what_either_asks_for(h: Harness) {
    let stored = [on(PHONE, 1), on(DESKTOP, 2), on(PHONE, 3), on(TV, 4), on(PHONE, 5), on(TV, 6)];
    given_all(&h, &stored).await;
    let limit = both(3, 2, OnExceed::EndOldest);
    let (new, gone) = (on(PHONE, 7), [&stored[0], &stored[1], &stored[2], &stored[3]]);
    assert_evicts(&h, &new, &limit, &gone).await;
    assert_eq!(live(&h, "ann", 1_000).await, ids_of([&stored[4], &stored[5], &new]));
}

/// A refusal returns the sessions that fill the exceeded limit: those on the kind of device, or
/// all. If both are exceeded, those on the kind, because one of them makes room for both.
pub async fn limits_refuse_with_what_fills_the_one_that_was_reached(h: Harness) {
    let stored = [on(PHONE, 1), on(DESKTOP, 2), on(PHONE, 3)];
    given_all(&h, &stored).await;
    let phones = [stored[0].clone(), stored[2].clone()];
    let limit = both(4, 2, OnExceed::Refuse);
    assert_refused(&h, &on(PHONE, 4), &limit, &phones).await;
    let tv = on(TV, 5);
    assert_evicts(&h, &tv, &limit, &[]).await;
    let all: Vec<_> = stored.iter().chain([&tv]).cloned().collect();
    assert_refused(&h, &on(TV, 6), &limit, &all).await;
    assert_refused(&h, &on(PHONE, 7), &limit, &phones).await;
    assert_all_stored(&h, &all).await;
}

/// Unknown is a separate kind here, too: the limit applies to sessions on devices of an unknown
/// kind.
pub async fn limits_of_both_count_unknown_as_a_kind(h: Harness) {
    let unknown = [on(None, 1), on(None, 2)];
    let others = [on(Some(DeviceKind::Other), 0), on(PHONE, 3)];
    given_all(&h, &unknown).await;
    given_all(&h, &others).await;
    assert_evicts(&h, &on(None, 4), &both(9, 2, OnExceed::EndOldest), &[&unknown[0]]).await;
    let error = h.create(&on(None, 5), &both(9, 2, OnExceed::Refuse)).await;
    assert_eq!(assert_kind(error, ErrorKind::LimitExceeded).live_sessions().len(), 2);
    assert_evicts(&h, &on(Some(DeviceKind::Other), 6), &both(9, 2, OnExceed::Refuse), &[]).await;
    assert_all_stored(&h, &others).await;
}

/// If both limits are for the kind of device, the smaller one applies.
pub async fn limits_that_are_both_for_the_device_kind_keep_the_smaller(h: Harness) {
    for (max, per_kind) in [(2, 5), (5, 2)] {
        let limit = both(max, per_kind, OnExceed::EndOldest).with_scope(LimitScope::UserAndDeviceKind);
        let phones = [on(PHONE, 1), on(PHONE, 2), on(PHONE, 3)];
        assert_evicts(&h, &phones[0], &limit, &[]).await;
        assert_evicts(&h, &phones[1], &limit, &[]).await;
        assert_evicts(&h, &on(DESKTOP, 0), &limit, &[]).await;
        assert_evicts(&h, &phones[2], &limit, &[&phones[0]]).await;
        let ann = session_core::EndScope::User(crate::fixtures::user("ann"));
        assert_eq!(h.end(&ann, &crate::fixtures::logged_out(1)).await.len(), 3);
    }
}
