//! `load`: what it returns, and that it writes nothing.

use session_core::limits::MAX_BATCH;
use session_core::{ErrorKind, ListQuery, StateFilter};

use super::{
    apply, assert_empty, assert_same, assert_stored, given_all, given_ended, ids_of, listed, load, several,
    sign_out, stats,
};
use crate::fixtures::{NOW, anonymous, at, full, id_at, logged_out, record, touch, user};
use crate::harness::{Harness, assert_kind, ids};

/// An unknown id finds nothing, which is no error, and the load creates nothing.
pub async fn load_of_an_unknown_id_is_empty_and_creates_nothing(h: Harness) {
    let unknown = record("ann");
    assert!(load(&h, &[unknown.id, id_at(NOW, None)]).await.is_empty());
    assert_empty(&h).await;
    h.given(&unknown).await;
}

/// Live, expired and ended sessions are all returned: the caller decides which are live.
pub async fn load_returns_live_expired_and_ended_alike(h: Harness) {
    let (live, mut past, over) = (record("ann"), record("ann"), record("bob"));
    past.expires_at = at(1);
    given_all(&h, &[live.clone(), past.clone()]).await;
    given_ended(&h, &over, &logged_out(5)).await;
    assert_eq!(ids(&load(&h, &[live.id, past.id, over.id]).await), ids_of([&live, &past, &over]));
    assert_stored(&h, &past).await;
    assert_stored(&h, &over.into_ended(logged_out(5))).await;
}

/// A session whose id occurs several times is returned once.
pub async fn load_returns_each_session_once(h: Harness) {
    let (one, two) = (record("ann"), record("ann"));
    given_all(&h, &[one.clone(), two.clone()]).await;
    let found = load(&h, &[one.id, two.id, one.id, one.id, two.id]).await;
    assert_eq!(ids(&found), ids_of([&one, &two]));
}

/// Among known and unknown ids the known ones are found, each with its own content. Catches results
/// that are matched to ids by position.
pub async fn load_of_a_mixture_returns_what_is_stored(h: Harness) {
    let known = ["ann", "bob", "cid", "dan"].map(full);
    given_all(&h, &known).await;
    let asked: Vec<_> = known.iter().rev().flat_map(|record| [id_at(NOW, None), record.id]).collect();
    let mut found = load(&h, &asked).await;
    found.sort_unstable_by(|one, other| one.user_id.cmp(&other.user_id));
    assert_eq!(found.len(), known.len());
    for (found, known) in found.iter().zip(&known) {
        assert_same(found, known);
    }
}

/// No ids return no records.
pub async fn load_of_no_ids_is_empty(h: Harness) {
    h.given(&record("ann")).await;
    assert!(load(&h, &[]).await.is_empty());
}

/// A full batch is returned completely. Catches a driver's row limit and a lost last chunk.
pub async fn load_of_500_ids_returns_all_of_them(h: Harness) {
    let records = several("ann", MAX_BATCH);
    given_all(&h, &records).await;
    assert_eq!(ids(&load(&h, &ids_of(&records)).await), ids_of(&records));
}

/// A batch of one id too many is refused, not truncated.
pub async fn load_of_501_ids_is_invalid(h: Harness) {
    let stored = record("ann");
    h.given(&stored).await;
    assert_kind(h.store().load(&vec![stored.id; MAX_BATCH + 1]).await, ErrorKind::Invalid);
}

/// Reading does not extend, count, mark or end a session, not even an expired one. Catches sliding
/// expiry and sweeping on read.
pub async fn load_and_list_never_write(h: Harness) {
    let (live, mut past) = (full("ann"), full("ann"));
    past.expires_at = at(1);
    given_all(&h, &[live.clone(), past.clone()]).await;
    for millis in [2, 1_000, 10_000_000] {
        load(&h, &[live.id, past.id]).await;
        listed(&h, ListQuery::default().with_state(StateFilter::Live(at(millis)))).await;
        listed(&h, ListQuery::default().with_user(user("ann"))).await;
        stats(&h, millis).await;
    }
    assert_stored(&h, &live).await;
    assert_stored(&h, &past).await;
}

/// The next load reflects each write: the update, the touch, the end. Catches caches and lagging
/// replicas.
pub async fn load_sees_every_write_that_returned(h: Harness) {
    for round in 1..=8_u64 {
        let mut record = anonymous();
        h.given(&record).await;
        assert_stored(&h, &record).await;
        record.label = Some(format!("round {round}"));
        record.revision = h.update(&record, record.revision).await.expect("update");
        assert_stored(&h, &record).await;
        let seen = touch(record.id, round);
        assert_eq!(apply(&h, std::slice::from_ref(&seen)).await, 1);
        assert!(record.touch(&seen, NOW));
        assert_stored(&h, &record).await;
        sign_out(&h, record.id, round).await;
        assert_stored(&h, &record.into_ended(logged_out(round))).await;
    }
}
