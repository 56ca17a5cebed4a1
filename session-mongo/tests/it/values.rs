//! The callers' values stay values, even if they look like operators, paths or fields.

mod secrets;

use std::collections::BTreeMap;

use mongodb::bson::doc;
use session_conformance::assert_kind;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_core::{Actor, DataLimits, EndReason, Ended, LastClient, SessionData};
use session_mongo::{LimitMethod, MongoStore};

use crate::support::{Lab, create, ids};

/// Returns strings that have a meaning in a filter, a path or a pipeline.
fn texts() -> Vec<String> {
    let meaningful = [
        r#"{"$ne":null}"#,
        r#"{"$gt":""}"#,
        r#"{"$regex":".*"}"#,
        r#"{"$where":"true"}"#,
        "$where",
        "$ne",
        "$userId",
        "$$ROOT",
        "$$NOW",
        "$$REMOVE",
        "$",
        "$$",
        "$.a",
        "a.b",
        "a.$b",
        ".",
        "userId.0",
        "null",
        "undefined",
        "true",
        "1",
        "active",
        ".*",
        "^ann",
        "ann",
        "Ann",
        "ANN",
        "änn",
        "a\u{308}nn",
        " ann",
        "ann ",
        "ann\n",
        "\u{202e}nna",
        "\u{feff}ann",
        "🦀",
        "'; return true; //",
        r#"","x":""#,
        "\\",
        "%",
        "_",
    ];
    let long = ["$".repeat(255), "x".repeat(255), "ä".repeat(127)];
    meaningful.into_iter().map(str::to_owned).chain(long).collect()
}

/// Sets the username to the id of the user.
fn named(mut session: SessionRecord) -> SessionRecord {
    session.username = session.user_id.as_ref().map(|user| user.as_str().to_owned());
    session
}

/// Creates one session for each string, with the string as the user's id and name.
async fn sessions_of_all(store: &MongoStore) -> BTreeMap<String, SessionId> {
    let mut sessions = BTreeMap::new();
    for text in texts() {
        let session = create(store, named(full(&text))).await;
        sessions.insert(text, session.id);
    }
    sessions
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_match_user_ids_and_names_exactly() {
    let Some((_, store)) = Lab::start().await else { return };
    let sessions = sessions_of_all(&store).await;
    for (text, id) in &sessions {
        let by_user = ListQuery::default().with_user(user(text));
        assert_eq!(ids(&store.list(&by_user).await.unwrap().records), [*id], "{text}");
        let mut by_name = ListQuery::default();
        by_name.username = Some(text.clone());
        assert_eq!(ids(&store.list(&by_name).await.unwrap().records), [*id], "{text}");
        let loaded = store.load(&[*id]).await.unwrap();
        assert_eq!(loaded[0].user_id.as_ref().unwrap().as_str(), text);
        assert_eq!(loaded[0].username.as_ref(), Some(text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_and_erasure_match_user_ids_exactly() {
    let Some((_, store)) = Lab::start().await else { return };
    let mut left = sessions_of_all(&store).await;
    while let Some((text, id)) = left.pop_first() {
        let ended = store.end(&EndScope::User(user(&text)), &logged_out(5), Timestamp::MAX).await.unwrap();
        assert_eq!(ids(&ended), [id], "{text}");
        assert_eq!(store.erase(&user(&text), 10).await.unwrap(), 1, "{text}");
        let live = ListQuery::default().with_state(StateFilter::Live(at(6)));
        let mut others: Vec<_> = left.values().copied().collect();
        others.sort_unstable();
        assert_eq!(ids(&store.list(&live).await.unwrap().records), others, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_counts_only_the_users_own_sessions() {
    for method in [LimitMethod::Transaction, LimitMethod::CompareAndSet] {
        let Some((lab, _)) = Lab::start().await else { return };
        let store = lab.builder().limit_method(method).build().unwrap();
        let sessions = sessions_of_all(&store).await;
        for (text, id) in sessions {
            let refused =
                store.create(named(record_at(&text, 1)).into(), Some(&limit(1, OnExceed::Refuse, 2))).await;
            let error = assert_kind(refused, ErrorKind::LimitExceeded);
            assert_eq!(ids(error.live_sessions()), [id], "{text}");
            let new = Arc::new(named(record_at(&text, 3)));
            let ended =
                store.create(Arc::clone(&new), Some(&limit(1, OnExceed::EndOldest, 4))).await.unwrap();
            assert_eq!(ids(&ended), [id], "{text}");
            assert_eq!(store.load(&[new.id]).await.unwrap(), [new], "{text}");
        }
    }
}

/// A pipeline would read a string that begins with `$` as a field.
#[tokio::test(flavor = "multi_thread")]
async fn save_keeps_strings_unchanged() {
    let Some((_, store)) = Lab::start().await else { return };
    let mut stored = create(&store, full("ann")).await;
    for text in texts() {
        let short: String = text.chars().take(100).collect();
        let mut session = (*stored).clone();
        session.username = Some(text.clone());
        session.label = Some(short.clone());
        let mut client = (*session.client).clone();
        client.user_agent = Some(text.clone());
        for field in [&mut client.device.brand, &mut client.device.model, &mut client.geo.city] {
            *field = Some(short.clone());
        }
        session.client = Arc::new(client);
        session.data = text.as_bytes().into();
        let session = Arc::new(session);
        let revision = store.update(Arc::clone(&session), session.revision).await.unwrap();
        stored = store.load(&[session.id]).await.unwrap().remove(0);
        let mut expected = (*session).clone();
        expected.revision = revision;
        assert_eq!(*stored, expected, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actor_of_an_end_is_stored_unchanged() {
    let Some((_, store)) = Lab::start().await else { return };
    for text in texts().into_iter().filter(|text| text.len() < 200) {
        let session = create(&store, full("ann")).await;
        let Ok(by) = format!("admin:{text}").parse::<Actor>() else { continue };
        let ended = Ended::new(EndReason::RevokedByAdmin, at(9), by);
        let records = store.end(&EndScope::id(session.id), &ended, Timestamp::MAX).await.unwrap();
        assert_eq!(records[0].ended(), Some(&ended), "{text}");
        assert_eq!(store.load(&[session.id]).await.unwrap()[0].ended(), Some(&ended), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn country_that_looks_like_a_path_is_rejected_locally() {
    let Some((lab, store)) = Lab::start().await else { return };
    let session = create(&store, full("ann")).await;
    let mut touch = touch(session.id, 5);
    touch.last_client = LastClient::new(None, Some("$userId".into()));
    assert_kind(store.touch(&[touch], NOW).await, ErrorKind::Invalid);
    assert_eq!(lab.documents().count_documents(doc! { "lastClient.countryCode": "FR" }).await.unwrap(), 1);
}

/// Keys are part of the data's bytes, so no server reads them as fields.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_data_are_not_fields_of_the_document() {
    let Some((lab, store)) = Lab::start().await else { return };
    let mut data = SessionData::default();
    for text in texts().into_iter().chain([String::new()]) {
        data.insert(text.clone(), &text).unwrap();
    }
    let mut session = full("ann");
    session.data = data.encode(&DataLimits::default()).unwrap().into();
    let session = create(&store, session).await;
    let before: Vec<String> = lab.document(session.id).await.keys().cloned().collect();
    store.update(Arc::clone(&session), session.revision).await.unwrap();
    let after: Vec<String> = lab.document(session.id).await.keys().cloned().collect();
    assert_eq!(after, before);
    let loaded = store.load(&[session.id]).await.unwrap();
    assert_eq!(SessionData::decode(&loaded[0].data, &DataLimits::default()).unwrap().len(), data.len());
    assert_eq!(loaded[0].data, session.data);
}
