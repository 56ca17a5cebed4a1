//! The indexes: their creation, and the report of wrong ones by name.

mod ttl;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::bson::{Bson, Document, doc};
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_mongo::{Difference, IndexError};

use crate::support::{Lab, create, ids};

const NAMES: [&str; 6] = [
    "session_user",
    "session_username",
    "session_created",
    "session_deadline",
    "session_end",
    "session_purge",
];

fn all_missing() -> Vec<(&'static str, Difference)> {
    NAMES.map(|name| (name, Difference::Missing)).to_vec()
}

/// Returns the problems that the store reports.
fn pairs(result: Result<(), IndexError>) -> Vec<(&'static str, Difference)> {
    match result {
        Ok(()) => Vec::new(),
        Err(IndexError::Different(problems)) => {
            problems.iter().map(|problem| (problem.index, problem.what)).collect()
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Returns the text that the error shows for a difference.
fn advice(difference: Difference) -> &'static str {
    match difference {
        Difference::Collation => "has a collation (create the collection without one)",
        Difference::Fields => "is on other fields (drop it, and create it again)",
        Difference::Hidden => "is hidden",
        Difference::Missing => "is missing",
        Difference::Partial => "has another partial filter (drop it, and create it again)",
        Difference::Ttl => "has another expiry time (drop it, and create it again)",
        Difference::Unique => "is unique or sparse (drop it, and create it again)",
        other => panic!("{other:?}"),
    }
}

/// Returns the indexes as the server describes them, without the one on `_id`.
async fn described(lab: &Lab) -> Vec<Document> {
    let cursor = lab.database.run_cursor_command(doc! { "listIndexes": &lab.name }).await.unwrap();
    let found: Vec<Document> = cursor.try_collect().await.unwrap();
    found.into_iter().filter(|index| index.get_str("name").unwrap() != "_id_").collect()
}

async fn described_as(lab: &Lab, name: &str) -> Document {
    let found = described(lab).await;
    found.into_iter().find(|index| index.get_str("name").unwrap() == name).unwrap()
}

async fn drop_index(lab: &Lab, name: &str) {
    lab.database.run_command(doc! { "dropIndexes": &lab.name, "index": name }).await.unwrap();
}

/// Creates an index. Returns false if the server does not support it.
async fn make(lab: &Lab, index: &Document) -> bool {
    let command = doc! { "createIndexes": &lab.name, "indexes": [index.clone()] };
    lab.database.run_command(command).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn six_indexes_are_created_and_none_twice() {
    let Some((lab, store)) = Lab::start().await else { return };
    let before = described(&lab).await;
    let mut names: Vec<_> = before.iter().map(|index| index.get_str("name").unwrap()).collect();
    names.sort_unstable_by_key(|name| NAMES.iter().position(|known| known == name));
    assert_eq!(names, NAMES);
    store.ensure_indexes().await.unwrap();
    store.verify().await.unwrap();
    assert_eq!(described(&lab).await.len(), before.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_concurrent_starts_create_each_index_once() {
    let Some(lab) = Lab::empty().await else { return };
    let stores: Vec<_> = (0..8).map(|_| lab.store()).collect();
    let starts = stores.into_iter().map(|store| tokio::spawn(async move { store.ensure_indexes().await }));
    for started in join_all(starts).await {
        started.unwrap().unwrap();
    }
    assert_eq!(described(&lab).await.len(), NAMES.len());
    lab.store().verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_index_of_an_unwritten_collection_is_missing() {
    let Some(lab) = Lab::empty().await else { return };
    let store = lab.store();
    let error = store.verify().await.unwrap_err();
    let listed = NAMES.map(|name| format!("the index {name} {}", advice(Difference::Missing)));
    assert_eq!(error.to_string(), listed.join(", "));
    assert_eq!(pairs(Err(error)), all_missing());
    let names = lab.database.list_collection_names().await.unwrap();
    assert!(!names.contains(&lab.name), "`verify` created the collection");
    // The collection now has documents, but no index.
    create(&store, full("ann")).await;
    assert_eq!(pairs(store.verify().await), all_missing());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_index_is_missing_and_created_again() {
    let Some((lab, store)) = Lab::start().await else { return };
    for name in NAMES {
        let before = described_as(&lab, name).await;
        drop_index(&lab, name).await;
        assert_eq!(pairs(store.verify().await), [(name, Difference::Missing)]);
        store.ensure_indexes().await.unwrap();
        assert_eq!(described_as(&lab, name).await, before);
    }
}

/// Returns variants of an index with their differences, in the order in which they are checked.
fn differences(index: &Document) -> Vec<(&'static str, Difference, Document)> {
    let with = |field: &str, value: Bson| {
        let mut other = index.clone();
        other.insert(field, value);
        other
    };
    let keys = index.get_document("key").unwrap();
    let (mut fewer, mut reversed) = (doc! { "another": 1 }, keys.clone());
    fewer.extend(keys.clone().into_iter().skip(1));
    let (first, direction) = keys.iter().next().unwrap();
    reversed.insert(first.clone(), if *direction == Bson::Int32(1) { -1 } else { 1 });
    let collation = doc! { "locale": "en", "strength": 2 };
    let mut all = vec![
        ("other fields", Difference::Fields, with("key", fewer.into())),
        ("other directions", Difference::Fields, with("key", reversed.into())),
        ("unique", Difference::Unique, with("unique", true.into())),
        (
            "another part",
            Difference::Partial,
            with("partialFilterExpression", doc! { "state": "active" }.into()),
        ),
        ("a collation", Difference::Collation, with("collation", collation.into())),
        ("hidden", Difference::Hidden, with("hidden", true.into())),
    ];
    // An index cannot be both sparse and partial.
    if index.contains_key("partialFilterExpression") {
        let mut whole = index.clone();
        whole.remove("partialFilterExpression");
        all.push(("not partial", Difference::Partial, whole));
    } else {
        all.push(("sparse", Difference::Unique, with("sparse", true.into())));
    }
    // An index on several fields cannot be a TTL index.
    if keys.len() == 1 {
        all.push(("another time", Difference::Ttl, with("expireAfterSeconds", 60.into())));
    }
    if index.contains_key("expireAfterSeconds") {
        let mut kept = index.clone();
        kept.remove("expireAfterSeconds");
        all.push(("no deletion", Difference::Ttl, kept));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn index_with_other_options_is_reported_and_unchanged() {
    let Some((lab, store)) = Lab::start().await else { return };
    for name in NAMES {
        let right = described_as(&lab, name).await;
        for (what, difference, other) in differences(&right) {
            drop_index(&lab, name).await;
            if make(&lab, &other).await {
                let before = described_as(&lab, name).await;
                assert_eq!(pairs(store.verify().await), [(name, difference)], "{name}: {what}");
                let error = store.ensure_indexes().await.unwrap_err();
                assert_eq!(error.to_string(), format!("the index {name} {}", advice(difference)), "{what}");
                assert_eq!(pairs(Err(error)), [(name, difference)], "{name}: {what}");
                assert_eq!(described_as(&lab, name).await, before, "{name}: {what}");
                drop_index(&lab, name).await;
            } else {
                assert_eq!(difference, Difference::Hidden, "{name}: {what} cannot be created");
                println!("{name}: this server does not support an index that is {what}");
            }
            store.ensure_indexes().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn index_on_the_same_fields_with_another_name_does_not_count() {
    let Some(lab) = Lab::empty().await else { return };
    let other = doc! { "name": "theirs", "key": { "createdAt": -1, "_id": -1 } };
    assert!(make(&lab, &other).await);
    let store = lab.store();
    // The server may refuse a second index on the same fields. Then the call fails, and the index
    // stays missing.
    let ensured = store.ensure_indexes().await;
    let is_missing = pairs(store.verify().await).contains(&("session_created", Difference::Missing));
    assert_eq!(ensured.is_err(), is_missing, "{ensured:?}");
    assert_eq!(
        described_as(&lab, "theirs").await.get_document("key").unwrap(),
        other.get_document("key").unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn case_insensitive_collation_is_reported() {
    let Some(lab) = Lab::empty().await else { return };
    let collation = doc! { "locale": "en", "strength": 2 };
    lab.database.run_command(doc! { "create": &lab.name, "collation": collation }).await.unwrap();
    let expected: Vec<_> = NAMES.map(|name| (name, Difference::Collation)).to_vec();
    assert_eq!(pairs(lab.store().ensure_indexes().await), expected);
    assert_eq!(pairs(lab.store().verify().await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn store_works_without_indexes() {
    let Some(lab) = Lab::empty().await else { return };
    let store = lab.store();
    let old = create(&store, full("ann")).await;
    let new = Arc::new(record_at("ann", 5));
    let evicted = store.create(Arc::clone(&new), Some(&limit(1, OnExceed::EndOldest, 6))).await.unwrap();
    assert_eq!(ids(&evicted), [old.id]);
    assert_eq!(store.load(&[new.id]).await.unwrap(), [Arc::clone(&new)]);
    assert_eq!(store.touch(&[touch(new.id, 10)], NOW).await.unwrap(), 1);
    let list = ListQuery::default().with_user(user("ann")).with_state(StateFilter::Live(at(11)));
    assert_eq!(ids(&store.list(&list).await.unwrap().records), [new.id]);
    assert_eq!(
        ids(&store.end(&EndScope::User(user("ann")), &logged_out(12), Timestamp::MAX).await.unwrap()),
        [new.id]
    );
    create(&store, record_at("bob", 5)).await;
    assert_eq!(store.expire(at(4_000_000), 10).await.unwrap().len(), 1);
    assert_eq!(store.stats(NOW).await.unwrap().ended.values().sum::<u64>(), 3);
    assert_eq!(store.purge(at(5_000_000), 10).await.unwrap(), 3);
    assert_eq!(pairs(store.verify().await), all_missing());
}
