//! Changes by handles that know less than the store: the store decides, whatever the handle holds.

use session_core::{Actor, EndReason, EndScope, Ended, ErrorKind, SessionStore, Timestamp};
use session_manager::{ConflictPolicy, NewSession, Session};

use crate::world::{World, kind};

/// Two requests of one session that both read a key.
async fn readers(world: &World, key: &str) -> (Session, Session) {
    let created = world.sign_in("ann").await;
    created.session.insert(key, &1).unwrap();
    created.session.save().await.unwrap();
    let token = created.token.expose();
    let (one, two) = (world.validate(&token).await.unwrap(), world.validate(&token).await.unwrap());
    assert_eq!((one.get::<u8>(key).unwrap(), two.get::<u8>(key).unwrap()), (Some(1), Some(1)));
    (one, two)
}

/// Ends a session as another process would: this one does not notice.
async fn end_elsewhere(world: &World, session: &Session) {
    let ended = Ended::new(EndReason::RevokedByAdmin, world.now(), Actor::System);
    world.store.end(&EndScope::id(session.id()), &ended, Timestamp::MAX).await.unwrap();
}

#[tokio::test]
async fn a_save_that_changes_nothing_notices_the_end() {
    let world = World::new();
    let (one, _) = readers(&world, "k").await;
    end_elsewhere(&world, &one).await;
    one.insert("k", &1).unwrap();
    assert_eq!(kind(one.save().await), ErrorKind::Ended);
    assert!(one.is_modified());
}

#[tokio::test]
async fn an_update_that_changes_nothing_notices_the_end() {
    let world = World::new();
    let (one, _) = readers(&world, "k").await;
    end_elsewhere(&world, &one).await;
    assert_eq!(kind(one.update("k", |value: Option<u8>| value.unwrap_or(0)).await), ErrorKind::Ended);
}

#[tokio::test]
async fn an_equal_value_over_a_key_that_moved_is_a_conflict() {
    let world = World::new();
    let (one, two) = readers(&world, "k").await;
    two.insert("k", &2).unwrap();
    two.save().await.unwrap();
    one.insert("k", &1).unwrap();
    assert_eq!(kind(one.save().await), ErrorKind::Conflict, "it read 1, and 2 is stored");
}

#[tokio::test]
async fn mine_wins_although_the_handle_holds_the_same_value() {
    let world = World::with(|builder| builder.with_conflict_policy(ConflictPolicy::Mine));
    let (one, two) = readers(&world, "k").await;
    two.insert("k", &2).unwrap();
    two.save().await.unwrap();
    one.insert("k", &1).unwrap();
    one.save().await.unwrap();
    assert_eq!(world.data(one.id()).await, serde_json::json!({"k": 1}));
}

#[tokio::test]
async fn a_limit_is_judged_by_what_is_stored() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    created.session.insert("old", &"x".repeat(40_000)).unwrap();
    created.session.save().await.unwrap();
    let token = created.token.expose();
    let (one, two) = (world.validate(&token).await.unwrap(), world.validate(&token).await.unwrap());
    two.remove("old").unwrap();
    two.save().await.unwrap();
    one.insert("new", &"x".repeat(40_000)).unwrap();
    one.save().await.expect("there is room by now");
    assert_eq!(world.data(one.id()).await.as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn new_secrets_do_not_hide_that_a_key_moved() {
    let world = World::new();
    let (one, two) = readers(&world, "k").await;
    one.insert("k", &7).unwrap();
    two.insert("k", &2).unwrap();
    two.save().await.unwrap();
    world.manager.rotate(&one).await.unwrap();
    assert_eq!(kind(one.save().await), ErrorKind::Conflict, "the change was made on 1");
}

#[tokio::test]
async fn a_failed_sign_in_hides_no_conflict() {
    let world = World::new();
    let (one, two) = readers(&world, "k").await;
    one.take::<u8>("k").unwrap();
    two.take::<u8>("k").unwrap();
    two.save().await.unwrap();
    let new = NewSession::for_user("ann".parse().unwrap()).replacing(&one);
    assert_eq!(kind(world.manager.create(new).await), ErrorKind::Conflict, "another request used it up");
    assert_eq!(world.live().await, 1, "no user is signed in");
    two.insert("other", &1).unwrap();
    two.save().await.expect("and the session is not marked");
    assert_eq!(kind(one.save().await), ErrorKind::Conflict);
}
