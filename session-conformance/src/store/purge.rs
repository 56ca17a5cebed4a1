//! `purge`: what it deletes, and that nothing of it is left.

use session_core::limits::MAX_BATCH;
use session_core::{
    Actor, EndReason, EndScope, Ended, ErrorKind, ListQuery, OnExceed, StateFilter, StoreStats, Timestamp,
};

use super::{
    ago, apply, assert_all_stored, assert_stored, end, found, given_all, given_ended, idle, ids_of, live,
    load, purge, several, sign_out, stats,
};
use crate::fixtures::{at, full, limit, logged_out, record, record_at, touch, user};
use crate::harness::{Harness, assert_kind, ids};

/// Only sessions that ended strictly before the time are deleted.
pub async fn purge_deletes_only_ends_before_the_time(h: Harness) {
    let records = several("ann", 3);
    for (millis, record) in (99..).zip(&records) {
        given_ended(&h, record, &logged_out(millis)).await;
    }
    assert_eq!(purge(&h, at(99), 10).await, 0);
    assert_eq!(purge(&h, at(100), 10).await, 1);
    assert_eq!(ids(&load(&h, &ids_of(&records)).await), ids_of(&records[1..]));
    assert_eq!(purge(&h, at(102), 10).await, 2);
}

/// An active session is never deleted, however old it is and however long past its deadlines.
pub async fn purge_never_deletes_an_active_session(h: Harness) {
    let mut records = [full("ann"), full("bob"), idle("ann", 1)];
    records[1].expires_at = at(1);
    given_all(&h, &records).await;
    for before in [at(2), at(90_000_000), Timestamp::MAX] {
        assert_eq!(purge(&h, before, 10).await, 0);
    }
    assert_all_stored(&h, &records).await;
}

/// The time of the end decides, not the times of creation, last use or deadline.
pub async fn purge_goes_by_the_end(h: Harness) {
    let (long_ago, recent) = (record("ann"), record_at("ann", 5_000));
    given_ended(&h, &long_ago, &logged_out(9_000)).await;
    given_ended(&h, &recent, &logged_out(7_000)).await;
    assert_eq!(purge(&h, at(8_000), 10).await, 1);
    assert!(h.load(recent.id).await.is_none());
    assert!(h.load(long_ago.id).await.is_some());
}

/// At most as many sessions are deleted as requested, and the result is their number.
pub async fn purge_deletes_at_most_the_limit(h: Harness) {
    let records = several("ann", 7);
    given_all(&h, &records).await;
    end(&h, &EndScope::User(user("ann")), &logged_out(1)).await;
    for (expected, left) in [(3, 4), (3, 1), (1, 0), (0, 0)] {
        assert_eq!(purge(&h, at(2), 3).await, expected);
        assert_eq!(load(&h, &ids_of(&records)).await.len(), left);
    }
}

/// A limit of zero deletes nothing.
pub async fn purge_of_zero_deletes_nothing(h: Harness) {
    let record = record("ann");
    given_ended(&h, &record, &logged_out(1)).await;
    assert_eq!(purge(&h, at(2), 0).await, 0);
    assert!(h.load(record.id).await.is_some());
}

/// The largest batch deletes 500 of 501.
pub async fn purge_of_500_leaves_the_501st(h: Harness) {
    given_all(&h, &several("ann", MAX_BATCH + 1)).await;
    assert_eq!(end(&h, &EndScope::User(user("ann")), &logged_out(1)).await.len(), 501);
    assert_eq!(purge(&h, at(2), MAX_BATCH).await, 500);
    assert_eq!(purge(&h, at(2), MAX_BATCH).await, 1);
    assert_eq!(stats(&h, 2).await, StoreStats::default());
}

/// A larger limit is refused, and nothing is deleted.
pub async fn purge_of_501_is_invalid_and_deletes_nothing(h: Harness) {
    let record = record("ann");
    given_ended(&h, &record, &logged_out(1)).await;
    for limit in [501, usize::MAX] {
        assert_kind(h.store().purge(at(2), limit).await, ErrorKind::Invalid);
    }
    assert!(h.load(record.id).await.is_some());
}

/// No query finds a purged session: not by id, user, name or state, and no count includes it.
/// Catches an index entry that is left behind.
pub async fn purge_leaves_nothing_behind(h: Harness) {
    let (gone, kept) = (full("ann"), full("ann"));
    h.given(&kept).await;
    given_ended(&h, &gone, &logged_out(1)).await;
    assert_eq!(purge(&h, at(2), 10).await, 1);
    assert!(h.load(gone.id).await.is_none());
    for query in [
        ListQuery::default(),
        ListQuery::default().with_user(user("ann")),
        ListQuery::default().with_username("name of ann"),
    ] {
        assert_eq!(found(&h, query).await, [kept.id]);
    }
    assert_eq!(found(&h, ListQuery::default().with_state(StateFilter::Ended)).await, []);
    let counted = stats(&h, 2).await;
    assert_eq!((counted.live, counted.ended.len()), (1, 0));
    assert_eq!(sign_out(&h, gone.id, 3).await, []);
    assert_eq!(apply(&h, &[touch(gone.id, 3)]).await, 0);
    assert_eq!(h.end(&EndScope::User(user("ann")), &logged_out(3)).await, [kept.id]);
}

/// Once purged, an id is unknown: a record can be created under it and behaves like any other.
pub async fn purge_frees_the_id(h: Harness) {
    let record = full("ann");
    given_ended(&h, &record, &logged_out(1)).await;
    assert_eq!(purge(&h, at(2), 10).await, 1);
    assert!(h.create(&record, &limit(1, OnExceed::Refuse, 3)).await.expect("create").is_empty());
    assert_stored(&h, &record).await;
    assert_eq!(live(&h, "ann", 3).await, [record.id]);
    assert_eq!(purge(&h, Timestamp::MAX, 10).await, 0);
}

/// A session can be purged regardless of how it ended.
pub async fn purge_deletes_ends_of_every_reason(h: Harness) {
    for reason in EndReason::ALL {
        let ended = Ended::new(*reason, ago(1), Actor::System);
        given_ended(&h, &record("ann"), &ended).await;
    }
    assert_eq!(purge(&h, at(0), 100).await, EndReason::ALL.len() as u64);
}
