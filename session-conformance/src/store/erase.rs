//! `erase`: what is removed of a user, and what stays.

use session_core::limits::MAX_BATCH;
use session_core::{Actor, EndReason, Ended, ErrorKind, ListQuery, SessionState};

use super::{assert_stored, found, given_all, given_ended, ids_of, several, sign_out};
use crate::fixtures::{at, full, logged_out, record, record_at, user};
use crate::harness::{Harness, assert_kind};

async fn erase(h: &Harness, name: &str, limit: usize) -> u64 {
    h.store().erase(&user(name), limit).await.expect("erase")
}

/// Everything that identifies the user is removed; the id, the times and the reason of the end
/// stay.
pub async fn erase_leaves_the_tombstone_and_nothing_of_the_user(h: Harness) {
    let before = full("ann");
    given_ended(&h, &before, &Ended::new(EndReason::RevokedByUser, at(5), Actor::User(user("ann")))).await;
    assert_eq!(erase(&h, "ann", 10).await, 1);
    let after = h.loaded(before.id).await;
    let ended = Ended::new(EndReason::RevokedByUser, at(5), Actor::User(user("ann")));
    assert_eq!(*after, before.clone().into_ended(ended).into_erased());
    assert!(after.user_id.is_none() && after.username.is_none() && after.label.is_none());
    assert!(after.device_id.is_none() && after.auth.is_empty() && after.credential_version.is_none());
    let ended = after.ended().expect("it stays ended");
    assert_eq!((ended.reason, ended.at, &ended.by), (EndReason::RevokedByUser, at(5), &Actor::System));
    assert_eq!(after.created_at, before.created_at);
    assert_eq!(after.revision, before.revision.next().next());
}

/// Active sessions are left unchanged: end them first.
pub async fn erase_leaves_active_sessions_alone(h: Harness) {
    let active = full("ann");
    let mut expired = record_at("ann", 1);
    expired.expires_at = at(2);
    given_all(&h, &[active.clone(), expired.clone()]).await;
    assert_eq!(erase(&h, "ann", 10).await, 0);
    assert_stored(&h, &active).await;
    assert_stored(&h, &expired).await;
}

/// Only the given user is erased.
pub async fn erase_leaves_other_users_alone(h: Harness) {
    let (ann, bob) = (full("ann"), full("bob"));
    given_ended(&h, &ann, &logged_out(1)).await;
    given_ended(&h, &bob, &logged_out(1)).await;
    assert_eq!(erase(&h, "ann", 10).await, 1);
    assert_stored(&h, &bob.into_ended(logged_out(1))).await;
}

/// Lists by user, by name and by device no longer find an erased session; an unfiltered list does.
pub async fn erase_takes_the_session_out_of_the_users_lists(h: Harness) {
    let session = full("ann");
    given_ended(&h, &session, &logged_out(1)).await;
    erase(&h, "ann", 10).await;
    assert!(found(&h, ListQuery::default().with_user(user("ann"))).await.is_empty());
    assert!(found(&h, ListQuery::default().with_username("name of ann")).await.is_empty());
    let device = session.device_id.expect("a device");
    assert!(found(&h, ListQuery::default().with_device(device)).await.is_empty());
    assert_eq!(found(&h, ListQuery::default()).await, [session.id]);
}

/// A call erases at most its limit, and fewer mean that nothing is left.
pub async fn erase_forgets_at_most_the_limit(h: Harness) {
    for session in several("ann", 5) {
        given_ended(&h, &session, &logged_out(1)).await;
    }
    assert_eq!(erase(&h, "ann", 0).await, 0);
    assert_eq!(erase(&h, "ann", 2).await, 2);
    assert_eq!(erase(&h, "ann", 2).await, 2);
    assert_eq!(erase(&h, "ann", 2).await, 1);
    assert_eq!(erase(&h, "ann", 2).await, 0);
}

/// Erasing an unknown user erases nothing.
pub async fn erase_of_an_unknown_user_does_nothing(h: Harness) {
    let session = record("ann");
    given_all(&h, std::slice::from_ref(&session)).await;
    assert_eq!(erase(&h, "zoe", 10).await, 0);
    assert_stored(&h, &session).await;
}

/// More than one batch is refused, and nothing is erased.
pub async fn erase_of_501_is_invalid_and_forgets_nothing(h: Harness) {
    let session = record("ann");
    given_ended(&h, &session, &logged_out(1)).await;
    assert_kind(h.store().erase(&user("ann"), MAX_BATCH + 1).await, ErrorKind::Invalid);
    assert_stored(&h, &session.into_ended(logged_out(1))).await;
    assert_eq!(erase(&h, "ann", MAX_BATCH).await, 1);
}

/// An erased session stays ended, regardless of late writes.
pub async fn erase_brings_nothing_back(h: Harness) {
    let session = full("ann");
    given_all(&h, std::slice::from_ref(&session)).await;
    sign_out(&h, session.id, 1).await;
    erase(&h, "ann", 10).await;
    assert_kind(h.update(&session, session.revision).await, ErrorKind::Ended);
    assert_kind(h.store().create(session.clone().into(), None).await, ErrorKind::AlreadyExists);
    assert!(!matches!(h.loaded(session.id).await.state, SessionState::Active));
}

/// Erased sessions are purged like any other.
pub async fn erased_sessions_are_purged_by_their_end(h: Harness) {
    let sessions = several("ann", 2);
    for session in &sessions {
        given_ended(&h, session, &logged_out(10)).await;
    }
    erase(&h, "ann", 10).await;
    assert_eq!(h.store().purge(at(10), 10).await.expect("purge"), 0);
    assert_eq!(h.store().purge(at(11), 10).await.expect("purge"), 2);
    assert!(super::load(&h, &ids_of(&sessions)).await.is_empty());
}
