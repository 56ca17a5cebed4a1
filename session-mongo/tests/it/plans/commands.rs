//! The commands that each call sends, with their read and write concerns.

use std::fmt::Debug;
use std::future::Future;

use mongodb::bson::{Bson, Document, doc};
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use session_mongo::{LimitMethod, MongoStore};

use super::capture::{self, Sent, name, names};
use crate::support::{create, key};

async fn lab() -> Option<(Sent, MongoStore)> {
    let (lab, sent) = capture::lab().await?;
    let store = lab.store();
    store.ensure_indexes().await.unwrap();
    sent.take();
    Some((sent, store))
}

/// Runs a call that must succeed, and returns the commands that it sent.
async fn sent_by<T: Debug>(sent: &Sent, call: impl Future<Output = Result<T>>) -> Vec<Document> {
    sent.take();
    call.await.unwrap();
    sent.take()
}

fn assert_majority_write(command: &Document) {
    let concern = command.get_document("writeConcern").unwrap_or_else(|_| panic!("{command}"));
    assert_eq!(concern.get_str("w").unwrap(), "majority", "{command}");
    assert!(concern.get_bool("j").unwrap(), "{command}");
    assert_eq!(concern.get("wtimeout").and_then(whole), Some(5_000), "{command}");
}

fn whole(value: &Bson) -> Option<i64> {
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

fn assert_majority_read(command: &Document) {
    let concern = command.get_document("readConcern").unwrap_or_else(|_| panic!("{command}"));
    assert_eq!(concern.get_str("level").unwrap(), "majority", "{command}");
    let preference = command.get_document("$readPreference").ok();
    let is_primary =
        preference.is_none_or(|mode| mode.get_str("mode").is_ok_and(|mode| mode.starts_with("primary")));
    assert!(is_primary, "{command}");
}

/// Asserts that every write waits for a majority, and that every read has the majority concern.
fn assert_concerns(commands: &[Document]) {
    for command in commands {
        match name(command) {
            "find" | "aggregate" => assert_majority_read(command),
            "insert" | "update" | "delete" | "findAndModify" => assert_majority_write(command),
            other => panic!("{other}: {command}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn load_of_one_is_one_find_by_id() {
    let Some((sent, store)) = lab().await else { return };
    let session = create(&store, full("ann")).await;
    for id in [session.id, record("unknown").id] {
        let sent = sent_by(&sent, store.load(&[id])).await;
        assert_eq!(names(&sent), ["find"]);
        assert_eq!(sent[0].get_document("filter").unwrap(), &doc! { "_id": key(id) });
        assert_eq!(sent[0].get("limit").and_then(whole), Some(1));
        assert!(sent[0].get_bool("singleBatch").unwrap());
        assert_concerns(&sent);
    }
    assert_eq!(sent_by(&sent, store.load(&[])).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn load_of_many_is_one_find_with_one_reply() {
    let Some((sent, store)) = lab().await else { return };
    let mut ids = Vec::new();
    for number in 0..150 {
        ids.push(create(&store, record_at("ann", number)).await.id);
    }
    let sent = sent_by(&sent, store.load(&ids)).await;
    // The default batch size of a server is 101.
    assert_eq!(names(&sent), ["find"]);
    assert_concerns(&sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_write_is_one_command_with_one_statement() {
    let Some((sent, store)) = lab().await else { return };
    let session = Arc::new(full("ann"));
    let created = sent_by(&sent, store.create(Arc::clone(&session), None)).await;
    assert_eq!(names(&created), ["insert"]);
    assert_eq!(created[0].get_array("documents").unwrap().len(), 1);
    assert_concerns(&created);

    let saved = sent_by(&sent, store.update(Arc::clone(&session), session.revision)).await;
    assert_eq!(names(&saved), ["update"]);
    assert_eq!(saved[0].get_array("updates").unwrap().len(), 1);
    assert_concerns(&saved);

    let ended = sent_by(&sent, store.end(&EndScope::id(session.id), &logged_out(3), Timestamp::MAX)).await;
    assert_eq!(names(&ended), ["findAndModify"]);
    assert_concerns(&ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_of_touches_is_one_command() {
    let Some((sent, store)) = lab().await else { return };
    let mut touches = Vec::new();
    for number in 0..40 {
        touches.push(touch(create(&store, record_at("ann", number)).await.id, 100));
    }
    // Of two touches of the same session, only the later one is sent.
    touches.push(touch(touches[0].id, 101));
    let sent = sent_by(&sent, store.touch(&touches, NOW)).await;
    assert_eq!(names(&sent), ["update"]);
    assert_eq!(sent[0].get_array("updates").unwrap().len(), 40);
    assert_concerns(&sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_use_majority_concerns() {
    let Some((sent, store)) = lab().await else { return };
    for number in 0..4 {
        create(&store, record_at("ann", number)).await;
        create(&store, record_at("bob", number)).await;
    }
    let list = ListQuery::default().with_user(user("ann"));
    let sent_now = sent_by(&sent, store.list(&list)).await;
    assert_eq!(names(&sent_now), ["find"]);
    assert_concerns(&sent_now);
    let sent_now = sent_by(&sent, store.stats(at(9))).await;
    assert_eq!(names(&sent_now), ["aggregate", "aggregate"]);
    assert_concerns(&sent_now);
    let sent_now =
        sent_by(&sent, store.end(&EndScope::User(user("ann")), &logged_out(9), Timestamp::MAX)).await;
    assert_eq!(
        names(&sent_now),
        ["find", "findAndModify", "findAndModify", "findAndModify", "findAndModify"]
    );
    assert_concerns(&sent_now);
    let sent_now = sent_by(&sent, store.expire(at(4_000_000), 9)).await;
    assert_eq!(
        names(&sent_now),
        ["find", "findAndModify", "findAndModify", "findAndModify", "findAndModify"]
    );
    assert_concerns(&sent_now);
    let sent_now = sent_by(&sent, store.erase(&user("ann"), 9)).await;
    assert_eq!(names(&sent_now), ["find", "update"]);
    assert_concerns(&sent_now);
    let sent_now = sent_by(&sent, store.purge(at(9_000_000), 9)).await;
    assert_eq!(names(&sent_now), ["find", "delete", "find"]);
    assert_concerns(&sent_now);
}

#[tokio::test(flavor = "multi_thread")]
async fn limited_sign_in_is_one_majority_transaction() {
    let Some((lab, sent)) = capture::lab().await else { return };
    let store = lab.builder().limit_method(LimitMethod::Transaction).build().unwrap();
    store.ensure_indexes().await.unwrap();
    let one = limit(1, OnExceed::EndOldest, 9);
    store.create(record_at("ann", 0).into(), Some(&one)).await.unwrap();
    let sent = sent_by(&sent, store.create(record_at("ann", 1).into(), Some(&one))).await;
    let (last, within) = sent.split_last().unwrap();
    assert_eq!(name(last), "commitTransaction");
    assert_majority_write(last);
    let mut inner = names(within);
    inner.sort_unstable();
    assert_eq!(inner, ["find", "findAndModify", "insert", "update"]);
    for (number, command) in within.iter().enumerate() {
        let is_first = number == 0;
        assert_eq!(command.get_bool("startTransaction").is_ok_and(|starts| starts), is_first, "{command}");
        assert!(!command.contains_key("writeConcern"), "only the commit has a write concern: {command}");
        let level =
            command.get_document("readConcern").ok().and_then(|concern| concern.get_str("level").ok());
        assert_eq!(level, is_first.then_some("snapshot"), "{command}");
        assert_eq!(command.get("txnNumber"), last.get("txnNumber"), "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compare_and_set_writes_to_a_majority() {
    let Some((lab, sent)) = capture::lab().await else { return };
    let store = lab.builder().limit_method(LimitMethod::CompareAndSet).build().unwrap();
    store.ensure_indexes().await.unwrap();
    let one = limit(1, OnExceed::EndOldest, 9);
    store.create(record_at("ann", 0).into(), Some(&one)).await.unwrap();
    let sent = sent_by(&sent, store.create(record_at("ann", 1).into(), Some(&one))).await;
    let writes: Vec<_> = sent.iter().filter(|command| name(command) != "find").collect();
    assert!(writes.len() >= 3, "{writes:?}");
    writes.into_iter().for_each(assert_majority_write);
}
