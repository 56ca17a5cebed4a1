//! Second factors that fail or come too late, and pending sign-ins that are over.

use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::{Actor, AssuranceLevel, AuthMethod, EndReason, ErrorKind};
use session_manager::{Created, NewSession, Session};

use crate::world::{World, kind, user};

async fn pending(world: &World) -> Session {
    let new = NewSession::for_user(user("ann")).with_auth(AuthMethod::Password);
    world.manager.begin_sign_in(new).await.unwrap().session
}

fn second() -> NewSession {
    NewSession::for_user(user("ann")).with_auth(AuthMethod::Totp)
}

/// Signs in with one factor.
async fn with_password(world: &World) -> (Created, String) {
    let new = NewSession::for_user(user("ann")).with_auth(AuthMethod::Password);
    let created = world.manager.create(new).await.unwrap();
    let token = created.token.expose().to_string();
    (created, token)
}

/// Steps up, but the store's reply is lost.
async fn step_up_in_vain(world: &World, session: &Session) {
    world.pass(5);
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert!(world.manager.record_authentication(session, AuthMethod::Totp).await.is_err());
    world.pass(60);
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_up_counts_for_nothing_although_time_passed() {
    let world = World::new();
    let (created, token) = with_password(&world).await;
    world.pass(5);
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    let (done, ()) =
        tokio::join!(world.manager.record_authentication(&created.session, AuthMethod::Totp), async {
            world.clock.advance(Duration::from_millis(1));
        });
    assert!(done.is_err());
    world.pass(60);
    let session = world.validate(&token).await.unwrap();
    assert_eq!(session.assurance(), AssuranceLevel::Aal1, "an operation that failed did not happen");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_is_taken_back_is_written() {
    let world = World::new();
    let (created, token) = with_password(&world).await;
    let before = world.stored(created.session.id()).await.secret.clone();
    step_up_in_vain(&world, &created.session).await;
    world.validate(&token).await.unwrap();
    world.settle().await;
    let after = world.stored(created.session.id()).await;
    assert_eq!(after.secret.as_ref().map(|s| &s.current), before.as_ref().map(|s| &s.current), "taken back");
    assert_eq!(after.auth.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_up_is_not_transferred() {
    let world = World::new();
    let (created, token) = with_password(&world).await;
    step_up_in_vain(&world, &created.session).await;
    let session = world.validate(&token).await.unwrap();
    assert_eq!(session.assurance(), AssuranceLevel::Aal1);
    let code = world.manager.begin_transfer(&session, true).await.unwrap().expose().to_string();
    let moved = world.manager.redeem_transfer(&code, NewSession::anonymous()).await.unwrap().session;
    assert_eq!(moved.assurance(), AssuranceLevel::Aal1, "an operation that failed did not happen");
}

#[tokio::test]
async fn a_pending_sign_in_without_attempts_completes_nothing() {
    let world = World::new();
    let pending = pending(&world).await;
    for _ in 0..5 {
        world.manager.count_attempt(&pending).await.unwrap();
    }
    assert_eq!(kind(world.manager.count_attempt(&pending).await), ErrorKind::LimitExceeded);
    world.settle().await;
    assert_eq!(world.stored(pending.id()).await.ended().unwrap().reason, EndReason::PolicyDenied);
    assert!(world.manager.complete_sign_in(&pending, second()).await.is_err(), "it ended as PolicyDenied");
}

#[tokio::test]
async fn a_pending_sign_in_completes_once() {
    let world = World::new();
    let pending = pending(&world).await;
    world.manager.complete_sign_in(&pending, second()).await.unwrap();
    assert!(world.manager.complete_sign_in(&pending, second()).await.is_err(), "two sessions of one sign-in");
}

#[tokio::test]
async fn an_expired_pending_sign_in_completes_nothing() {
    let world = World::new();
    let pending = pending(&world).await;
    world.pass(30 * 60);
    assert!(world.manager.complete_sign_in(&pending, second()).await.is_err(), "it lasts 10 minutes");
}

#[tokio::test]
async fn an_expired_pending_sign_in_counts_no_attempt() {
    let world = World::new();
    let pending = pending(&world).await;
    world.pass(30 * 60);
    assert!(world.manager.count_attempt(&pending).await.is_err(), "it lasts 10 minutes");
}

#[tokio::test]
async fn a_revoked_pending_sign_in_completes_nothing() {
    let world = World::new();
    let pending = pending(&world).await;
    world.manager.revoke(pending.id(), &Actor::Admin(user("root"))).await.unwrap();
    assert!(world.manager.complete_sign_in(&pending, second()).await.is_err(), "an administrator ended it");
}
