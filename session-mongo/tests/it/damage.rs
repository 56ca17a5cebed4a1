//! Damaged documents, and how each operation handles them.

mod fields;
mod foreign;

use std::collections::BTreeSet;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, doc};
use session_conformance::assert_kind;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_mongo::{LimitMethod, MongoStore};

use self::fields::{Damage, damages};
use crate::support::{Lab, create, ids, key};

/// Creates a session of Ann, and returns all damaged variants of its document while it is active.
async fn damaged_active(lab: &Lab, store: &MongoStore) -> (Arc<SessionRecord>, Vec<Damage>) {
    let bad = create(store, full("ann")).await;
    let stored = lab.document(bad.id).await;
    (bad, damages(&stored))
}

/// Same as [`damaged_active`], without damage inside embedded documents, which only reads detect.
async fn damaged_outside(lab: &Lab, store: &MongoStore) -> (Arc<SessionRecord>, Vec<Damage>) {
    let (bad, all) = damaged_active(lab, store).await;
    (bad, all.into_iter().filter(|damage| !damage.field.contains('.')).collect())
}

/// Same as [`damaged_active`], for a session that has ended.
async fn damaged_ended(lab: &Lab, store: &MongoStore) -> (Arc<SessionRecord>, Vec<Damage>) {
    let bad = create(store, full("ann")).await;
    store.end(&EndScope::id(bad.id), &logged_out(3), Timestamp::MAX).await.unwrap();
    let stored = lab.document(bad.id).await;
    (bad, damages(&stored))
}

#[tokio::test(flavor = "multi_thread")]
async fn table_of_damages_covers_every_written_field() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (bad, all) = damaged_active(&lab, &store).await;
    let damaged: BTreeSet<_> = all.iter().filter_map(|damage| damage.field.split('.').next()).collect();
    let stored = lab.document(bad.id).await;
    let written: BTreeSet<_> = stored.keys().map(String::as_str).collect();
    let missing: Vec<_> = written.difference(&damaged).copied().collect();
    assert_eq!(missing, ["_id", "purgeAt"], "these have their own tests");
    for field in written.iter().filter(|field| damaged.contains(**field)) {
        let named = all.iter().filter(|damage| damage.field == **field);
        assert!(named.count() >= 12, "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_active_document_is_corrupt_and_unchanged() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (bad, all) = damaged_active(&lab, &store).await;
    assert_corrupt_and_unchanged(&lab, &store, bad, all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_ended_document_is_corrupt_and_unchanged() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (bad, all) = damaged_ended(&lab, &store).await;
    assert_corrupt_and_unchanged(&lab, &store, bad, all).await;
}

async fn assert_corrupt_and_unchanged(
    lab: &Lab,
    store: &MongoStore,
    bad: Arc<SessionRecord>,
    all: Vec<Damage>,
) {
    let good = create(store, full("bob")).await;
    for damage in all {
        let what = damage.name();
        lab.put(&damage.document).await;
        let before = lab.bytes(&key(bad.id)).await;
        for ids in [vec![bad.id], vec![good.id, bad.id], vec![bad.id, good.id]] {
            let kind = store.load(&ids).await.map_err(|error| error.kind()).err();
            assert_eq!(kind, Some(ErrorKind::Corrupt), "{what}");
        }
        assert_eq!(store.load(&[good.id]).await.unwrap(), [Arc::clone(&good)], "{what}");
        let taken = store.create(Arc::clone(&bad), None).await.map_err(|error| error.kind());
        assert_eq!(taken.unwrap_err(), ErrorKind::AlreadyExists, "{what}");
        assert_listed(store, &damage).await;
        let counted = store.stats(at(1)).await.map_err(|error| error.kind()).err();
        let is_counted = what != "end.reason: unknown";
        assert_eq!(counted, (!is_counted).then_some(ErrorKind::Corrupt), "{what}");
        assert_eq!(lab.bytes(&key(bad.id)).await, before, "{what}");
    }
}

/// Asserts that a listing is corrupt if it reads the damaged field.
async fn assert_listed(store: &MongoStore, damage: &Damage) {
    let by_bob = ListQuery::default().with_user(user("bob"));
    assert_eq!(store.list(&by_bob).await.unwrap().records.len(), 1, "{}", damage.name());
    let listed = store.list(&ListQuery::default()).await;
    let has_state =
        ["active", "ended"].map(Bson::from).iter().any(|state| damage.document.get("state") == Some(state));
    let expected = match (has_state, damage.is_hidden()) {
        (false, _) => Ok(1),
        (true, false) => Err(ErrorKind::Corrupt),
        (true, true) => Ok(2),
    };
    let found = listed.map(|page| page.records.len()).map_err(|error| error.kind());
    assert_eq!(found, expected, "{}", damage.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn save_of_a_damaged_document_fails_or_replaces_it() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (bad, all) = damaged_outside(&lab, &store).await;
    for damage in all {
        let what = damage.name();
        lab.put(&damage.document).await;
        let before = lab.bytes(&key(bad.id)).await;
        let saved = store.update(Arc::clone(&bad), bad.revision).await.map_err(|error| error.kind());
        if ["state", "revision"].contains(&damage.field.as_str())
            && !has_first_revision_to_the_server(&damage)
        {
            assert_eq!(saved, Err(ErrorKind::Corrupt), "{what}");
        }
        match saved {
            Ok(revision) => {
                assert_eq!(revision, bad.revision.next(), "{what}");
                let is_bad = |error: Error| error.kind() == ErrorKind::Corrupt;
                assert!(
                    store.load(&[bad.id]).await.map_or_else(is_bad, |found| found[0].revision == revision),
                    "{what}"
                );
            }
            Err(kind) => {
                // Servers keep a last-seen value that sorts after every date, but cannot add an
                // idle timeout to it.
                let later = ["lastSeenAt: a timestamp", "lastSeenAt: the largest key"];
                let is_reported =
                    kind == ErrorKind::Corrupt || (kind == ErrorKind::Other && later.contains(&&*what));
                assert!(is_reported, "{what}: {kind:?}");
                assert_eq!(lab.bytes(&key(bad.id)).await, before, "{what}");
            }
        }
    }
}

/// Returns true if the server matches the damaged revision as 1: servers compare numbers of all
/// types, and match an array by its elements.
fn has_first_revision_to_the_server(damage: &Damage) -> bool {
    let equal = [Bson::Int32(1), Bson::Double(1.0), Bson::Array(vec![Bson::Int32(1)])];
    equal.iter().any(|equal| damage.document.get("revision") == Some(equal))
}

/// The touch also does not prevent the other touches of its batch.
#[tokio::test(flavor = "multi_thread")]
async fn touch_does_not_hide_a_damaged_document_from_sweeps() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (bad, all) = damaged_outside(&lab, &store).await;
    for (number, damage) in (10..).zip(all) {
        let what = damage.name();
        lab.put(&damage.document).await;
        let good = create(&store, full("bob")).await;
        let moved = store.touch(&[touch(bad.id, number), touch(good.id, number)], NOW).await;
        assert!(moved.is_ok_and(|moved| (1..=2).contains(&moved)), "{what}");
        assert_eq!(store.load(&[good.id]).await.unwrap()[0].last_seen_at, at(number), "{what}");
        let after = lab.document(bad.id).await;
        let is_date = |document: &Document| document.get_datetime("deadlineAt").is_ok();
        assert_eq!(is_date(&after), is_date(&damage.document), "{what}");
        // A touch repairs the fields that it writes.
        if !["lastSeenAt", "lastClient", "deadlineAt", "idleTimeout"].contains(&damage.field.as_str()) {
            assert_kind(store.load(&[bad.id]).await, ErrorKind::Corrupt);
        }
    }
}

/// Returns true if the filter of an end, which uses `fields`, can match the document.
fn is_found(damage: &Damage, fields: &[&str]) -> bool {
    !fields.contains(&damage.field.as_str())
}

/// Returns the ids of the ended sessions without the damaged one, which is among them if the end
/// repaired it.
fn without(bad: SessionId, ended: &[Arc<SessionRecord>]) -> Vec<SessionId> {
    let mut ids = ids(ended);
    ids.retain(|id| *id != bad);
    ids
}

async fn assert_state(lab: &Lab, damage: &Damage, id: SessionId, is_found: bool) {
    let after = lab.document(id).await;
    if is_found {
        assert_eq!(after.get_str("state").unwrap(), "ended", "{}", damage.name());
        assert!(after.get_datetime("purgeAt").is_ok(), "{}", damage.name());
    } else {
        assert_eq!(after, damage.document, "{}", damage.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_document_ended_by_id_stays_ended_after_repair() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (bad, all) = damaged_outside(&lab, &store).await;
    let stored = lab.document(bad.id).await;
    for damage in all {
        let what = damage.name();
        lab.put(&damage.document).await;
        let other = create(&store, record_at("eve", 1)).await;
        let scope = EndScope::Ids(vec![bad.id, other.id]);
        let ended = store.end(&scope, &logged_out(600), at(600)).await.unwrap();
        assert_eq!(without(bad.id, &ended), [other.id], "{what}");
        let is_found = is_found(&damage, &["state"]);
        assert_state(&lab, &damage, bad.id, is_found).await;
        if is_found {
            // Repairs the damaged field.
            let repaired = stored.get(&damage.field).cloned().unwrap();
            let cleared = ["secret", "refresh", "data", "deadlineAt", "end"].contains(&damage.field.as_str());
            let change = if cleared {
                doc! { "$set": { "x": 1 } }
            } else {
                doc! { "$set": { &damage.field: repaired } }
            };
            lab.documents().update_one(doc! { "_id": key(bad.id) }, change).await.unwrap();
            let found = store.load(&[bad.id]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found[0].ended(), Some(&logged_out(600)), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_a_user_includes_a_damaged_document() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (bad, all) = damaged_outside(&lab, &store).await;
    for damage in all {
        let what = damage.name();
        lab.put(&damage.document).await;
        let other = create(&store, record_at("ann", 1)).await;
        let ended = store.end(&EndScope::User(user("ann")), &logged_out(600), at(600)).await.unwrap();
        assert_eq!(without(bad.id, &ended), [other.id], "{what}");
        assert_state(&lab, &damage, bad.id, is_found(&damage, &["state", "userId"])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sweep_includes_a_damaged_document() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (bad, all) = damaged_outside(&lab, &store).await;
    for damage in all {
        let what = damage.name();
        lab.put(&damage.document).await;
        let other = create(&store, record_at("ann", 1)).await;
        let swept = store.expire(at(4_000_000), 10).await.unwrap();
        assert_eq!(without(bad.id, &swept), [other.id], "{what}");
        assert!(store.expire(at(4_000_000), 10).await.unwrap().is_empty(), "{what}");
        let has_deadline = damage.document.get_datetime("deadlineAt").is_ok();
        assert_state(&lab, &damage, bad.id, has_deadline && is_found(&damage, &["state"])).await;
    }
}

/// A result below the limit would mean that no expired session is left.
#[tokio::test(flavor = "multi_thread")]
async fn full_sweep_does_not_count_damaged_documents() {
    let Some((lab, store)) = Lab::start().await else { return };
    for number in 0..6 {
        let mut session = record_at("ann", number);
        session.expires_at = at(900 + number);
        let session = create(&store, session).await;
        if number < 2 {
            let mut document = lab.document(session.id).await;
            document.insert("kind", "robot");
            lab.put(&document).await;
        }
    }
    assert_eq!(store.expire(at(1_000), 3).await.unwrap().len(), 3);
    assert_eq!(store.expire(at(1_000), 3).await.unwrap().len(), 1);
    assert_eq!(lab.documents().count_documents(doc! { "state": "active" }).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_limit_ignores_unreadable_documents() {
    assert_limited(LimitMethod::Transaction).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compare_and_set_limit_ignores_unreadable_documents() {
    assert_limited(LimitMethod::CompareAndSet).await;
}

async fn assert_limited(method: LimitMethod) {
    let Some((lab, store)) = Lab::start().await else { return };
    let limited = lab.builder().limit_method(method).build().unwrap();
    let (bad, all) = damaged_outside(&lab, &store).await;
    let one = limit(1, OnExceed::EndOldest, 500);
    for damage in all {
        let what = damage.name();
        lab.put(&damage.document).await;
        let taken = limited.create(Arc::clone(&bad), Some(&one)).await.map_err(|error| error.kind());
        assert_eq!(taken.unwrap_err(), ErrorKind::AlreadyExists, "{what}");
        assert_eq!(lab.document(bad.id).await, damage.document, "{what}");

        let old = create(&store, record_at("ann", 1)).await;
        let new = Arc::new(record_at("ann", 2));
        let evicted = limited.create(Arc::clone(&new), Some(&one)).await.unwrap();
        assert_eq!(without(bad.id, &evicted), [old.id], "{what}");
        assert_eq!(ids(&store.load(&[new.id]).await.unwrap()), [new.id], "{what}");
        if !damage.is_hidden() {
            assert_eq!(lab.document(bad.id).await, damage.document, "{what}");
        }
        lab.clear().await;
        lab.documents().insert_one(&damage.document).await.unwrap();
    }
}

fn invalid_ids(id: SessionId) -> Vec<(&'static str, Bson)> {
    let binary = |subtype, bytes: &[u8]| Bson::Binary(Binary { subtype, bytes: bytes.to_vec() });
    let mut random = *id.as_bytes();
    random[6] = 0x40 | (random[6] & 0x0f);
    vec![
        ("too short", binary(BinarySubtype::Uuid, &id.as_bytes()[1..])),
        ("too long", binary(BinarySubtype::Uuid, &[&id.as_bytes()[..], &[0]].concat())),
        ("another subtype", binary(BinarySubtype::Generic, id.as_bytes())),
        ("an old subtype", binary(BinarySubtype::UuidOld, id.as_bytes())),
        ("another version", binary(BinarySubtype::Uuid, &random)),
        ("a text", id.to_string().into()),
        ("a number", Bson::Int64(7)),
        ("a document", doc! { "id": key(id) }.into()),
        ("null", Bson::Null),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn document_with_an_invalid_id_is_corrupt_and_can_be_ended() {
    let Some((lab, store)) = Lab::start().await else { return };
    let session = create(&store, full("ann")).await;
    let stored = lab.document(session.id).await;
    for (what, id) in invalid_ids(session.id) {
        lab.clear().await;
        let mut document = stored.clone();
        document.insert("_id", id.clone());
        lab.documents().insert_one(&document).await.unwrap();
        let other = create(&store, record_at("ann", 1)).await;
        assert!(store.load(&[session.id]).await.unwrap().is_empty(), "{what}");
        let listed = store.list(&ListQuery::default().with_user(user("ann"))).await;
        assert_eq!(listed.map_err(|error| error.kind()).unwrap_err(), ErrorKind::Corrupt, "{what}");

        let ended = store.end(&EndScope::User(user("ann")), &logged_out(600), Timestamp::MAX).await.unwrap();
        assert_eq!(ids(&ended), [other.id], "{what}");
        let active = lab.documents().count_documents(doc! { "state": "active" }).await.unwrap();
        assert_eq!(active, 0, "{what}");
        assert_eq!(store.erase(&user("ann"), 10).await.unwrap(), 2, "{what}");
        assert_eq!(store.purge(at(1_000), 10).await.unwrap(), 2, "{what}");

        lab.documents().insert_one(&document).await.unwrap();
        assert!(store.expire(at(4_000_000), 10).await.unwrap().is_empty(), "{what}");
        assert_eq!(store.purge(at(4_000_000), 10).await.unwrap(), 1, "{what}");
    }
}
