//! `end` with a bound: sessions that were created later stay live.

use session_core::{EndScope, SessionRecord, Timestamp};

use super::{assert_all_stored, assert_stored, given_all, ids_of};
use crate::fixtures::{at, device_id, full, full_at, id_at, logged_out, touch, user};
use crate::harness::Harness;

/// The bound of most cases, in milliseconds after [`NOW`](crate::fixtures::NOW).
const BOUND: u64 = 500;

/// Asserts that an end reaches up to its bound and not further, and that a repetition ends nothing
/// new. `scope` returns a scope of Ann that contains all of the given sessions.
async fn assert_spares_later(h: &Harness, scope: impl Fn(&[SessionRecord]) -> EndScope) {
    let device = device_id();
    let on_device = |millis| {
        let mut record = full_at("ann", millis);
        record.device_id = Some(device);
        record
    };
    let early = [on_device(0), on_device(BOUND - 1), on_device(BOUND)];
    let later = [on_device(BOUND + 1), on_device(9_000)];
    let between = on_device(BOUND + 2);
    given_all(h, &early).await;
    given_all(h, &later).await;
    let named: Vec<_> = early.iter().chain(&later).chain([&between]).cloned().collect();
    let scope = scope(&named);

    let end = async |bound| h.end_created_until(&scope, &logged_out(10_000), bound).await;
    assert_eq!(end(at(BOUND)).await, ids_of(&early));
    assert_all_stored(h, &later).await;
    h.given(&between).await;
    assert_eq!(end(at(BOUND)).await, [], "a repetition ended something new");
    assert_all_stored(h, later.iter().chain([&between])).await;
    assert_eq!(end(at(BOUND + 1)).await, [later[0].id]);
    assert_all_stored(h, [&later[1], &between]).await;
    let over = early.into_iter().map(|record| record.into_ended(logged_out(10_000)));
    assert_all_stored(h, &over.collect::<Vec<_>>()).await;
}

/// An end of ids spares the sessions that were created later than the bound.
pub async fn end_of_ids_spares_what_was_created_after_its_bound(h: Harness) {
    assert_spares_later(&h, |records| EndScope::Ids(ids_of(records))).await;
}

/// A user's sessions that were created later than the bound are spared: the user signed in again.
pub async fn end_of_a_user_spares_what_was_created_after_its_bound(h: Harness) {
    assert_spares_later(&h, |_| EndScope::User(user("ann"))).await;
}

/// The same for all sessions of a user but one, whenever that one was created.
pub async fn end_of_a_user_except_one_spares_what_was_created_after_its_bound(h: Harness) {
    let kept = full("ann");
    h.given(&kept).await;
    let keep = kept.id;
    assert_spares_later(&h, |_| EndScope::UserExcept { user: user("ann"), keep }).await;
    assert_stored(&h, &kept).await;
}

/// The same for a user's sessions on one device.
pub async fn end_of_a_device_spares_what_was_created_after_its_bound(h: Harness) {
    let elsewhere = full("ann");
    h.given(&elsewhere).await;
    assert_spares_later(&h, |records| EndScope::Device {
        user: user("ann"),
        device: records[0].device_id.expect("a device"),
    })
    .await;
    assert_stored(&h, &elsewhere).await;
}

/// The creation time is compared: not the time in the id, which may differ, nor the time of the
/// last use.
pub async fn end_bound_goes_by_the_time_of_creation(h: Harness) {
    let with_id_of = |millis, created| {
        let mut record = full_at("ann", created);
        record.id = id_at(at(millis), Some(&user("ann")));
        record
    };
    let (early, late) = (with_id_of(9_000, BOUND), with_id_of(0, BOUND + 1));
    let (used, unused) = (full_at("ann", 1), full_at("ann", 9_000));
    given_all(&h, &[early.clone(), late.clone(), used.clone(), unused.clone()]).await;
    assert_eq!(super::apply(&h, &[touch(used.id, 9_001)]).await, 1);
    let scope = EndScope::User(user("ann"));
    let ended = h.end_created_until(&scope, &logged_out(10_000), at(BOUND)).await;
    assert_eq!(ended, ids_of([&early, &used]));
    assert_all_stored(&h, [&late, &unused]).await;
}

/// A bound before the first session ends none, and the latest possible bound ends all. Catches
/// times that overflow.
pub async fn end_bound_may_be_any_time(h: Harness) {
    let records = [full("ann"), full_at("ann", 9_000)];
    given_all(&h, &records).await;
    for scope in [EndScope::User(user("ann")), EndScope::Ids(ids_of(&records))] {
        for bound in [Timestamp::from_millis(i64::MIN), Timestamp::EPOCH, super::ago(1)] {
            assert_eq!(h.end_created_until(&scope, &logged_out(1), bound).await, []);
        }
    }
    assert_all_stored(&h, &records).await;
    let scope = EndScope::User(user("ann"));
    assert_eq!(h.end_created_until(&scope, &logged_out(1), Timestamp::MAX).await, ids_of(&records));
}
