//! Indexes that are damaged, or that do not match the sessions.

use std::sync::Arc;

use session_conformance::fixtures::{at, limit, logged_out, record, record_at, user};
use session_core::prelude::*;

use super::audit::assert_consistent;
use super::calls::{assert_fails, assert_works, create, given, ids};
use super::lab::{Keys, Lab, Raw};

fn indexes(keys: &Keys, name: &str) -> [(&'static str, String); 5] {
    let user = user(name);
    let of = |rest| keys.of(user.shard(), rest);
    [
        ("deadlines", of("deadlines")),
        ("created", of("created")),
        ("user", keys.user(&user)),
        ("ended", of("ended")),
        ("history", keys.history(&user)),
    ]
}

async fn remove(raw: &mut Raw, key: &str) {
    let _: i64 = raw.send(redis::cmd("DEL").arg(key)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_with_a_damaged_index_leaves_nothing_behind() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    for is_limited in [false, true] {
        for (what, index) in indexes(&lab.keys, "ann").into_iter().take(3) {
            println!("{what}, limited: {is_limited}");
            let old = create(&store, record("ann")).await;
            raw.make_list(&index).await;
            let one = limit(1, OnExceed::EndOldest, 5);
            let new = Arc::new(record_at("ann", 1));
            let created = store.create(Arc::clone(&new), is_limited.then_some(&one)).await;
            assert_fails(what, ErrorKind::Corrupt, created);
            assert!(store.load(&[new.id]).await.unwrap().is_empty(), "{what}");
            assert!(
                store.load(&[old.id]).await.unwrap()[0].ended().is_none(),
                "{what}: another session was ended"
            );
            remove(&mut raw, &index).await;
            for (rest, index) in indexes(&lab.keys, "ann") {
                let members = raw.members(&index).await;
                let is_old = members.iter().all(|(id, _)| *id == old.id.to_string());
                assert!(is_old, "{what}: {rest} has {members:?}");
            }
            store.create(new, None).await.unwrap();
            raw.run("FLUSHALL").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_despite_damaged_indexes() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    for (what, index) in indexes(&lab.keys, "ann") {
        println!("{what}");
        let (one, other) = (create(&store, record("ann")).await, create(&store, record_at("ann", 1)).await);
        raw.make_list(&index).await;
        let ended = store.end(&EndScope::id(one.id), &logged_out(6), Timestamp::MAX).await.unwrap();
        assert_eq!(ids(&ended), [one.id], "{what}");
        assert!(store.load(&[one.id]).await.unwrap()[0].ended().is_some());
        let all = store.end(&EndScope::User(user("ann")), &logged_out(7), Timestamp::MAX).await;
        if what == "user" {
            // Without the index, the sessions of the user are unknown.
            assert_fails(what, ErrorKind::Corrupt, all);
        } else {
            assert_eq!(ids(&all.unwrap()), [other.id], "{what}");
            assert!(store.load(&[other.id]).await.unwrap()[0].ended().is_some());
        }
        raw.run("FLUSHALL").await;
    }
}

/// The damaged shard is reported when no other shard has anything left to sweep.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_shard_does_not_block_the_sweeps_of_others() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    let names = ["ann", "bob", "carl"];
    let shards: Vec<_> = names.iter().map(|name| user(name).shard()).collect();
    assert!(shards[0] != shards[1] && shards[1] != shards[2] && shards[0] != shards[2]);
    let mut all = Vec::new();
    for name in names {
        let mut session = record(name);
        session.expires_at = at(900);
        all.push(create(&store, session).await);
    }
    raw.make_list(&lab.keys.of(shards[0], "deadlines")).await;
    let mut expected = vec![all[1].id, all[2].id];
    expected.sort_unstable();
    assert_eq!(ids(&store.expire(at(1_000), 10).await.unwrap()), expected);
    assert_fails("expire", ErrorKind::Corrupt, store.expire(at(1_000), 10).await);

    raw.make_list(&lab.keys.of(shards[1], "ended")).await;
    assert_eq!(store.purge(at(2_000), 10).await.unwrap(), 1);
    assert_fails("purge", ErrorKind::Corrupt, store.purge(at(2_000), 10).await);

    // Half a list or half a count would be wrong.
    raw.make_list(&lab.keys.of(shards[2], "created")).await;
    assert_fails("list", ErrorKind::Corrupt, store.list(&ListQuery::default()).await);
    assert_fails("stats", ErrorKind::Corrupt, store.stats(at(1)).await);
    for name in names {
        store.list(&ListQuery::default().with_user(user(name))).await.unwrap();
    }
    for (shard, index) in [(0, "deadlines"), (1, "ended"), (2, "created")] {
        remove(&mut raw, &lab.keys.of(shards[shard], index)).await;
    }
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_without_a_session_are_skipped_and_removed() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    let (ann, shard) = (user("ann"), user("ann").shard());
    let key = |rest| lab.keys.of(shard, rest);
    for what in ["list", "end", "create", "expire", "stats", "purge"] {
        println!("{what}");
        let gone = create(&store, record("ann")).await;
        let over = create(&store, record_at("ann", 1)).await;
        store.end(&EndScope::id(over.id), &logged_out(2), Timestamp::MAX).await.unwrap();
        let stays = create(&store, record_at("ann", 3)).await;
        for id in [gone.id, over.id] {
            remove(&mut raw, &lab.keys.session(id)).await;
        }
        let pruned = match what {
            "list" => {
                let page = store.list(&ListQuery::default().with_user(ann.clone())).await.unwrap();
                assert_eq!(ids(&page.records), [stays.id]);
                vec![lab.keys.user(&ann), lab.keys.history(&ann)]
            }
            "end" => {
                let ended =
                    store.end(&EndScope::User(ann.clone()), &logged_out(5), Timestamp::MAX).await.unwrap();
                assert_eq!(ids(&ended), [stays.id]);
                vec![lab.keys.user(&ann)]
            }
            "create" => {
                let new = Arc::new(record_at("ann", 4));
                store.create(new, Some(&limit(2, OnExceed::Refuse, 5))).await.unwrap();
                vec![lab.keys.user(&ann)]
            }
            "expire" => {
                assert_eq!(ids(&store.expire(at(3_600_000), 10).await.unwrap()), [stays.id]);
                vec![key("deadlines")]
            }
            "stats" => {
                assert_eq!(store.stats(at(5)).await.unwrap().live, 1);
                vec![key("created")]
            }
            _ => {
                assert_eq!(store.purge(at(9), 10).await.unwrap(), 0);
                vec![key("ended")]
            }
        };
        for index in pruned {
            let members = raw.members(&index).await;
            let strays = [gone.id, over.id].map(|id| id.to_string());
            assert!(members.iter().all(|(id, _)| !strays.contains(id)), "{what}: {index} has {members:?}");
        }
        raw.run("FLUSHALL").await;
    }
}

/// A session that is missing from its indexes still loads with its token, and ends by its id.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_missing_from_its_indexes_still_loads_and_ends() {
    let Some(lab) = Lab::start() else { return };
    let store = lab.store();
    let mut raw = lab.raw().await;
    let session = given(&store, "ann").await;
    for (_, index) in indexes(&lab.keys, "ann") {
        remove(&mut raw, &index).await;
    }
    assert_eq!(store.load(&[session.id]).await.unwrap().len(), 1);
    let mut changed = SessionRecord::clone(&session);
    changed.label = Some("changed".to_owned());
    changed.expires_at = at(3_000_000);
    store.update(Arc::new(changed), session.revision).await.unwrap();
    assert_eq!(
        ids(&store.expire(at(3_000_000), 10).await.unwrap()),
        [session.id],
        "an update brings it back to the sweep"
    );
    let another = given(&store, "ann").await;
    for (_, index) in indexes(&lab.keys, "ann") {
        remove(&mut raw, &index).await;
    }
    assert_eq!(
        ids(&store.end(&EndScope::id(another.id), &logged_out(5), Timestamp::MAX).await.unwrap()),
        [another.id]
    );
    assert!(store.load(&[another.id]).await.unwrap()[0].ended().is_some());
    raw.run("FLUSHALL").await;
    assert_eq!(assert_consistent(&store, &lab.keys, &mut [raw]).await, 0);
}
