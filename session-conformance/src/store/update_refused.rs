//! `update`: when it is refused, with which evidence, and that a refusal writes nothing.

use session_core::{Actor, EndReason, Ended, ErrorKind, OnExceed, Revision, SessionState, UserId};

use super::{
    apply, assert_empty, assert_still_ended, assert_stored, evicted, expire, expired, given_ended, purge,
    sign_out,
};
use crate::fixtures::{at, full, limit, logged_out, record, touch};
use crate::harness::{Harness, assert_kind};

fn revision(number: u64) -> Revision {
    Revision::new(number).expect("a revision")
}

/// A stale revision is a conflict, the error carries the stored revision, and nothing is written.
pub async fn update_of_a_stale_revision_is_a_conflict_with_the_stored_one(h: Harness) {
    let mut current = full("ann");
    h.given(&current).await;
    for _ in 0..3 {
        current.revision = h.update(&current, current.revision).await.expect("update");
    }
    let mut late = current.clone();
    late.label = Some("late".to_owned());
    late.last_seen_at = at(9_000);
    for stale in 1..=3 {
        let error = assert_kind(h.update(&late, revision(stale)).await, ErrorKind::Conflict);
        assert_eq!(error.current_revision(), Some(revision(4)));
        assert_stored(&h, &current).await;
    }
}

/// A revision that was never reached is a conflict, too. Catches a comparison with "less than".
pub async fn update_of_a_future_revision_is_a_conflict(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    for future in [2, 3, i64::MAX.unsigned_abs()] {
        let error = assert_kind(h.update(&record, revision(future)).await, ErrorKind::Conflict);
        assert_eq!(error.current_revision(), Some(Revision::FIRST));
    }
    assert_stored(&h, &record).await;
}

/// An update never inserts. Catches an upsert, which would bring removed sessions back.
pub async fn update_of_an_unknown_id_is_not_found_and_inserts_nothing(h: Harness) {
    let unknown = full("ann");
    for expected in [1, 2] {
        assert_kind(h.update(&unknown, revision(expected)).await, ErrorKind::NotFound);
    }
    assert!(h.load(unknown.id).await.is_none());
    assert_empty(&h).await;
    h.given(&unknown).await;
}

/// An update does not insert a session that was purged in the meantime.
pub async fn update_of_a_purged_session_is_not_found(h: Harness) {
    let record = full("ann");
    given_ended(&h, &record, &logged_out(1)).await;
    assert_eq!(purge(&h, at(2), 10).await, 1);
    for expected in [1, 2, 3] {
        assert_kind(h.update(&record, revision(expected)).await, ErrorKind::NotFound);
    }
    assert!(h.load(record.id).await.is_none());
}

/// An ended session stays ended, and the error carries the complete end: reason, time and actor.
pub async fn update_of_an_ended_session_is_ended_with_its_end(h: Harness) {
    let admin: UserId = "root:1".parse().expect("a name");
    let first = Ended::new(EndReason::RevokedByAdmin, at(17), Actor::Admin(admin));
    let record = full("ann");
    given_ended(&h, &record, &first).await;
    let error = assert_kind(h.update(&record, revision(2)).await, ErrorKind::Ended);
    assert_eq!(error.ended_session(), Some(&first));
    assert_stored(&h, &record.into_ended(first)).await;
}

/// The end takes precedence over the conflict: a caller with a stale revision learns that the
/// session has ended.
pub async fn update_of_an_ended_session_is_ended_at_any_revision(h: Harness) {
    let record = full("ann");
    given_ended(&h, &record, &logged_out(1)).await;
    for expected in [1, 2, 3, 99] {
        let error = assert_kind(h.update(&record, revision(expected)).await, ErrorKind::Ended);
        assert_eq!(error.ended_session(), Some(&logged_out(1)));
    }
    assert_still_ended(&h, record.id, &logged_out(1)).await;
}

/// Sessions end only through `end`, which needs no revision and clears data and secrets.
pub async fn update_with_an_ended_record_is_invalid_and_ends_nothing(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    let mut over = record.clone().into_ended(logged_out(1));
    for expected in [1, 2] {
        assert_kind(h.update(&over, revision(expected)).await, ErrorKind::Invalid);
    }
    over.state = SessionState::Ended(logged_out(2));
    over.revision = Revision::FIRST;
    assert_kind(h.update(&over, Revision::FIRST).await, ErrorKind::Invalid);
    assert_stored(&h, &record).await;
}

/// No call makes an ended session active again or changes its end, whether a caller, a sweep or a
/// limit ended it.
pub async fn nothing_makes_an_ended_session_active_again(h: Harness) {
    let limit = limit(1, OnExceed::EndOldest, 1_000);
    let (by_hand, mut by_sweep, by_limit) = (full("ann"), full("bob"), full("cid"));
    by_sweep.expires_at = at(1_000);
    h.given(&by_sweep).await;
    h.given(&by_limit).await;
    given_ended(&h, &by_hand, &logged_out(1)).await;
    assert_eq!(expire(&h, 1_000, 10).await.len(), 1);
    assert_eq!(h.create(&record("cid"), &limit).await.expect("create").len(), 1);
    for (record, ended) in [
        (by_hand, logged_out(1)),
        (by_sweep, expired(EndReason::AbsoluteTimeout, at(1_000))),
        (by_limit, evicted(&limit)),
    ] {
        let after = record.clone().into_ended(ended.clone());
        for round in 1..=3_u64 {
            let error = assert_kind(h.update(&record, revision(round)).await, ErrorKind::Ended);
            assert_eq!(error.ended_session(), Some(&ended));
            assert_kind(h.store().create(record.clone().into(), None).await, ErrorKind::AlreadyExists);
            assert_eq!(apply(&h, &[touch(record.id, 100 * round)]).await, 0);
            assert_eq!(sign_out(&h, record.id, 10 * round).await, []);
            assert_stored(&h, &after).await;
        }
    }
    assert_eq!(expire(&h, 10_000_000, 10).await.len(), 1, "only the new session is left");
}
