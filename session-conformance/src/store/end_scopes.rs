//! `end`: which sessions a scope contains.

use session_core::{EndScope, SessionId};

use super::{assert_all_stored, assert_stored, given_all, given_ended, ids_of, on_device, several};
use crate::fixtures::{anonymous, device_id, full, id_at, logged_out, record, user};
use crate::harness::Harness;

/// Ids end the sessions that they name, regardless of their users, and no sibling.
pub async fn end_of_ids_ends_those_and_no_others(h: Harness) {
    let named = [full("ann"), full("bob"), anonymous()];
    let others = [full("ann"), full("bob"), anonymous()];
    given_all(&h, &named).await;
    given_all(&h, &others).await;
    assert_eq!(h.end(&EndScope::Ids(ids_of(&named)), &logged_out(1)).await, ids_of(&named));
    assert_all_stored(&h, &others).await;
}

/// An end of a user reaches all of their sessions and no other, not even anonymous ones.
pub async fn end_of_a_user_ends_theirs_and_no_others(h: Harness) {
    let (theirs, others) = (several("ann", 12), [full("bob"), anonymous(), full("anna")]);
    given_all(&h, &theirs).await;
    given_all(&h, &others).await;
    assert_eq!(h.end(&EndScope::User(user("ann")), &logged_out(1)).await, ids_of(&theirs));
    assert_all_stored(&h, &others).await;
}

/// A session that only carries the user's name, or only belongs to their shard, is not theirs.
pub async fn end_of_a_user_leaves_anonymous_sessions_alone(h: Harness) {
    let mut named = record("ann");
    named.user_id = None;
    named.device_id = Some(device_id());
    h.given(&named).await;
    let device = named.device_id.expect("a device");
    let keep = id_at(named.created_at, None);
    for scope in [
        EndScope::User(user("ann")),
        EndScope::UserExcept { user: user("ann"), keep },
        EndScope::Device { user: user("ann"), device },
    ] {
        assert_eq!(h.end(&scope, &logged_out(1)).await, []);
    }
    assert_stored(&h, &named).await;
}

/// Signing out everywhere else keeps the one session unchanged.
pub async fn end_of_a_user_except_one_keeps_that_one(h: Harness) {
    let (current, others) = (full("ann"), several("ann", 5));
    let stranger = full("bob");
    h.given(&current).await;
    h.given(&stranger).await;
    given_all(&h, &others).await;
    let scope = EndScope::UserExcept { user: user("ann"), keep: current.id };
    assert_eq!(h.end(&scope, &logged_out(1)).await, ids_of(&others));
    assert_stored(&h, &current).await;
    assert_stored(&h, &stranger).await;
}

/// An exception that is not one of the user's live sessions spares nothing: it is unknown, another
/// user's, or ended.
pub async fn end_of_a_user_except_a_foreign_session_ends_all(h: Harness) {
    let (foreign, over) = (record("bob"), record("ann"));
    h.given(&foreign).await;
    given_ended(&h, &over, &logged_out(1)).await;
    let unknown: SessionId = record("ann").id;
    for keep in [foreign.id, over.id, unknown] {
        let theirs = several("ann", 3);
        given_all(&h, &theirs).await;
        let scope = EndScope::UserExcept { user: user("ann"), keep };
        assert_eq!(h.end(&scope, &logged_out(2)).await, ids_of(&theirs));
    }
    assert_stored(&h, &foreign).await;
    assert_stored(&h, &over.into_ended(logged_out(1))).await;
}

/// An end of a device reaches the user's sessions on it. Sessions on other devices or on none stay,
/// and so do another user's on the same device.
pub async fn end_of_a_device_ends_that_users_sessions_on_it(h: Harness) {
    let (phone, tablet) = (device_id(), device_id());
    let theirs = [on_device("ann", phone), on_device("ann", phone)];
    let others = [on_device("ann", tablet), on_device("bob", phone), record("ann"), anonymous()];
    given_all(&h, &theirs).await;
    given_all(&h, &others).await;
    let scope = EndScope::Device { user: user("ann"), device: phone };
    assert_eq!(h.end(&scope, &logged_out(1)).await, ids_of(&theirs));
    assert_eq!(h.end(&scope, &logged_out(2)).await, []);
    assert_all_stored(&h, &others).await;
}

/// A scope contains what exists when the call is made: sessions created after an end are new.
pub async fn end_of_a_user_does_not_reach_later_sessions(h: Harness) {
    let first = several("ann", 3);
    given_all(&h, &first).await;
    assert_eq!(h.end(&EndScope::User(user("ann")), &logged_out(9)).await, ids_of(&first));
    let later = several("ann", 3);
    given_all(&h, &later).await;
    assert_all_stored(&h, &later).await;
    assert_eq!(h.end(&EndScope::User(user("ann")), &logged_out(10)).await, ids_of(&later));
}
