use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::{AuthMethod, ErrorKind, SecretFormat};
use session_manager::{Rejection, SessionManagerBuilder};

use crate::world::{World, kind, rejection};

const HOUR: u64 = 3_600;

fn hourly(builder: SessionManagerBuilder) -> SessionManagerBuilder {
    builder.with_rotation(Duration::from_secs(HOUR))
}

/// A world whose one session was just rotated: the old token and the new one.
async fn rotated(configure: fn(SessionManagerBuilder) -> SessionManagerBuilder) -> (World, String, String) {
    let world = World::with(configure);
    let old = world.sign_in("ann").await.token.expose().to_string();
    world.pass(HOUR);
    let session = world.validate(&old).await.unwrap();
    let new = session.take_token().expect("it was due").expose().to_string();
    (world, old, new)
}

#[tokio::test]
async fn without_a_timer_nothing_rotates() {
    let world = World::new();
    let token = world.sign_in("ann").await.token.expose();
    world.pass(20 * HOUR);
    assert!(world.validate(&token).await.unwrap().take_token().is_none());
    assert_eq!(world.faults.calls("update"), 0);
}

#[tokio::test]
async fn a_rotation_is_one_write_and_the_session_stays_the_same() {
    let (world, old, new) = rotated(hourly).await;
    assert_eq!(world.faults.calls("update"), 1);
    assert_ne!(old, new);
    assert_eq!(old[..23], new[..23], "the id stays");
    let session = world.validate(&new).await.unwrap();
    assert!(session.take_token().is_none(), "the next one is due in an hour");
    assert_eq!(world.live().await, 1);
    world.settle().await;
    world.present(&new).await;
    assert_eq!(world.faults.calls("update"), 2, "that it was presented is noted once");
}

#[tokio::test]
async fn the_old_token_gives_the_same_successor_within_grace_and_writes_nothing() {
    let (world, old, new) = rotated(hourly).await;
    world.present(&new).await;
    world.faults.reset_calls();
    for _ in 0..3 {
        world.pass(10);
        let session = world.validate(&old).await.unwrap();
        assert_eq!(session.take_token().unwrap().expose().as_str(), new);
    }
    assert_eq!(world.faults.calls("update"), 0);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(
        rejection(world.validate(&old).await),
        Rejection::WrongSecret,
        "30 s after the successor was presented, however often it was used"
    );
    assert!(world.validate(&new).await.is_ok(), "and nothing was ended by it");
}

#[tokio::test]
async fn every_format_has_successors() {
    for format in [SecretFormat::Hex160, SecretFormat::Uuid, SecretFormat::Urlsafe256] {
        let world = World::with(|builder| hourly(builder).with_secret_format(format));
        let old = world.sign_in("ann").await.token.expose();
        world.pass(HOUR);
        let new = world.validate(&old).await.unwrap().take_token().unwrap().expose();
        assert_eq!(new.len(), old.len());
        assert!(world.validate(&new).await.is_ok());
    }
}

#[tokio::test]
async fn two_rotations_on_the_first_token_is_unknown() {
    let (world, old, new) = rotated(|builder| {
        hourly(builder).with_rotation(Duration::from_secs(1)).with_grace(Duration::from_secs(1))
    })
    .await;
    world.present(&new).await;
    world.pass(2);
    let newest = world.validate(&new).await.unwrap().take_token().unwrap();
    assert_eq!(rejection(world.validate(&old).await), Rejection::WrongSecret, "at most two secrets count");
    assert!(world.validate(&new).await.is_ok());
    assert!(world.validate(&newest.expose()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_requests_converge_on_one_successor() {
    let world = Arc::new(World::with(hourly));
    let other = Arc::new(World::on(Arc::clone(&world.store), hourly));
    let old = world.sign_in("ann").await.token.expose().to_string();
    world.pass(HOUR);
    other.clock.set(world.now());
    let requests = (0..64).map(|n| {
        let (node, old) = (Arc::clone(if n % 2 == 0 { &world } else { &other }), old.clone());
        tokio::spawn(
            async move { node.validate(&old).await.unwrap().take_token().unwrap().expose().to_string() },
        )
    });
    let mut successors: Vec<_> = join_all(requests).await.into_iter().map(Result::unwrap).collect();
    successors.sort_unstable();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    assert!(world.validate(&successors[0]).await.is_ok());
    let id = world.validate(&successors[0]).await.unwrap().id();
    assert_eq!(world.stored(id).await.revision.get(), 2, "one of them wrote");
}

#[tokio::test]
async fn a_rotation_that_fails_does_not_fail_the_request() {
    let world = World::with(hourly);
    let token = world.sign_in("ann").await.token.expose();
    world.pass(HOUR);
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("update"));
    assert!(world.validate(&token).await.unwrap().take_token().is_none());
    world.faults.disarm();
    assert!(world.validate(&token).await.unwrap().take_token().is_some());
}

#[tokio::test]
async fn a_rotation_whose_reply_was_lost_is_found_by_the_next_request() {
    let world = World::with(hourly);
    let token = world.sign_in("ann").await.token.expose();
    world.pass(HOUR);
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert!(world.validate(&token).await.unwrap().take_token().is_none());
    let successor = world.validate(&token).await.unwrap().take_token().unwrap();
    assert!(world.validate(&successor.expose()).await.is_ok());
    assert_eq!(world.faults.calls("update"), 1);
}

#[tokio::test]
async fn a_change_of_privilege_leaves_no_grace() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.manager.rotate(&created.session).await.unwrap();
    let new = created.session.take_token().unwrap();
    assert_eq!(rejection(world.validate(&created.token.expose()).await), Rejection::WrongSecret);
    assert!(world.validate(&new.expose()).await.is_ok());
    assert!(created.session.take_token().is_none(), "it is handed out once");
}

#[tokio::test]
async fn an_authentication_is_recorded_and_rotates() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.pass(60);
    world.manager.record_authentication(&created.session, AuthMethod::Totp).await.unwrap();
    let record = created.session.record();
    assert_eq!(
        (record.auth.last().unwrap().method.clone(), record.authenticated_at),
        (AuthMethod::Totp, world.now())
    );
    assert!(world.validate(&created.token.expose()).await.is_err());
    assert_eq!(world.faults.calls("update"), 2, "one that replaces, one that confirms");
}

#[tokio::test]
async fn an_ended_session_is_not_rotated_back_to_life() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.manager.logout(&created.session).await.unwrap();
    assert_eq!(kind(world.manager.rotate(&created.session).await), ErrorKind::Ended);
    assert!(world.stored(created.session.id()).await.secret.is_none());
}

#[tokio::test]
async fn data_and_deadlines_survive_a_rotation() {
    let world = World::with(hourly);
    let created = world.sign_in("ann").await;
    created.session.insert("cart", &1).unwrap();
    created.session.save().await.unwrap();
    let before = world.stored(created.session.id()).await;
    world.pass(HOUR);
    let session = world.validate(&created.token.expose()).await.unwrap();
    assert_eq!(session.get::<u8>("cart").unwrap(), Some(1));
    let after = world.stored(created.session.id()).await;
    assert_eq!(
        (after.expires_at, after.idle_timeout, &after.data),
        (before.expires_at, before.idle_timeout, &before.data)
    );
    created.session.insert("cart", &2).unwrap();
    created.session.save().await.expect("an older handle merges with the rotation");
}
