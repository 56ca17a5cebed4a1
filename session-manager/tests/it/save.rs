use std::sync::Arc;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::{Actor, EndReason, ErrorKind, SessionId, SessionRecord, SessionStore, SystemRandom};
use session_manager::{ConflictPolicy, NewSession, Session};

use crate::world::{World, kind, user};

/// Two requests of one session at the same time.
async fn twins(world: &World) -> (Session, Session) {
    let token = world.sign_in("ann").await.token.expose();
    (world.validate(&token).await.unwrap(), world.validate(&token).await.unwrap())
}

#[tokio::test]
async fn saving_nothing_causes_no_call() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    world.faults.reset_calls();
    session.save().await.unwrap();
    assert_eq!(session.get::<u8>("absent").unwrap(), None);
    assert!(!session.remove("absent").unwrap());
    session.save().await.unwrap();
    assert_eq!(world.faults.all_calls(), 0);
}

#[tokio::test]
async fn saving_what_is_stored_already_writes_nothing() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    session.insert("theme", "dark").unwrap();
    session.save().await.unwrap();
    world.faults.reset_calls();
    session.insert("theme", "dark").unwrap();
    session.save().await.unwrap();
    assert_eq!((world.faults.calls("load"), world.faults.all_calls()), (1, 1), "it asks, and writes nothing");
    assert!(!session.is_modified());
}

#[tokio::test]
async fn changes_of_different_keys_are_merged() {
    let world = World::new();
    let (one, two) = twins(&world).await;
    one.insert("a", &1).unwrap();
    two.insert("b", &2).unwrap();
    one.save().await.unwrap();
    two.save().await.unwrap();
    assert_eq!(two.get::<u8>("a").unwrap(), Some(1), "the handle sees what it merged");
    assert_eq!(world.stored(one.id()).await.revision.get(), 3);
    assert_eq!(world.data(one.id()).await, serde_json::json!({"a": 1, "b": 2}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_among_many_writers() {
    let world = Arc::new(World::new());
    let token = world.sign_in("ann").await.token.expose().to_string();
    let writers: Vec<_> = (0..32_u8)
        .map(|n| {
            let (world, token) = (Arc::clone(&world), token.clone());
            tokio::spawn(async move {
                let session = world.validate(&token).await.unwrap();
                session.insert(format!("key {n}"), &n).unwrap();
                while let Err(error) = session.save().await {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "other writers came first four times");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let session = world.validate(&token).await.unwrap();
    for n in 0..32_u8 {
        assert_eq!(session.get::<u8>(&format!("key {n}")).unwrap(), Some(n));
    }
}

#[tokio::test]
async fn the_policy_decides_about_one_key_changed_twice() {
    for (policy, expected) in [
        (ConflictPolicy::Fail, Err(ErrorKind::Conflict)),
        (ConflictPolicy::Mine, Ok(2)),
        (ConflictPolicy::Theirs, Ok(1)),
    ] {
        let world = World::with(|builder| builder.with_conflict_policy(policy));
        let (one, two) = twins(&world).await;
        one.insert("key", &1).unwrap();
        two.insert("key", &2).unwrap();
        two.insert("other", &3).unwrap();
        one.save().await.unwrap();
        let saved = two.save().await.map_err(|error| error.kind());
        let session = world.validate(&world.sign_in("bob").await.token.expose()).await.unwrap();
        drop(session);
        let record = world.stored(one.id()).await;
        let text = String::from_utf8_lossy(&record.data).into_owned();
        match expected {
            Err(kind) => {
                assert_eq!(saved, Err(kind));
                assert!(text.contains("\"key\":1") && !text.contains("other"), "{text}");
                assert!(two.is_modified(), "nothing is forgotten");
            }
            Ok(value) => {
                assert_eq!(saved, Ok(()));
                assert!(text.contains(&format!("\"key\":{value}")) && text.contains("\"other\":3"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn equal_values_from_both_sides_are_a_conflict() {
    let world = World::new();
    let (one, two) = twins(&world).await;
    one.insert("count", &2).unwrap();
    two.insert("count", &2).unwrap();
    one.save().await.unwrap();
    assert_eq!(kind(two.save().await), ErrorKind::Conflict, "one of two increments would be lost");
    assert_eq!(world.stored(one.id()).await.revision.get(), 2);
}

#[tokio::test]
async fn a_removed_key_stays_removed() {
    let world = World::new();
    let (one, two) = twins(&world).await;
    one.insert("key", &1).unwrap();
    one.save().await.unwrap();
    assert!(one.remove("key").unwrap());
    one.save().await.unwrap();
    two.insert("other", &1).unwrap();
    two.save().await.unwrap();
    assert_eq!(two.get::<u8>("key").unwrap(), None);
}

#[tokio::test]
async fn only_one_of_two_requests_takes_a_key() {
    let world = World::new();
    let token = world.sign_in("ann").await.token.expose();
    let session = world.validate(&token).await.unwrap();
    session.insert("voucher", "spring").unwrap();
    session.save().await.unwrap();
    let (one, two) = (world.validate(&token).await.unwrap(), world.validate(&token).await.unwrap());
    assert_eq!(one.take::<String>("voucher").unwrap().as_deref(), Some("spring"));
    assert_eq!(two.take::<String>("voucher").unwrap().as_deref(), Some("spring"));
    assert!(one.save().await.is_ok());
    assert_eq!(kind(two.save().await), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_save_never_brings_an_ended_session_back() {
    let world = World::new();
    let (one, two) = twins(&world).await;
    one.insert("cart", &1).unwrap();
    world.manager.logout(&two).await.unwrap();
    let error = one.save().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ended);
    assert_eq!(error.ended_session().unwrap().reason, EndReason::LoggedOut);
    let stored = world.stored(one.id()).await;
    assert!(stored.ended().is_some() && stored.data.is_empty());
}

#[tokio::test]
async fn a_save_of_a_purged_session_is_not_found() {
    let world = World::with(|builder| builder.with_retention(Duration::from_secs(32)));
    let (one, two) = twins(&world).await;
    one.insert("cart", &1).unwrap();
    world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap();
    world.pass(33);
    assert_eq!(world.manager.purge().await.unwrap().purged, 1);
    assert_eq!(kind(one.save().await), ErrorKind::NotFound);
    assert!(world.store.load(&[two.id()]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_save_whose_reply_was_lost_can_be_repeated() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    session.insert("count", &1).unwrap();
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert_eq!(kind(session.save().await), ErrorKind::Timeout);
    assert!(session.is_modified());
    session.save().await.unwrap();
    assert_eq!(world.stored(session.id()).await.revision.get(), 2, "written once");
}

#[tokio::test]
async fn too_much_data_is_refused_and_the_previous_state_stays() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    session.insert("small", &1).unwrap();
    session.save().await.unwrap();
    world.faults.reset_calls();
    session.insert("big", &"x".repeat(70_000)).unwrap();
    assert_eq!(kind(session.save().await), ErrorKind::Invalid);
    assert_eq!(world.faults.all_calls(), 0);
    assert_eq!(world.stored(session.id()).await.revision.get(), 2);
}

#[tokio::test]
async fn data_of_an_unknown_codec_is_corrupt_and_left_alone() {
    let world = World::new();
    let now = world.now();
    let id = SessionId::mint(now, None, &SystemRandom).unwrap();
    let mut record = SessionRecord::new(id, now, now.saturating_add(Duration::from_secs(60)));
    record.data = Arc::from(&[9, 1, 2, 3][..]);
    let created = world.manager.create(NewSession::anonymous()).await.unwrap();
    let mut damaged = SessionRecord::clone(&created.session.record());
    damaged.data = record.data;
    world.store.update(Arc::new(damaged), created.session.record().revision).await.unwrap();

    let session = world.validate(&created.token.expose()).await.expect("the session itself is fine");
    assert_eq!(kind(session.get::<u8>("key")), ErrorKind::Corrupt);
    session.insert("key", &1).unwrap();
    assert_eq!(kind(session.save().await), ErrorKind::Corrupt);
    assert_eq!(world.stored(session.id()).await.data.as_ref(), &[9, 1, 2, 3]);
}

#[tokio::test]
async fn a_change_made_during_a_save_is_not_forgotten() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    session.insert("key", &1).unwrap();
    world.faults.arm(Fault::delay(Duration::from_millis(20)).on("update"));
    let saving = session.clone();
    let task = tokio::spawn(async move { saving.save().await });
    while world.faults.calls("update") == 0 {
        tokio::task::yield_now().await;
    }
    session.insert("key", &2).unwrap();
    task.await.unwrap().unwrap();
    assert!(session.is_modified());
    session.save().await.unwrap();
    assert_eq!(world.data(session.id()).await, serde_json::json!({"key": 2}));
}

#[tokio::test]
async fn a_touch_in_between_is_no_conflict() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    let touch = session_core::Touch::new(
        session.id(),
        world.now().saturating_add(Duration::from_secs(5)),
        Default::default(),
    );
    assert_eq!(world.store.touch(std::slice::from_ref(&touch), world.now()).await.unwrap(), 1);
    session.insert("key", &1).unwrap();
    session.save().await.unwrap();
    assert_eq!(world.faults.calls("update"), 1);
    assert_eq!(world.stored(session.id()).await.last_seen_at, touch.last_seen_at);
}
