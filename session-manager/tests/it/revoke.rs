use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::{Actor, EndReason, ErrorKind, SessionId, SystemRandom};
use session_manager::{NewSession, Rejection};

use crate::world::{World, abandon, kind, rejection, user};

#[tokio::test]
async fn a_signed_out_session_is_refused_from_then_on() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.manager.logout(&created.session).await.unwrap();
    let Rejection::Ended(ended) = rejection(world.validate(&created.token.expose()).await) else {
        panic!("not ended")
    };
    assert_eq!((ended.reason, ended.by), (EndReason::LoggedOut, Actor::User(user("ann"))));
    world.manager.logout(&created.session).await.expect("signing out twice is fine");
}

#[tokio::test]
async fn a_user_ends_only_their_own_sessions() {
    let world = World::new();
    let (ann, bob) = (world.sign_in("ann").await, world.sign_in("bob").await);
    let as_ann = Actor::User(user("ann"));
    assert_eq!(kind(world.manager.revoke(bob.session.id(), &as_ann).await), ErrorKind::NotFound);
    let unknown = SessionId::mint(world.now(), None, &SystemRandom).unwrap();
    assert_eq!(kind(world.manager.revoke(unknown, &as_ann).await), ErrorKind::NotFound);
    assert!(world.validate(&bob.token.expose()).await.is_ok());
    let ended = world.manager.revoke(ann.session.id(), &as_ann).await.unwrap();
    assert_eq!(ended[0].ended.as_ref().unwrap().reason, EndReason::RevokedByUser);
    assert!(world.manager.revoke(ann.session.id(), &as_ann).await.unwrap().is_empty(), "it was ended before");
}

#[tokio::test]
async fn an_administrator_ends_any_session_and_is_named() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let ended = world.manager.revoke(created.session.id(), &Actor::Admin(user("root"))).await.unwrap();
    let view = ended[0].ended.clone().unwrap();
    assert_eq!((view.reason, view.by.as_str()), (EndReason::RevokedByAdmin, "admin:root"));
}

#[tokio::test]
async fn signing_out_elsewhere_keeps_this_session() {
    let world = World::new();
    let here = world.sign_in("ann").await;
    let there = world.sign_in("ann").await;
    let bob = world.sign_in("bob").await;
    let ended = world.manager.revoke_others(&here.session).await.unwrap();
    assert_eq!(ended.iter().map(|info| info.id).collect::<Vec<_>>(), [there.session.id()]);
    let renewed =
        here.session.take_token().expect("a party that was signed out may hold a copy of the old one");
    assert!(world.validate(&renewed.expose()).await.is_ok());
    assert!(world.validate(&here.token.expose()).await.is_err());
    assert!(world.validate(&there.token.expose()).await.is_err());
    assert!(world.validate(&bob.token.expose()).await.is_ok());
}

#[tokio::test]
async fn an_anonymous_session_has_no_others() {
    let world = World::new();
    let created = world.manager.create(NewSession::anonymous()).await.unwrap();
    assert_eq!(kind(world.manager.revoke_others(&created.session).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn ending_all_ends_all_of_the_user() {
    let world = World::new();
    for _ in 0..3 {
        world.sign_in("ann").await;
    }
    world.sign_in("bob").await;
    assert_eq!(world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap().len(), 3);
    assert_eq!(world.live().await, 1);
    let stats = world.manager.stats().await.unwrap();
    assert_eq!((stats.live, stats.users, stats.ended[&EndReason::RevokedByAdmin]), (1, 1, 3));
}

#[tokio::test]
async fn a_revocation_that_failed_is_an_error() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("end"));
    assert_eq!(kind(world.manager.logout(&created.session).await), ErrorKind::Unavailable);
    world.faults.disarm();
    assert!(world.validate(&created.token.expose()).await.is_ok(), "and nothing pretends that it is out");
    world.manager.logout(&created.session).await.unwrap();
    assert!(world.validate(&created.token.expose()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_revocation_completes_although_its_caller_left() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.faults.arm(Fault::delay(Duration::from_millis(500)).on("end"));
    abandon(world.manager.logout(&created.session)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.stored(created.session.id()).await.ended().is_some());
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_revocation_under_way() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.faults.arm(Fault::delay(Duration::from_millis(500)).on("end"));
    abandon(world.manager.logout(&created.session)).await;
    world.manager.shutdown().await;
    assert!(world.stored(created.session.id()).await.ended().is_some());
}
