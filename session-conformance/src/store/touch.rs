//! `touch`: last-seen times move forward, and nothing else changes.

use session_core::limits::MAX_BATCH;
use session_core::{EndReason, ErrorKind, LastClient, Revision, SessionRecord, Touch};

use super::{
    apply, assert_all_stored, assert_empty, assert_stored, expire, expired, given_all, given_ended, idle,
    ids_of, live, load, purge, several,
};
use crate::fixtures::{NOW, at, full, logged_out, record, touch};
use crate::harness::{Harness, assert_kind};

/// A touch changes the time and the client of the last use: not the revision, not the data, not the
/// deadlines.
pub async fn touch_changes_last_seen_and_nothing_else(h: Harness) {
    let mut record = full("ann");
    h.given(&record).await;
    let seen = touch(record.id, 1);
    assert_eq!(apply(&h, std::slice::from_ref(&seen)).await, 1);
    (record.last_seen_at, record.last_client) = (seen.last_seen_at, seen.last_client);
    assert_stored(&h, &record).await;
}

/// A touch that is older than the stored time changes nothing, not even the client. Catches a plain
/// overwrite.
pub async fn touch_never_moves_back(h: Harness) {
    let mut record = full("ann");
    record.last_seen_at = at(100);
    h.given(&record).await;
    for millis in [0, 1, 99] {
        assert_eq!(apply(&h, &[touch(record.id, millis)]).await, 0);
    }
    assert_stored(&h, &record).await;
}

/// A touch of the stored millisecond is not later.
pub async fn touch_of_the_same_time_moves_nothing(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    assert_eq!(apply(&h, &[touch(record.id, 0)]).await, 0);
    assert_stored(&h, &record).await;
}

/// A touch of an ended session is skipped and does not alter its history.
pub async fn touch_of_an_ended_session_is_skipped(h: Harness) {
    let record = full("ann");
    given_ended(&h, &record, &logged_out(5)).await;
    assert_eq!(apply(&h, &[touch(record.id, 3), touch(record.id, 7)]).await, 0);
    assert_stored(&h, &record.into_ended(logged_out(5))).await;
}

/// A touch of an unknown or purged session is skipped and creates nothing. Catches an upsert.
pub async fn touch_of_an_unknown_id_is_skipped_and_inserts_nothing(h: Harness) {
    let gone = record("ann");
    given_ended(&h, &gone, &logged_out(1)).await;
    assert_eq!(purge(&h, at(2), 10).await, 1);
    assert_eq!(apply(&h, &[touch(record("ann").id, 5), touch(gone.id, 5)]).await, 0);
    assert_empty(&h).await;
}

/// A touch in the last millisecond before the absolute end counts; one at the end or later does
/// not.
pub async fn touch_counts_only_before_the_absolute_deadline(h: Harness) {
    let mut record = full("ann");
    (record.idle_timeout, record.expires_at) = (None, at(1_000));
    h.given(&record).await;
    for millis in [1_000, 1_001, 9_000_000] {
        assert_eq!(apply(&h, &[touch(record.id, millis)]).await, 0);
    }
    assert_stored(&h, &record).await;
    assert_eq!(apply(&h, &[touch(record.id, 999)]).await, 1);
    assert_eq!(expire(&h, 1_000, 10).await.len(), 1);
}

/// The same for the idle end, which counts from the row's last use: a touch never revives.
pub async fn touch_counts_only_before_the_idle_deadline(h: Harness) {
    let record = idle("ann", 1_000);
    h.given(&record).await;
    for millis in [1_000, 1_001, 2_000] {
        assert_eq!(apply(&h, &[touch(record.id, millis)]).await, 0);
    }
    assert_stored(&h, &record).await;
    assert_eq!(apply(&h, &[touch(record.id, 999)]).await, 1);
    assert_eq!(apply(&h, &[touch(record.id, 1_998)]).await, 1);
    assert_eq!(apply(&h, &[touch(record.id, 2_998)]).await, 0);
}

/// Use extends the idle end, in lists and in sweeps, but never past the absolute end.
pub async fn touch_pushes_the_idle_deadline_but_not_the_absolute_one(h: Harness) {
    let mut record = idle("ann", 1_000);
    record.expires_at = at(2_500);
    h.given(&record).await;
    for millis in [900, 1_800] {
        assert_eq!(apply(&h, &[touch(record.id, millis)]).await, 1);
        assert_eq!(live(&h, "ann", millis + 699).await, [record.id]);
        assert!(expire(&h, millis + 699, 10).await.is_empty());
    }
    assert_eq!(live(&h, "ann", 2_500).await, []);
    let swept = expire(&h, 2_500, 10).await;
    assert_eq!(swept[0].ended(), Some(&expired(EndReason::AbsoluteTimeout, at(2_500))));
}

/// If a batch names a session twice, the latest touch counts regardless of the order, and the
/// session is counted once.
pub async fn touch_of_one_session_twice_counts_the_latest_once(h: Harness) {
    let records = several("ann", 3);
    given_all(&h, &records).await;
    let batch = |order: [u64; 3]| -> Vec<Touch> {
        let country = |millis: u64| if millis == 30 { "SE" } else { "NO" };
        let touches = order.into_iter().flat_map(|millis| records.iter().map(move |r| (r.id, millis)));
        let make =
            |(id, millis)| Touch::new(id, at(millis), LastClient::new(None, Some(country(millis).into())));
        touches.map(make).collect()
    };
    for (round, order) in [[10, 20, 30], [30, 20, 10], [20, 30, 10]].into_iter().enumerate() {
        let moved = apply(&h, &batch(order)).await;
        assert_eq!(moved, if round == 0 { 3 } else { 0 });
        for record in &records {
            let stored = h.loaded(record.id).await;
            assert_eq!(stored.last_seen_at, at(30));
            assert_eq!(stored.last_client.country_code.as_deref(), Some("SE"));
        }
    }
    assert_eq!(apply(&h, &[touch(records[0].id, 60), touch(records[0].id, 50)]).await, 1);
    assert_eq!(h.loaded(records[0].id).await.last_seen_at, at(60));
}

/// The result counts the sessions that were updated, not those in the batch.
pub async fn touch_returns_how_many_moved(h: Harness) {
    let (live, seen, over) = (several("ann", 4), record("ann"), record("ann"));
    given_all(&h, &live).await;
    h.given(&seen).await;
    assert_eq!(apply(&h, &[touch(seen.id, 80)]).await, 1);
    given_ended(&h, &over, &logged_out(1)).await;
    let mut batch: Vec<_> = ids_of(&live).into_iter().map(|id| touch(id, 70)).collect();
    batch.extend([touch(seen.id, 70), touch(over.id, 70), touch(record("bob").id, 70)]);
    assert_eq!(apply(&h, &batch).await, 4);
}

/// A touch without an address replaces a stored address. Catches an update that keeps the old value
/// in place of none.
pub async fn touch_without_a_client_clears_the_client(h: Harness) {
    let mut record = full("ann");
    h.given(&record).await;
    assert_eq!(apply(&h, &[Touch::new(record.id, at(1), LastClient::default())]).await, 1);
    (record.last_seen_at, record.last_client) = (at(1), LastClient::default());
    assert_stored(&h, &record).await;
}

/// Each session gets the values of its own touch. Catches a batch whose columns are mixed up.
pub async fn touch_gives_each_session_its_own_values(h: Harness) {
    let mut records = several("ann", 20);
    given_all(&h, &records).await;
    let values = |number: usize| {
        let country = ["AT", "BE", "CH"][number % 3];
        let address = format!("192.0.2.{number}").parse().ok().filter(|_| number % 4 != 1);
        (at(100 + number as u64), LastClient::new(address, Some(country.into()).filter(|_| number % 5 != 1)))
    };
    for (number, record) in records.iter_mut().enumerate() {
        (record.last_seen_at, record.last_client) = values(number);
    }
    let touch =
        |record: &SessionRecord| Touch::new(record.id, record.last_seen_at, record.last_client.clone());
    assert_eq!(apply(&h, &records.iter().rev().map(touch).collect::<Vec<_>>()).await, 20);
    assert_all_stored(&h, &records).await;
}

/// A touch does not make a save fail: the revision from before the touch is still current.
pub async fn touch_does_not_conflict_with_an_update(h: Harness) {
    let mut record = full("ann");
    h.given(&record).await;
    assert_eq!(apply(&h, &[touch(record.id, 5)]).await, 1);
    record.label = Some("saved".to_owned());
    assert_eq!(h.update(&record, Revision::FIRST).await.expect("update"), Revision::FIRST.next());
}

/// An empty batch updates nothing.
pub async fn touch_of_an_empty_batch_moves_nothing(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    assert_eq!(apply(&h, &[]).await, 0);
    assert_stored(&h, &record).await;
}

/// A full batch is applied completely, including its first and its last session.
pub async fn touch_of_500_moves_all_of_them(h: Harness) {
    let records = several("ann", MAX_BATCH);
    given_all(&h, &records).await;
    let batch: Vec<_> = records.iter().map(|record| touch(record.id, 1_000)).collect();
    assert_eq!(apply(&h, &batch).await, 500);
    let stored = load(&h, &ids_of(&records)).await;
    assert!(stored.iter().all(|record| record.last_seen_at == at(1_000)), "a touch was lost");
}

/// A batch of one touch too many is refused, and none of it is applied.
pub async fn touch_of_501_is_invalid_and_moves_nothing(h: Harness) {
    let record = full("ann");
    h.given(&record).await;
    let batch = vec![touch(record.id, 5); MAX_BATCH + 1];
    assert_kind(h.store().touch(&batch, NOW).await, ErrorKind::Invalid);
    assert_stored(&h, &record).await;
}
