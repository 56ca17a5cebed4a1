//! The settings: invalid ones are rejected before any I/O, and valid ones take effect.

use std::num::NonZeroUsize;
use std::time::Duration;

use mongodb::Client;
use mongodb::options::{Acknowledgment, ReadConcern, ReadPreference, WriteConcern};
use session_conformance::assert_kind;
use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record, record_at, touch, user};
use session_core::prelude::*;
use session_core::{Durability, limits};
use session_mongo::{LimitMethod, MongoStore, MongoStoreBuilder};

use crate::support::{Lab, create, fresh, ids, server_url};

/// Returns a client of a server that does not exist.
async fn nowhere(path: &str) -> Client {
    Client::with_uri_str(format!("mongodb://127.0.0.1:1{path}?serverSelectionTimeoutMS=200")).await.unwrap()
}

async fn builder() -> MongoStoreBuilder {
    MongoStore::builder(nowhere("/test").await.default_database().unwrap())
}

fn loads(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn place_is_database_and_collection() {
    let place = |store: MongoStore| store.capabilities().place.unwrap();
    let shop = builder().await.collection("shop.sessions").build().unwrap();
    assert_eq!(&*place(builder().await.build().unwrap()), "test.sessions");
    assert_eq!(&*place(shop), "test.shop.sessions");
}

#[tokio::test]
async fn setting_outside_its_range_is_invalid_before_any_connection() {
    let weak = WriteConcern::builder().w(Acknowledgment::Nodes(0)).build();
    let silent = WriteConcern::builder().journal(true).build();
    type Change = Box<dyn Fn(MongoStoreBuilder) -> MongoStoreBuilder>;
    let wrong: [(&str, Change); 15] = [
        ("no name", Box::new(|builder| builder.collection(""))),
        ("a long name", Box::new(|builder| builder.collection("x".repeat(121)))),
        ("a dollar", Box::new(|builder| builder.collection("a$b"))),
        ("NUL", Box::new(|builder| builder.collection("a\0b"))),
        ("a dot in front", Box::new(|builder| builder.collection(".a"))),
        ("a dot behind", Box::new(|builder| builder.collection("a."))),
        ("the server's own", Box::new(|builder| builder.collection("system.users"))),
        ("a short retention", Box::new(|builder| builder.retention(HOUR - Duration::from_millis(1)))),
        ("a long retention", Box::new(|builder| builder.retention(10 * limits::MAX_LIFETIME + HOUR))),
        ("unacknowledged", Box::new(move |builder| builder.write_concern(weak.clone()))),
        ("acknowledged by whom", Box::new(move |builder| builder.write_concern(silent.clone()))),
        ("available", Box::new(|builder| builder.read_concern(ReadConcern::available()))),
        ("snapshot", Box::new(|builder| builder.read_concern(ReadConcern::snapshot()))),
        ("no payload", Box::new(|builder| builder.max_payload(0))),
        ("many loads", Box::new(|builder| builder.concurrent_loads(loads(65)))),
    ];
    for (what, change) in wrong {
        let built = change(builder().await).build();
        assert!(built.is_err_and(|error| error.kind() == ErrorKind::Invalid), "{what}");
    }
    let large = builder().await.max_payload(15 * 1024 * 1024 + 1).build();
    assert_kind(large, ErrorKind::Invalid);
}

#[tokio::test]
async fn bounds_of_each_range_are_accepted() {
    let least = builder().await.collection("x").retention(HOUR).max_payload(1).concurrent_loads(loads(1));
    let capabilities = least.build().unwrap().capabilities();
    assert_eq!((capabilities.max_payload, capabilities.concurrent_loads), (1, loads(1)));
    let most = builder().await.collection("x".repeat(120)).retention(10 * limits::MAX_LIFETIME);
    let most = most.max_payload(15 * 1024 * 1024).concurrent_loads(loads(64)).build().unwrap();
    let capabilities = most.capabilities();
    assert_eq!((capabilities.max_payload, capabilities.concurrent_loads), (15 * 1024 * 1024, loads(64)));
}

#[tokio::test]
async fn defaults_match_the_builder_and_survive_a_failover() {
    let built = builder().await.build().unwrap().capabilities();
    let client = nowhere("/test").await;
    for store in
        [MongoStore::new(client.default_database().unwrap()), MongoStore::from_client(&client).unwrap()]
    {
        let capabilities = store.capabilities();
        assert_eq!(capabilities.durability, Durability::Failover);
        assert_eq!((capabilities.name, capabilities.max_payload), ("mongodb", limits::MAX_PAYLOAD));
        assert_eq!(capabilities.concurrent_loads, built.concurrent_loads);
    }
}

#[tokio::test]
async fn connection_string_without_a_database_is_invalid() {
    assert_kind(MongoStore::from_client(&nowhere("/").await), ErrorKind::Invalid);
}

#[tokio::test]
async fn capabilities_report_the_durability_of_the_write_concern() {
    let durability = async |acknowledgment: Acknowledgment| {
        let concern = WriteConcern::builder().w(acknowledgment).build();
        builder().await.write_concern(concern).build().unwrap().capabilities().durability
    };
    assert_eq!(durability(Acknowledgment::Majority).await, Durability::Failover);
    // A number may be less than a majority, and the meaning of a tag is unknown here.
    for weaker in
        [Acknowledgment::Nodes(1), Acknowledgment::Nodes(3), Acknowledgment::Custom("dc".to_owned())]
    {
        assert_eq!(durability(weaker.clone()).await, Durability::Server, "{weaker:?}");
    }
}

/// Checks all operations on sessions with and without a limit, from creation to purge.
async fn assert_session_lifecycle(store: &MongoStore) {
    let old = create(store, full("ann")).await;
    assert_eq!(store.load(&[old.id]).await.unwrap(), [Arc::clone(&old)]);
    let revision = store.update(Arc::clone(&old), old.revision).await.unwrap();
    assert_eq!(store.load(&[old.id]).await.unwrap()[0].revision, revision);
    assert_kind(store.update(Arc::clone(&old), old.revision).await, ErrorKind::Conflict);
    let new = Arc::new(record_at("ann", 1));
    let evicted = store.create(Arc::clone(&new), Some(&limit(1, OnExceed::EndOldest, 2))).await.unwrap();
    assert_eq!(ids(&evicted), [old.id]);
    assert_eq!(store.touch(&[touch(new.id, 5)], NOW).await.unwrap(), 1);
    assert_eq!(store.load(&[new.id, old.id]).await.unwrap().len(), 2);
    let list = ListQuery::default().with_user(user("ann"));
    assert_eq!(store.list(&list).await.unwrap().records.len(), 2);
    assert_eq!(
        store.end(&EndScope::User(user("ann")), &logged_out(6), Timestamp::MAX).await.unwrap().len(),
        1
    );
    assert_eq!(store.stats(at(7)).await.unwrap().ended.values().sum::<u64>(), 2);
    assert_eq!(store.purge(at(8), 10).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_lifecycle_works_with_every_read_concern() {
    let Some(url) = server_url() else { return };
    for concern in [ReadConcern::majority(), ReadConcern::linearizable(), ReadConcern::local()] {
        for method in [LimitMethod::Transaction, LimitMethod::CompareAndSet] {
            let store =
                fresh(&url, |builder| builder.read_concern(concern.clone()).limit_method(method)).await;
            assert_session_lifecycle(&store).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_lifecycle_works_with_every_write_concern() {
    let Some(url) = server_url() else { return };
    let one = WriteConcern::builder().w(Acknowledgment::Nodes(1)).build();
    let patient =
        WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(Duration::from_secs(60)).build();
    for concern in [one, patient] {
        for method in [LimitMethod::Transaction, LimitMethod::CompareAndSet] {
            let store =
                fresh(&url, |builder| builder.write_concern(concern.clone()).limit_method(method)).await;
            assert_session_lifecycle(&store).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_lifecycle_works_with_listings_from_secondaries() {
    let Some(url) = server_url() else { return };
    // Preferred: with one member, it is the primary.
    let preference = ReadPreference::SecondaryPreferred { options: None };
    assert_session_lifecycle(&fresh(&url, |builder| builder.list_from(preference)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collection_of_turns_is_named_after_the_sessions() {
    let Some((lab, _)) = Lab::start().await else { return };
    for method in [LimitMethod::Transaction, LimitMethod::CompareAndSet] {
        let name = format!("{}.{method:?}", lab.name);
        let store = lab.builder().collection(&name).limit_method(method).build().unwrap();
        create(&store, record("ann")).await;
        store.create(record_at("ann", 1).into(), Some(&limit(2, OnExceed::EndOldest, 2))).await.unwrap();
        let mut names = lab.database.list_collection_names().await.unwrap();
        names.retain(|found| found.starts_with(&name));
        names.sort_unstable();
        assert_eq!(names, [name.clone(), format!("{name}_turns")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_method_from_the_builder_needs_no_server() {
    let store = builder().await.limit_method(LimitMethod::CompareAndSet).build().unwrap();
    assert_eq!(store.limit_method().await.unwrap(), LimitMethod::CompareAndSet);
    assert_kind(builder().await.build().unwrap().limit_method().await, ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn largest_payload_is_stored_and_one_byte_more_is_invalid() {
    const LARGEST: usize = 3 * 1024 * 1024;
    let Some(url) = server_url() else { return };
    let store = fresh(&url, |builder| builder.max_payload(LARGEST)).await;
    let mut session = full("ann");
    session.data = vec![7; LARGEST].into();
    let session = create(&store, session).await;
    assert_eq!(store.load(&[session.id]).await.unwrap(), [Arc::clone(&session)]);
    let mut larger = (*session).clone();
    larger.data = vec![7; LARGEST + 1].into();
    assert_kind(store.update(larger.clone().into(), larger.revision).await, ErrorKind::Invalid);
    assert_eq!(store.load(&[session.id]).await.unwrap(), [session]);
}
