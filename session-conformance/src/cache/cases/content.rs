//! Content: entries are read back unchanged.

use std::sync::Arc;

use session_core::limits::MAX_PAYLOAD;
use session_core::{Actor, CacheBody, CacheEntry, EndReason, Ended, SessionKind, SessionRecord, Timestamp};

use super::{entry, tombstone};
use crate::CacheHarness;
use crate::fixtures::{SCOPE, anonymous, at, full, id_at, record, user};

async fn round_trip(h: &CacheHarness, record: SessionRecord) {
    let put = CacheEntry::of(SCOPE, Arc::new(record), at(7));
    h.given(&put).await;
    h.assert_holds(&put).await;
}

/// Every field of a record is read back.
pub async fn full_record_comes_back_whole(h: CacheHarness) {
    round_trip(&h, full("ann")).await;
}

/// Absent values are read back as absent, not as empty or zero.
pub async fn record_without_anything_comes_back_without_anything(h: CacheHarness) {
    round_trip(&h, anonymous()).await;
    let mut bare = SessionRecord::new(id_at(at(0), None), at(0), at(1));
    bare.kind = SessionKind::External;
    round_trip(&h, bare).await;
}

/// The time of verification is read back as the same millisecond.
pub async fn verified_at_keeps_its_millisecond(h: CacheHarness) {
    for millis in [0, 1, -1, 999, 1_767_225_600_001, 1_767_225_600_999, 253_402_300_799_999] {
        let verified_at = Timestamp::from_millis(millis);
        let record = record("ann");
        let put = entry(&record, 1, verified_at);
        h.given(&put).await;
        assert_eq!(h.get(record.id).await.expect("the entry").verified_at, verified_at);
        let end = tombstone(&record, 2, verified_at);
        h.given(&end).await;
        assert_eq!(h.get(record.id).await.expect("the tombstone").verified_at, verified_at);
    }
}

/// The highest revision is read back unchanged.
pub async fn highest_revision_comes_back(h: CacheHarness) {
    let highest = i64::MAX.unsigned_abs();
    for revision in [highest, highest - 1] {
        let put = entry(&record("ann"), revision, at(0));
        h.given(&put).await;
        h.assert_holds(&put).await;
    }
}

/// A tombstone keeps the reason, the time and the actor, for every reason and every kind of actor.
pub async fn tombstone_keeps_reason_time_and_actor(h: CacheHarness) {
    let actors = [Actor::System, Actor::User(user("a:b c")), Actor::Admin(user("Zoë:'\"\\"))];
    for (number, reason) in EndReason::ALL.iter().enumerate() {
        let ended = Ended::new(*reason, at(number as u64), actors[number % actors.len()].clone());
        let record = full("ann").into_ended(ended.clone());
        let put = CacheEntry::of(SCOPE, record.into(), at(77));
        assert_eq!(put.body, CacheBody::Tombstone(ended));
        h.given(&put).await;
        h.assert_holds(&put).await;
    }
}

/// Data is bytes: all 256 values, with NUL first and last.
pub async fn every_byte_of_the_data_comes_back(h: CacheHarness) {
    let mut record = record("ann");
    let bytes: Vec<u8> = (0..=255).chain([b'\r', b'\n', 0xff, 0xfe, 0]).collect();
    record.data = bytes.into();
    round_trip(&h, record).await;
}

/// The largest data that a store keeps by default fits into a cache.
pub async fn largest_payload_comes_back(h: CacheHarness) {
    let mut record = full("ann");
    record.data = (0..=250).cycle().take(MAX_PAYLOAD).collect();
    round_trip(&h, record).await;
}

/// Texts are not trimmed, folded or normalised.
pub async fn texts_come_back_byte_by_byte(h: CacheHarness) {
    for text in
        [" padded ", "MiXeD", "e\u{301} \u{e9}", "日本語", "😀\u{200d}💻", "$a.b", "'; DROP --", "\\\"{}"]
    {
        let mut record = record(text);
        record.username = Some(text.to_owned());
        record.label = Some(text.to_owned());
        round_trip(&h, record).await;
    }
}
