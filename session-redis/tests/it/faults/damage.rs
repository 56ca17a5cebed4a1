//! Damaged values, and how the store reports them.

use std::sync::Arc;

use session_conformance::fixtures::{NOW, at, full, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_redis::RedisStore;

use super::calls::{assert_fails, assert_works, create, given, ids};
use super::lab::{Lab, Raw};

/// A change of a stored value. `None` replaces it by another type.
type Damage = (&'static str, fn(Vec<u8>) -> Option<Vec<u8>>);

const DAMAGES: [Damage; 10] = [
    ("garbage", |_| Some(b"garbage".to_vec())),
    ("long garbage", |_| Some(vec![0xff; 400])),
    ("nothing", |_| Some(Vec::new())),
    ("cut in its head", |value| Some(value[..60].to_vec())),
    ("cut in its profile", |value| Some(value[..130].to_vec())),
    ("cut in its secrets", |value| Some(value[..value.len() - 60].to_vec())),
    ("garbage in its profile", |value| Some([&value[..124], &[0xff; 16], &value[140..]].concat())),
    ("another format", |value| Some(with(value, 0, 2))),
    ("another state", |value| Some(with(value, 1, b'X'))),
    ("a list", |_| None),
];

fn with(mut value: Vec<u8>, position: usize, byte: u8) -> Vec<u8> {
    value[position] = byte;
    value
}

async fn damage(raw: &mut Raw, key: &str, change: fn(Vec<u8>) -> Option<Vec<u8>>) {
    let value = raw.get(key).await;
    match change(value) {
        Some(value) => raw.set(key, &value).await,
        None => raw.make_list(key).await,
    }
}

async fn dump(raw: &mut Raw, key: &str) -> Vec<u8> {
    raw.send(redis::cmd("DUMP").arg(key)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_session_is_reported_and_left_unchanged() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    let good = given(&store, "bob").await;
    for (what, change) in DAMAGES {
        println!("{what}");
        let mut session = full("ann");
        session.data = vec![7; 50].into();
        let bad = create(&store, session).await;
        let key = lab.keys.session(bad.id);
        damage(&mut raw, &key, change).await;
        let before = dump(&mut raw, &key).await;
        for ids in [vec![bad.id], vec![good.id, bad.id], vec![bad.id, good.id]] {
            assert_fails(what, ErrorKind::Corrupt, store.load(&ids).await);
        }
        assert_eq!(ids(&store.load(&[good.id]).await.unwrap()), [good.id], "{what}");
        store.touch(&[touch(good.id, 1)], NOW).await.unwrap();
        let taken = store.create(Arc::clone(&bad), None).await;
        assert_fails(what, ErrorKind::AlreadyExists, taken);
        let by_bob = ListQuery::default().with_user(user("bob"));
        assert_eq!(store.list(&by_bob).await.unwrap().records.len(), 1, "{what}");
        store.stats(at(1)).await.unwrap();
        if what != "cut in its secrets" {
            let by_ann = ListQuery::default().with_user(user("ann"));
            assert_fails(what, ErrorKind::Corrupt, store.list(&by_ann).await);
            assert_eq!(dump(&mut raw, &key).await, before, "{what}");
        }
        // An update may repair it or fail, but the session exists.
        if let Err(error) = store.update(Arc::clone(&bad), bad.revision).await {
            assert!([ErrorKind::Corrupt, ErrorKind::Ended].contains(&error.kind()), "{what}: {error:?}");
            assert_eq!(dump(&mut raw, &key).await, before, "{what}");
        }
        let _: i64 = raw.send(redis::cmd("DEL").arg(&key)).await;
    }
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_of_another_session_is_not_returned() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    let (ann, eve) = (create(&store, full("ann")).await, create(&store, full("eve")).await);
    let value = raw.get(&lab.keys.session(eve.id)).await;
    raw.set(&lab.keys.session(ann.id), &value).await;
    for ids in [vec![ann.id], vec![eve.id, ann.id]] {
        assert_fails("load", ErrorKind::Corrupt, store.load(&ids).await);
    }
    assert_eq!(ids(&store.load(&[eve.id]).await.unwrap()), [eve.id]);
    let update = store.update(Arc::clone(&ann), ann.revision).await;
    println!("update: {:?}", update.as_ref().map_err(Error::kind));
    assert!(
        store.end(&EndScope::User(user("bob")), &logged_out(3), Timestamp::MAX).await.unwrap().is_empty()
    );
    // Whatever happened to ann's session, eve's session is unchanged.
    let stored = store.load(&[eve.id]).await.unwrap();
    assert_eq!((&stored[0].data, stored[0].ended()), (&eve.data, None));
}

/// A session that cannot be read is not live either; it neither delays nor hides the ends of other
/// sessions.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_session_does_not_keep_others_alive() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    for (what, change) in DAMAGES {
        println!("{what}");
        let bad = create(&store, full("ann")).await;
        let old = create(&store, record_at("ann", 1)).await;
        damage(&mut raw, &lab.keys.session(bad.id), change).await;
        // The damaged session counts only if it can be read.
        let new = Arc::new(record_at("ann", 2));
        let evicted =
            store.create(Arc::clone(&new), Some(&limit(1, OnExceed::EndOldest, 500))).await.unwrap();
        assert_eq!(without(bad.id, &evicted), [old.id], "{what}");

        let other = create(&store, record_at("ann", 3)).await;
        let ended = store
            .end(&EndScope::Ids(vec![bad.id, other.id]), &logged_out(600), Timestamp::MAX)
            .await
            .unwrap();
        assert_eq!(without(bad.id, &ended), [other.id], "{what}");
        let ended = store.end(&EndScope::User(user("ann")), &logged_out(600), Timestamp::MAX).await.unwrap();
        assert_eq!(without(bad.id, &ended), [new.id], "{what}");
        let live = store.load(&[bad.id]).await;
        assert!(
            live.is_err_and(|error| error.kind() == ErrorKind::Corrupt) || is_over(&store, bad.id).await,
            "{what}"
        );
        raw.run("FLUSHALL").await;
    }
}

async fn is_over(store: &RedisStore, id: SessionId) -> bool {
    store.load(&[id]).await.is_ok_and(|found| found.iter().all(|record| record.ended().is_some()))
}

/// Leaves out the damaged session, which its end may have repaired.
fn without(bad: SessionId, records: &[Arc<SessionRecord>]) -> Vec<SessionId> {
    let mut ids = ids(records);
    ids.retain(|id| *id != bad);
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_session_is_swept_with_the_others() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    for (what, change) in DAMAGES {
        println!("{what}");
        let mut sessions = [full("ann"), record_at("ann", 1), record_at("ann", 2)];
        sessions.iter_mut().for_each(|session| session.expires_at = at(900));
        let [bad, one, other] = sessions;
        let bad = create(&store, bad).await;
        let (one, other) = (create(&store, one).await, create(&store, other).await);
        damage(&mut raw, &lab.keys.session(bad.id), change).await;
        let swept = store.expire(at(1_000), 10).await.unwrap();
        assert_eq!(without(bad.id, &swept), [one.id, other.id], "{what}");
        assert!(store.expire(at(1_000), 10).await.unwrap().is_empty(), "{what}");
        assert!(store.purge(at(4_000_000), 500).await.unwrap() >= 2, "{what}");
        assert_eq!(store.purge(at(4_000_000), 500).await.unwrap(), 0, "{what}");
        assert!(store.load(&[one.id, other.id]).await.unwrap().is_empty());
        raw.run("FLUSHALL").await;
    }
}

/// Fewer sessions than the limit would mean that none is left.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_sweep_is_full_without_the_damaged_sessions() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    for number in 0..6 {
        let mut session = record_at("ann", number);
        session.expires_at = at(900 + number);
        let session = create(&store, session).await;
        if number < 2 {
            raw.make_list(&lab.keys.session(session.id)).await;
        }
    }
    assert_eq!(store.expire(at(1_000), 3).await.unwrap().len(), 3);
    assert_eq!(store.expire(at(1_000), 3).await.unwrap().len(), 1);
}
