//! The indexes: that they are made, and that another one is told by its name.

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

/// What the store says of the indexes.
fn pairs(result: Result<(), IndexError>) -> Vec<(&'static str, Difference)> {
    match result {
        Ok(()) => Vec::new(),
        Err(IndexError::Different(problems)) => {
            problems.iter().map(|problem| (problem.index, problem.what)).collect()
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// What an operator does about it.
fn advice(difference: Difference) -> &'static str {
    match difference {
        Difference::Collation => "has a collation (create the collection without one)",
        Difference::Fields => "is on other fields (drop it, and create it again)",
        Difference::Hidden => "is hidden",
        Difference::Missing => "is missing",
        Difference::Partial => "is partial in another way (drop it, and create it again)",
        Difference::Ttl => "deletes at another time (drop it, and create it again)",
        Difference::Unique => "is unique or sparse (drop it, and create it again)",
        other => panic!("{other:?}"),
    }
}

/// The indexes as the server describes them, without its own.
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

/// Makes an index. `false` if the server has no such option.
async fn make(lab: &Lab, index: &Document) -> bool {
    let command = doc! { "createIndexes": &lab.name, "indexes": [index.clone()] };
    lab.database.run_command(command).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_six_indexes_are_created_and_none_twice() {
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
async fn eight_processes_that_start_at_once_create_them_once() {
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
async fn where_nothing_was_ever_written_every_index_is_missing() {
    let Some(lab) = Lab::empty().await else { return };
    let store = lab.store();
    let told = store.verify().await.unwrap_err();
    let listed = NAMES.map(|name| format!("the index {name} {}", advice(Difference::Missing)));
    assert_eq!(told.to_string(), listed.join(", "));
    assert_eq!(pairs(Err(told)), all_missing());
    let names = lab.database.list_collection_names().await.unwrap();
    assert!(!names.contains(&lab.name), "to verify creates nothing");
    // With documents, and without an index.
    create(&store, full("ann")).await;
    assert_eq!(pairs(store.verify().await), all_missing());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_dropped_is_missing_and_created_again() {
    let Some((lab, store)) = Lab::start().await else { return };
    for name in NAMES {
        let before = described_as(&lab, name).await;
        drop_index(&lab, name).await;
        assert_eq!(pairs(store.verify().await), [(name, Difference::Missing)]);
        store.ensure_indexes().await.unwrap();
        assert_eq!(described_as(&lab, name).await, before);
    }
}

/// What can be different about an index, in the order in which it is told.
fn differences(index: &Document) -> Vec<(&'static str, Difference, Document)> {
    let with = |field: &str, value: Bson| {
        let mut other = index.clone();
        other.insert(field, value);
        other
    };
    let keys = index.get_document("key").unwrap();
    let (mut fewer, mut turned) = (doc! { "another": 1 }, keys.clone());
    fewer.extend(keys.clone().into_iter().skip(1));
    let (first, direction) = keys.iter().next().unwrap();
    turned.insert(first.clone(), if *direction == Bson::Int32(1) { -1 } else { 1 });
    let collation = doc! { "locale": "en", "strength": 2 };
    let mut all = vec![
        ("other fields", Difference::Fields, with("key", fewer.into())),
        ("other directions", Difference::Fields, with("key", turned.into())),
        ("unique", Difference::Unique, with("unique", true.into())),
        (
            "another part",
            Difference::Partial,
            with("partialFilterExpression", doc! { "state": "active" }.into()),
        ),
        ("a collation", Difference::Collation, with("collation", collation.into())),
        ("hidden", Difference::Hidden, with("hidden", true.into())),
    ];
    // A server has no index that is both sparse and partial.
    if index.contains_key("partialFilterExpression") {
        let mut whole = index.clone();
        whole.remove("partialFilterExpression");
        all.push(("not partial", Difference::Partial, whole));
    } else {
        all.push(("sparse", Difference::Unique, with("sparse", true.into())));
    }
    // Nor one on several fields that deletes.
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
async fn an_index_with_other_options_is_told_and_left_as_it_is() {
    let Some((lab, store)) = Lab::start().await else { return };
    for name in NAMES {
        let right = described_as(&lab, name).await;
        for (what, difference, other) in differences(&right) {
            drop_index(&lab, name).await;
            if make(&lab, &other).await {
                let before = described_as(&lab, name).await;
                assert_eq!(pairs(store.verify().await), [(name, difference)], "{name}: {what}");
                let told = store.ensure_indexes().await.unwrap_err();
                assert_eq!(told.to_string(), format!("the index {name} {}", advice(difference)), "{what}");
                assert_eq!(pairs(Err(told)), [(name, difference)], "{name}: {what}");
                assert_eq!(described_as(&lab, name).await, before, "{name}: {what}");
                drop_index(&lab, name).await;
            } else {
                assert_eq!(difference, Difference::Hidden, "{name}: {what} cannot be made");
                println!("{name}: this server makes no index that is {what}");
            }
            store.ensure_indexes().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_the_same_fields_and_another_name_is_not_taken_for_it() {
    let Some(lab) = Lab::empty().await else { return };
    let other = doc! { "name": "theirs", "key": { "createdAt": -1, "_id": -1 } };
    assert!(make(&lab, &other).await);
    let store = lab.store();
    // The server may refuse a second index on the same fields. Then it is an error, and the index stays missing.
    let ensured = store.ensure_indexes().await;
    let is_missing = pairs(store.verify().await).contains(&("session_created", Difference::Missing));
    assert_eq!(ensured.is_err(), is_missing, "{ensured:?}");
    assert_eq!(
        described_as(&lab, "theirs").await.get_document("key").unwrap(),
        other.get_document("key").unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_indexes_of_a_collection_that_folds_case_are_told() {
    let Some(lab) = Lab::empty().await else { return };
    let collation = doc! { "locale": "en", "strength": 2 };
    lab.database.run_command(doc! { "create": &lab.name, "collation": collation }).await.unwrap();
    let told: Vec<_> = NAMES.map(|name| (name, Difference::Collation)).to_vec();
    assert_eq!(pairs(lab.store().ensure_indexes().await), told);
    assert_eq!(pairs(lab.store().verify().await), told);
}

/// An index is a hint.
#[tokio::test(flavor = "multi_thread")]
async fn without_any_index_everything_is_as_valid() {
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
