//! Other contents of the collections: reservations, fields of the application, corrupt turns.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use session_conformance::assert_kind;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use session_mongo::LimitMethod;

use crate::support::{Lab, create, ids, key};

/// Inserts a reservation, as a sign-in leaves it that dies before its announcement.
async fn reserve(lab: &Lab, id: SessionId, created_at: Timestamp) -> Document {
    let reserved = doc! {
        "_id": key(id),
        "format": 1,
        "state": "reserved",
        "reservation": ObjectId::new(),
        "deadlineAt": DateTime::from_millis(created_at.as_millis()),
    };
    lab.documents().insert_one(&reserved).await.unwrap();
    reserved
}

#[tokio::test(flavor = "multi_thread")]
async fn reservation_is_not_a_session() {
    let Some((lab, store)) = Lab::start().await else { return };
    let session = Arc::new(full("ann"));
    let reserved = reserve(&lab, session.id, session.created_at).await;
    let good = create(&store, record_at("ann", 1)).await;

    assert!(store.load(&[session.id]).await.unwrap().is_empty());
    assert_eq!(ids(&store.load(&[session.id, good.id]).await.unwrap()), [good.id]);
    for query in [ListQuery::default(), ListQuery::default().with_user(user("ann"))] {
        assert_eq!(ids(&store.list(&query).await.unwrap().records), [good.id]);
    }
    assert_eq!(store.touch(&[touch(session.id, 5), touch(good.id, 5)], NOW).await.unwrap(), 1);
    assert_kind(store.update(Arc::clone(&session), Revision::FIRST).await, ErrorKind::NotFound);
    let scope = EndScope::Ids(vec![session.id, good.id]);
    assert_eq!(ids(&store.end(&scope, &logged_out(9), Timestamp::MAX).await.unwrap()), [good.id]);
    assert!(store.expire(at(9_000_000), 10).await.unwrap().is_empty());
    let stats = store.stats(at(1)).await.unwrap();
    assert_eq!((stats.live, stats.expired, stats.ended.values().sum::<u64>()), (0, 0, 1));
    assert_eq!(lab.document(session.id).await, reserved);
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_reservation_is_purged_but_not_counted() {
    let Some((lab, store)) = Lab::start().await else { return };
    let (old, young) = (record_at("ann", 10), record_at("ann", 20));
    for session in [&old, &young] {
        reserve(&lab, session.id, session.created_at).await;
    }
    assert_eq!(store.purge(at(20), 10).await.unwrap(), 0);
    let left = lab.documents().distinct("_id", doc! {}).await.unwrap();
    assert_eq!(left, [key(young.id)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_reservation_does_not_block_its_session() {
    let one = limit(1, OnExceed::EndOldest, 5);
    for method in [LimitMethod::Transaction, LimitMethod::CompareAndSet] {
        for limit in [Some(&one), None] {
            let Some((lab, _)) = Lab::start().await else { return };
            let store = lab.builder().limit_method(method).build().unwrap();
            let session = Arc::new(record("ann"));
            reserve(&lab, session.id, session.created_at).await;
            assert_eq!(store.create(Arc::clone(&session), limit).await.unwrap(), [], "{method:?} {limit:?}");
            assert_eq!(store.load(&[session.id]).await.unwrap(), [Arc::clone(&session)]);
            assert_kind(store.create(session, limit).await, ErrorKind::AlreadyExists);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn application_fields_survive_every_change() {
    let Some((lab, store)) = Lab::start().await else { return };
    let session = create(&store, full("ann")).await;
    let theirs = doc! { "tags": ["a", { "b": Bson::Null }], "$price": 3, "note": "$userId" };
    let mut document = lab.document(session.id).await;
    document.insert("theirs", theirs.clone());
    lab.put(&document).await;

    assert_eq!(store.load(&[session.id]).await.unwrap(), [Arc::clone(&session)]);
    let list = ListQuery::default().with_user(user("ann"));
    assert_eq!(ids(&store.list(&list).await.unwrap().records), [session.id]);
    store.update(Arc::clone(&session), session.revision).await.unwrap();
    assert_eq!(lab.document(session.id).await.get_document("theirs").unwrap(), &theirs, "update");
    assert_eq!(store.touch(&[touch(session.id, 9)], NOW).await.unwrap(), 1);
    assert_eq!(lab.document(session.id).await.get_document("theirs").unwrap(), &theirs, "touch");
    assert_eq!(store.end(&EndScope::id(session.id), &logged_out(20), Timestamp::MAX).await.unwrap().len(), 1);
    assert_eq!(lab.document(session.id).await.get_document("theirs").unwrap(), &theirs, "end");
    assert_eq!(store.erase(&user("ann"), 10).await.unwrap(), 1);
    assert_eq!(lab.document(session.id).await.get_document("theirs").unwrap(), &theirs, "erase");
}

/// An announcement may be half carried out, so a sign-in must not guess its content.
#[tokio::test(flavor = "multi_thread")]
async fn corrupt_turn_blocks_limited_sign_ins_of_its_shard_only() {
    let Some((lab, store)) = Lab::start().await else { return };
    let turns = lab.database.collection::<Document>(&format!("{}_turns", lab.name));
    let ann = user("ann").shard();
    let other = (0..).map(|number| format!("user-{number}")).find(|name| user(name).shard() != ann).unwrap();
    let one = limit(1, OnExceed::EndOldest, 5);
    store.create(record("ann").into(), Some(&one)).await.unwrap();
    let turn = turns.find_one(doc! {}).await.unwrap().unwrap();
    let damages: [(&str, Bson); 4] = [
        ("announced", "x".into()),
        ("announced", doc! {}.into()),
        ("announced", doc! { "session": {}, "reservation": ObjectId::new(), "surplus": 3 }.into()),
        ("turn", 7.into()),
    ];
    for method in [LimitMethod::Transaction, LimitMethod::CompareAndSet] {
        let store = lab.builder().limit_method(method).build().unwrap();
        for (field, value) in &damages {
            let mut damaged = turn.clone();
            damaged.insert(*field, value.clone());
            turns.replace_one(doc! { "_id": turn.get("_id") }, damaged).await.unwrap();
            let created = store.create(record("ann").into(), Some(&one)).await;
            let is_overwritten = method == LimitMethod::Transaction && *field == "turn";
            let kind = created.err().map(|error| error.kind());
            assert_eq!(kind, (!is_overwritten).then_some(ErrorKind::Corrupt), "{method:?}: {field} {value}");
            store.create(record(&other).into(), Some(&one)).await.unwrap();
            store.create(record("ann").into(), None).await.unwrap();
        }
    }
}
