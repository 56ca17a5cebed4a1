//! A sign-in beside saves of other tabs, other users and failures.

use std::sync::Arc;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::limits::MAX_DATA;
use session_core::{Actor, EndReason, EndScope, Ended, ErrorKind, SessionStore, Timestamp};
use session_manager::{NewSession, Session};

use crate::world::{World, kind, user};

async fn visitor(world: &World) -> (Session, Session) {
    let created = world.manager.create(NewSession::anonymous()).await.unwrap();
    let token = created.token.expose();
    (world.validate(&token).await.unwrap(), world.validate(&token).await.unwrap())
}

fn ann(session: &Session) -> NewSession {
    NewSession::for_user(user("ann")).replacing(session)
}

#[tokio::test]
async fn what_another_tab_saved_before_the_sign_in_is_carried_over() {
    let world = World::new();
    let (here, tab) = visitor(&world).await;
    here.insert("theme", "dark").unwrap();
    tab.insert("cart", &["apple"]).unwrap();
    tab.save().await.unwrap();
    let signed_in = world.manager.create(ann(&here)).await.unwrap().session;
    let data = world.data(signed_in.id()).await;
    assert_eq!(data, serde_json::json!({"cart": ["apple"], "theme": "dark"}));
    assert_eq!(world.stored(here.id()).await.ended().unwrap().reason, EndReason::Superseded);
}

#[tokio::test(start_paused = true)]
async fn a_save_beside_a_sign_in_is_carried_over_or_refused() {
    for delay in 0..12 {
        let world = Arc::new(World::new());
        let (here, tab) = visitor(&world).await;
        for operation in ["update", "create", "end", "load"] {
            world.faults.arm(Fault::delay(Duration::from_millis(2)).on(operation));
        }
        let manager = world.manager.clone();
        let signing_in = tokio::spawn(async move { manager.create(ann(&here)).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        tab.insert("cart", &["apple"]).unwrap();
        let saved = tab.save().await;
        let signed_in = signing_in.await.unwrap().unwrap().session;
        let carried = world.data(signed_in.id()).await.get("cart").is_some();
        match saved {
            Ok(()) => assert!(carried, "saved after {delay} ms, and lost"),
            Err(error) => assert_eq!((error.kind(), carried), (ErrorKind::Ended, false), "after {delay} ms"),
        }
    }
}

#[tokio::test]
async fn of_two_sign_ins_from_one_session_one_succeeds() {
    let world = World::new();
    let (one, two) = visitor(&world).await;
    world.faults.arm(Fault::delay(Duration::from_millis(2)).on("create"));
    let (first, second) = tokio::join!(world.manager.create(ann(&one)), world.manager.create(ann(&two)));
    assert!(first.is_ok() != second.is_ok());
    let lost = first.err().or(second.err()).unwrap();
    assert_eq!(lost.kind(), ErrorKind::Ended);
    assert_eq!(world.live().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_fails_leaves_the_session_as_it_was() {
    let world = World::new();
    let (here, tab) = visitor(&world).await;
    here.insert("cart", &["apple"]).unwrap();
    here.save().await.unwrap();
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("create").at_call(1));
    assert_eq!(kind(world.manager.create(ann(&here)).await), ErrorKind::Unavailable);
    world.settle().await;
    assert_eq!(world.data(here.id()).await, serde_json::json!({"cart": ["apple"]}), "the mark is gone");
    tab.insert("theme", "dark").unwrap();
    tab.save().await.expect("and it can be saved");
    let again = world.manager.create(ann(&here)).await.unwrap().session;
    assert_eq!(world.data(again.id()).await, serde_json::json!({"cart": ["apple"], "theme": "dark"}));
}

#[tokio::test(start_paused = true)]
async fn a_mark_whose_author_died_counts_for_a_moment_only() {
    let world = World::new();
    let (here, tab) = visitor(&world).await;
    // The mark is written, and neither the sign-in nor its release reach the store.
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("create"));
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("update").at_call(2));
    assert!(world.manager.create(ann(&here)).await.is_err());
    world.settle().await;
    world.faults.disarm();
    tab.insert("theme", "dark").unwrap();
    assert_eq!(kind(tab.save().await), ErrorKind::Ended, "it may still be under way");
    world.pass(35);
    tab.save().await.unwrap();
    assert_eq!(world.data(here.id()).await, serde_json::json!({"theme": "dark"}));
}

#[tokio::test]
async fn nothing_of_another_users_session_is_carried_over() {
    let world = World::new();
    let bob = world.sign_in("bob").await.session;
    bob.insert("letters", "private").unwrap();
    bob.save().await.unwrap();
    bob.insert("draft", "private").unwrap();
    let signed_in = world.manager.create(ann(&bob)).await.unwrap().session;
    assert_eq!(world.data(signed_in.id()).await, serde_json::json!({}));
    assert!(world.stored(bob.id()).await.ended().is_some(), "it gives way all the same");
}

#[tokio::test]
async fn a_session_that_has_ended_is_no_obstacle() {
    let world = World::new();
    let (here, _) = visitor(&world).await;
    world.manager.logout(&here).await.unwrap();
    let signed_in = world.manager.create(ann(&here)).await.unwrap().session;
    assert_eq!(world.data(signed_in.id()).await, serde_json::json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_save_beside_a_sign_in_is_safe_on_nodes_whose_clocks_differ() {
    for (here_ahead, there_ahead) in [(0, 10), (10, 0)] {
        let world = World::new();
        let other = World::on(Arc::clone(&world.store), |builder| builder);
        let created = world.manager.create(NewSession::anonymous()).await.unwrap();
        world.pass(here_ahead);
        other.pass(there_ahead);
        let tab = other.validate(&created.token.expose()).await.unwrap();
        let here = world.validate(&created.token.expose()).await.unwrap();
        world.faults.arm(Fault::delay(Duration::from_millis(100)).on("create"));
        let manager = world.manager.clone();
        let signing =
            tokio::spawn(
                async move { manager.create(NewSession::for_user(user("ann")).replacing(&here)).await },
            );
        tokio::time::sleep(Duration::from_millis(50)).await;
        tab.insert("cart", &["apple"]).unwrap();
        let saved = tab.save().await;
        let signed_in = signing.await.unwrap().unwrap().session;
        let carried = world.data(signed_in.id()).await.get("cart").is_some();
        assert!(saved.is_err() || carried, "saved Ok and lost: here {here_ahead}, there {there_ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_sign_ins_on_nodes_whose_clocks_differ_one_succeeds() {
    let world = World::new();
    let other = World::on(Arc::clone(&world.store), |builder| builder);
    let created = world.manager.create(NewSession::anonymous()).await.unwrap();
    other.pass(10);
    let token = created.token.expose();
    let (one, two) = (world.validate(&token).await.unwrap(), other.validate(&token).await.unwrap());
    for node in [&world, &other] {
        node.faults.arm(Fault::delay(Duration::from_millis(20)).on("create"));
    }
    let first = world.manager.create(NewSession::for_user(user("ann")).replacing(&one));
    let second = other.manager.create(NewSession::for_user(user("ann")).replacing(&two));
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() != second.is_ok(), "one wins");
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_mark_left_over_can_be_transferred() {
    let world = World::new();
    let here = world.sign_in("ann").await.session;
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("create"));
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("update").at_call(2));
    assert!(world.manager.create(NewSession::for_user(user("ann")).replacing(&here)).await.is_err());
    world.settle().await;
    world.faults.disarm();
    world.pass(600);
    let code = world.manager.begin_transfer(&here, false).await.unwrap().expose().to_string();
    world.manager.redeem_transfer(&code, NewSession::anonymous()).await.expect("the session is live");
}

/// Data that fills its limits, to the byte.
fn full(session: &Session, max_bytes: usize) {
    let around = r#"_{"fill":""}"#.len();
    session.insert("fill", &"x".repeat(max_bytes - around - 16)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn data_that_fills_its_limits_can_be_marked_and_is_read_meanwhile() {
    let world = World::new();
    let created = world.manager.create(NewSession::anonymous()).await.unwrap();
    let (here, token) = (created.session, created.token.expose());
    full(&here, MAX_DATA);
    here.save().await.unwrap();
    assert_eq!(world.stored(here.id()).await.data.len(), MAX_DATA);
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("create"));
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("update").at_call(2));
    assert_eq!(kind(world.manager.create(ann(&here)).await), ErrorKind::Unavailable);
    world.faults.disarm();
    assert!(world.stored(here.id()).await.data.len() > MAX_DATA, "it is marked still");
    let marked = world.validate(&token).await.unwrap();
    assert_eq!(marked.get::<String>("fill").unwrap().unwrap().len(), MAX_DATA - 28);
    marked.insert("fill", "less").unwrap();
    assert_eq!(kind(marked.save().await), ErrorKind::Ended, "a sign-in may still be under way");
    world.pass(60);
    let signed_in = world.manager.create(ann(&here)).await.expect("it can sign in").session;
    assert_eq!(world.data(signed_in.id()).await.as_object().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_edit_beside_a_sign_in_is_carried_over_or_refused() {
    for delay in 0..12 {
        let world = Arc::new(World::new());
        let (here, _) = visitor(&world).await;
        for operation in ["update", "create", "end", "load"] {
            world.faults.arm(Fault::delay(Duration::from_millis(2)).on(operation));
        }
        let (manager, id) = (world.manager.clone(), here.id());
        let signing_in = tokio::spawn(async move { manager.create(ann(&here)).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        let edited = world.manager.edit(id, &Actor::System, |edit| edit.insert("plan", "pro")).await;
        let signed_in = signing_in.await.unwrap().unwrap().session;
        let carried = world.data(signed_in.id()).await.get("plan").is_some();
        match edited {
            Ok(_) => assert!(carried, "edited after {delay} ms, and lost"),
            Err(error) => assert_eq!((error.kind(), carried), (ErrorKind::Ended, false), "after {delay} ms"),
        }
    }
}

#[tokio::test]
async fn a_key_that_the_handle_took_is_not_in_the_new_session() {
    let world = World::new();
    let (here, _) = visitor(&world).await;
    here.insert("voucher", "spring").unwrap();
    here.save().await.unwrap();
    assert_eq!(here.take::<String>("voucher").unwrap().as_deref(), Some("spring"));
    let signed_in = world.manager.create(ann(&here)).await.unwrap().session;
    assert_eq!(world.data(signed_in.id()).await, serde_json::json!({}));
}

#[tokio::test]
async fn a_session_that_ends_in_the_same_millisecond_is_no_second_sign_in() {
    let world = World::new();
    let (here, _) = visitor(&world).await;
    // It ends between the sign-in's load and its mark, at the very time of the sign-in.
    world.faults.arm(Fault::delay(Duration::from_millis(20)).on("update").at_call(1));
    let (manager, id) = (world.manager.clone(), here.id());
    let signing_in = tokio::spawn(async move { manager.create(ann(&here)).await });
    world.faults.called("update", 1).await;
    let ended = Ended::new(EndReason::Superseded, world.now(), Actor::System);
    world.store.end(&EndScope::id(id), &ended, Timestamp::MAX).await.unwrap();
    signing_in.await.unwrap().expect("a session that has ended is no obstacle");
}
