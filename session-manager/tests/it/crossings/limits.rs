//! Limits beside sessions that give way to a new one.

use std::num::NonZeroU32;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::{Actor, EndReason, ErrorKind, OnExceed};
use session_manager::{NewSession, UserLimit};

use crate::world::{World, kind, user};

fn limited(max: u32, on_exceed: OnExceed) -> World {
    let limit = UserLimit::new(NonZeroU32::new(max).unwrap(), on_exceed);
    World::with(|builder| builder.with_limit(limit))
}

fn ann() -> NewSession {
    NewSession::for_user(user("ann"))
}

#[tokio::test]
async fn a_user_at_the_limit_may_sign_in_again_from_the_same_session() {
    let world = limited(1, OnExceed::Refuse);
    let first = world.sign_in("ann").await.session;
    assert_eq!(kind(world.manager.create(ann()).await), ErrorKind::LimitExceeded, "another one is too many");
    let second = world.manager.create(ann().replacing(&first)).await.expect("one gives way for the other");
    assert!(second.ended.is_empty(), "it is replaced, and not evicted");
    assert_eq!(world.stored(first.id()).await.ended().unwrap().reason, EndReason::Superseded);
    assert_eq!(world.live().await, 1);
}

#[tokio::test]
async fn no_third_session_is_evicted_for_one_that_is_replaced() {
    for on_exceed in [OnExceed::EndOldest, OnExceed::EndLeastRecentlySeen] {
        let world = limited(2, on_exceed);
        let first = world.sign_in("ann").await.session;
        world.clock.advance(Duration::from_millis(1));
        let second = world.sign_in("ann").await.session;
        let third = world.manager.create(ann().replacing(&second)).await.unwrap();
        assert!(third.ended.is_empty(), "{:?}", third.ended);
        assert!(world.stored(first.id()).await.ended().is_none(), "it has nothing to do with it");
        assert_eq!(world.live().await, 2);
    }
}

#[tokio::test]
async fn a_session_of_another_user_that_is_replaced_makes_no_room() {
    let world = limited(1, OnExceed::Refuse);
    world.sign_in("ann").await;
    let bob = world.sign_in("bob").await.session;
    assert_eq!(kind(world.manager.create(ann().replacing(&bob)).await), ErrorKind::LimitExceeded);
    assert!(world.stored(bob.id()).await.ended().is_none(), "a sign-in that failed replaces nothing");
}

#[tokio::test]
async fn a_user_at_the_limit_moves_to_another_device() {
    let world = limited(1, OnExceed::Refuse);
    let desk = world.sign_in("ann").await.session;
    let code = world.manager.begin_transfer(&desk, true).await.unwrap().expose().to_string();
    let phone = world.manager.redeem_transfer(&code, NewSession::anonymous()).await.unwrap();
    assert!(phone.ended.is_empty());
    assert_eq!(world.stored(desk.id()).await.ended().unwrap().reason, EndReason::Transferred);
    let code = world.manager.begin_transfer(&phone.session, false).await.unwrap().expose().to_string();
    let third = world.manager.redeem_transfer(&code, NewSession::anonymous()).await;
    assert_eq!(kind(third), ErrorKind::LimitExceeded, "a source that stays counts");
}

/// The new session is stored, and the replaced one cannot be ended yet.
#[tokio::test(start_paused = true)]
async fn the_limit_holds_again_once_a_lost_end_is_carried_through() {
    let world = limited(1, OnExceed::Refuse);
    let first = world.sign_in("ann").await.session;
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("end").at_call(1));
    world.manager.create(ann().replacing(&first)).await.expect("the old one gives no access to others");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.live().await, 1);
    world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap();
    world.manager.create(ann()).await.expect("there is room");
}
