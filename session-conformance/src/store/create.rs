//! `create`: what it stores, and what it does not overwrite.

use std::sync::Arc;

use session_core::{ErrorKind, ListQuery, OnExceed, SessionRecord, StateFilter};

use super::{assert_still_ended, assert_stored, found, given_ended, live, neighbour, roomy, stats};
use crate::fixtures::{NOW, at, full, id_at, limit, logged_out, record, user};
use crate::harness::{Harness, assert_kind};

/// A record with every field filled is read back unchanged, field by field.
pub async fn create_keeps_every_field(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    assert_stored(&h, &record).await;
}

/// Absent fields of a record stay absent: no default, no empty text, no zero.
pub async fn create_keeps_absent_fields_absent(h: Harness) {
    let record = SessionRecord::new(id_at(NOW, None), NOW, at(1));
    h.given(&record).await;
    assert_stored(&h, &record).await;
}

/// A second session under a stored id is refused, whether different or identical, and nothing of it
/// is kept. Catches an upsert.
pub async fn create_of_a_stored_id_is_already_exists_and_writes_nothing(h: Harness) {
    let first = full("ann");
    h.given(&first).await;
    let mut second = record("ann");
    second.id = first.id;
    second.label = Some("second".to_owned());
    for again in [second, first.clone()] {
        assert_kind(h.store().create(Arc::new(again), None).await, ErrorKind::AlreadyExists);
        assert_stored(&h, &first).await;
    }
}

/// An ended session keeps its id: a create does not revive it.
pub async fn create_of_an_ended_id_is_already_exists_and_stays_ended(h: Harness) {
    let first = record("ann");
    given_ended(&h, &first, &logged_out(1)).await;
    assert_kind(h.store().create(Arc::new(first.clone()), None).await, ErrorKind::AlreadyExists);
    assert_still_ended(&h, first.id, &logged_out(1)).await;
}

/// A session past its deadline that was not swept also keeps its id. Catches a store that treats
/// expired rows as free.
pub async fn create_of_an_expired_id_is_already_exists(h: Harness) {
    let mut first = record("ann");
    first.expires_at = at(1);
    h.given(&first).await;
    let mut second = record("ann");
    second.id = first.id;
    assert_kind(h.create(&second, &limit(9, OnExceed::EndOldest, 2)).await, ErrorKind::AlreadyExists);
    assert_stored(&h, &first).await;
}

/// Another user cannot take over a stored id, and the attempt leaves no trace in lists, limits and
/// counts. Catches an index that is written before the row.
pub async fn create_of_a_foreign_id_leaves_no_trace(h: Harness) {
    let first = record("ann");
    h.given(&first).await;
    let other = neighbour("ann");
    let mut second = first.clone();
    second.user_id = Some(other.clone());
    second.username = Some("intruder".to_owned());
    assert_kind(h.store().create(Arc::new(second.clone()), None).await, ErrorKind::AlreadyExists);
    assert_kind(h.create(&second, &roomy()).await, ErrorKind::AlreadyExists);

    assert_eq!(found(&h, ListQuery::default().with_user(other.clone())).await, []);
    assert_eq!(found(&h, ListQuery::default().with_username("intruder")).await, []);
    assert_eq!(live(&h, "ann", 1).await, [first.id]);
    let counted = stats(&h, 1).await;
    assert_eq!((counted.live, counted.users), (1, 1));
    let only = record(other.as_str());
    assert_eq!(h.create(&only, &limit(1, OnExceed::Refuse, 1)).await.expect("a free place"), []);
}

/// Every query finds a new session as soon as `create` has returned. Catches lagging indexes and
/// replicas.
pub async fn create_is_seen_at_once_by_every_query(h: Harness) {
    for count in 1..=10_u64 {
        let record = record("ann");
        h.given(&record).await;
        h.loaded(record.id).await;
        let query = ListQuery::default().with_user(user("ann")).with_state(StateFilter::Live(at(1)));
        assert!(found(&h, query).await.contains(&record.id), "the list misses a session");
        assert_eq!(stats(&h, 1).await.live, count);
    }
}
