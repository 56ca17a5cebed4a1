//! Ends beside lost replies, sign-ins, copies and events.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{
    Actor, DeviceId, EndReason, ErrorKind, Event, EventKind, EventSink, OnExceed, SessionId, SystemRandom,
};
use session_manager::{ExternalSession, NewSession, Rejection, Tiers, UserLimit, ValidateError};

use crate::tiers::lab::{Cache, Node, SECOND};
use crate::world::{World, kind, rejection, user};

#[derive(Debug, Clone, Default)]
struct Ends(Arc<Mutex<Vec<(SessionId, EndReason)>>>);

impl EventSink for Ends {
    fn emit(&self, event: &Event) {
        if let (EventKind::Ended(ended), Some(id)) = (&event.kind, event.session) {
            self.0.lock().push((id, ended.reason));
        }
    }
}

impl Ends {
    async fn of(&self, world: &World) -> Vec<(SessionId, EndReason)> {
        world.manager.shutdown().await;
        let mut ends = self.0.lock().clone();
        ends.sort_unstable();
        ends
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_out_everywhere_in_a_hiccup_spares_a_later_sign_in() {
    for fault in [Fault::error(ErrorKind::Unavailable), Fault::lost_reply(ErrorKind::Timeout)] {
        let world = World::new();
        let old = world.sign_in("ann").await.token.expose();
        world.faults.arm(fault.on("end").at_call(1));
        assert!(world.manager.revoke_all(&user("ann"), &Actor::System).await.is_err());
        world.clock.advance(Duration::from_millis(1));
        let new = world.sign_in("ann").await.token.expose();
        tokio::time::sleep(60 * SECOND).await;
        assert!(world.validate(&old).await.is_err(), "the end is carried through");
        assert!(world.validate(&new).await.is_ok(), "and ends what existed when it was asked for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_log_out_everywhere_spares_a_later_sign_in() {
    let device = DeviceId::mint(&SystemRandom).unwrap();
    for how in 0..3 {
        let world = World::new();
        let new = || NewSession::for_user(user("ann")).with_device(device);
        let old = world.manager.create(new()).await.unwrap();
        let here = world.manager.create(NewSession::for_user(user("ann"))).await.unwrap().session;
        world.faults.arm(Fault::late(3 * SECOND, ErrorKind::Timeout).on("end").at_call(1));
        let manager = &world.manager;
        let asked = match how {
            0 => manager.revoke_all(&user("ann"), &Actor::System).await.map(drop),
            1 => manager.revoke_device(&user("ann"), device, &Actor::System).await.map(drop),
            _ => manager.revoke_others(&here).await.map(drop),
        };
        assert_eq!(kind(asked), ErrorKind::Timeout);
        world.pass(1);
        let new = world.manager.create(new()).await.unwrap().token.expose();
        tokio::time::sleep(60 * SECOND).await;
        assert!(world.validate(&old.token.expose()).await.is_err(), "{how}");
        assert!(world.validate(&new).await.is_ok(), "it began after the end was asked for: {how}");
    }
}

#[tokio::test]
async fn many_sessions_of_a_node_whose_clock_is_ahead_are_ended() {
    let world = World::with(|builder| builder.with_limit(None));
    let ahead = World::on(Arc::clone(&world.store), |builder| builder.with_limit(None));
    ahead.pass(29);
    let keep = world.sign_in("ann").await.session;
    for _ in 0..1_100 {
        ahead.sign_in("ann").await;
    }
    assert_eq!(world.manager.revoke_others(&keep).await.unwrap().len(), 1_100);
    assert_eq!(world.live().await, 1);
}

#[tokio::test]
async fn logging_out_everywhere_reaches_a_node_whose_clock_is_ahead() {
    let world = World::new();
    let ahead = World::on(Arc::clone(&world.store), |builder| builder);
    ahead.pass(29);
    let token = ahead.sign_in("ann").await.token.expose();
    assert_eq!(world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap().len(), 1);
    assert!(ahead.validate(&token).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn asking_again_removes_the_copies_of_what_another_node_ended() {
    let redis = Cache::new("redis");
    for ask in [0, 1, 2] {
        let node = Node::new(Tiers::memory().with_cache(redis.clone())).await;
        // Another node, which sends no messages.
        let other = World::on(Arc::clone(&node.world.store), |builder| builder);
        let (id, token) = node.sign_in().await;
        let session = node.validate(&token).await.unwrap();
        other.manager.revoke(id, &Actor::System).await.unwrap();
        assert!(node.validate(&token).await.is_ok(), "the copy does not know yet");
        let manager = &node.world.manager;
        match ask {
            0 => manager.logout(&session).await.unwrap(),
            1 => drop(manager.revoke(id, &Actor::System).await.unwrap()),
            _ => drop(manager.revoke_all(&user("ann"), &Actor::System).await.unwrap()),
        }
        assert!(matches!(rejection(node.validate(&token).await), Rejection::Ended(_)), "{ask}");
        assert!(redis.holds_tombstone(id).await, "{ask}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_cache_does_not_fail_the_end_of_many_sessions() {
    let redis = Cache::new("redis");
    let store = Arc::default();
    let many = World::on(Arc::clone(&store), |builder| builder.with_limit(None));
    for _ in 0..2_000 {
        many.sign_in("ann").await;
    }
    let node = Node::on(store, Tiers::memory().with_cache(redis.clone())).await;
    redis.takes(Duration::from_millis(40));
    let began = tokio::time::Instant::now();
    let ended = node.world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap();
    assert_eq!(ended.len(), 2_000);
    assert!(began.elapsed() <= Duration::from_millis(100), "{:?}", began.elapsed());
    node.pass(5 * SECOND).await;
    assert!(redis.holds_tombstone(ended[1_999].id).await, "the cache has all of them in the end");
}

#[tokio::test(start_paused = true)]
async fn evictions_of_a_lost_ensure_are_reported_once_each() {
    let ends = Ends::default();
    let sink = ends.clone();
    let limit = UserLimit::new(NonZeroU32::MIN, OnExceed::EndOldest);
    let world = World::with(|builder| builder.with_event_sink(sink).with_limit(limit));
    let first = world.sign_in("ann").await.session.id();
    world.clock.advance(Duration::from_millis(1));
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("create").at_call(1));
    let external = || ExternalSession::new("sid", user("ann")).unwrap();
    let client = RequestClient::default();
    let lost = world.manager.ensure(external(), &client).await;
    assert!(matches!(lost, Err(ValidateError::Unavailable(_))));
    assert!(world.manager.ensure(external(), &client).await.is_ok(), "it can be repeated");
    tokio::time::sleep(60 * SECOND).await;
    tokio::time::resume();
    assert_eq!(ends.of(&world).await, [(first, EndReason::LimitEvicted)]);
}

#[tokio::test(start_paused = true)]
async fn evictions_of_a_lost_sign_in_are_reported_once_each() {
    let ends = Ends::default();
    let sink = ends.clone();
    let limit = UserLimit::new(NonZeroU32::new(2).unwrap(), OnExceed::EndOldest);
    let world = World::with(|builder| builder.with_event_sink(sink).with_limit(limit));
    let first = world.sign_in("ann").await.session.id();
    world.clock.advance(Duration::from_millis(1));
    world.sign_in("ann").await;
    world.clock.advance(Duration::from_millis(1));
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("create").at_call(1));
    let new = NewSession::for_user(user("ann"));
    assert_eq!(kind(world.manager.create(new).await), ErrorKind::Timeout);
    tokio::time::sleep(60 * SECOND).await;
    tokio::time::resume();
    let reported = ends.of(&world).await;
    assert_eq!(reported.iter().filter(|(id, _)| *id == first).count(), 1, "{reported:?}");
    assert!(reported.contains(&(first, EndReason::LimitEvicted)));
    assert_eq!(reported.len(), 2, "the evicted one, and the one whose token was never handed out");
}

/// The store carries the sign-in out long after its caller got an error.
#[tokio::test(start_paused = true)]
async fn a_late_sign_in_leaves_no_session_and_no_gap_in_the_reports() {
    for late in [1, 5, 20] {
        let ends = Ends::default();
        let sink = ends.clone();
        let limit = UserLimit::new(NonZeroU32::MIN, OnExceed::EndOldest);
        let world = World::with(|builder| builder.with_event_sink(sink).with_limit(limit));
        let first = world.sign_in("ann").await.session.id();
        world.clock.advance(Duration::from_millis(1));
        world.faults.arm(Fault::late(late * SECOND, ErrorKind::Timeout).on("create").at_call(1));
        let new = NewSession::for_user(user("ann"));
        assert_eq!(kind(world.manager.create(new).await), ErrorKind::Timeout);
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(world.live().await, 0, "its token was never handed out: {late} s");
        tokio::time::resume();
        let reported = ends.of(&world).await;
        tokio::time::pause();
        assert_eq!(reported.len(), 2, "{late} s: {reported:?}");
        assert!(reported.contains(&(first, EndReason::LimitEvicted)));
    }
}

#[tokio::test(start_paused = true)]
async fn two_equal_ends_in_one_millisecond_are_reported_once_each() {
    let ends = Ends::default();
    let sink = ends.clone();
    let world = World::with(|builder| builder.with_event_sink(sink));
    for _ in 0..3 {
        world.sign_in("ann").await;
    }
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("end").at_call(1));
    let ann = user("ann");
    let all = || world.manager.revoke_all(&ann, &Actor::System);
    let (one, two) = tokio::join!(all(), all());
    assert!(one.is_err() != two.is_err());
    tokio::time::sleep(60 * SECOND).await;
    tokio::time::resume();
    assert_eq!(ends.of(&world).await.len(), 3);
}

/// Both calls repeat their end later, and each finds the same ended sessions.
#[tokio::test(start_paused = true)]
async fn two_equal_ends_whose_replies_are_lost_are_reported_once_each() {
    let ends = Ends::default();
    let sink = ends.clone();
    let world = World::with(|builder| builder.with_event_sink(sink));
    for _ in 0..3 {
        world.sign_in("ann").await;
    }
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("end"));
    let ann = user("ann");
    let all = || world.manager.revoke_all(&ann, &Actor::System);
    let (one, two) = tokio::join!(all(), all());
    assert!(one.is_err() && two.is_err());
    world.faults.disarm();
    tokio::time::sleep(60 * SECOND).await;
    tokio::time::resume();
    assert_eq!(ends.of(&world).await.len(), 3);
}

#[tokio::test]
async fn a_sweep_larger_than_the_queue_loses_no_event() {
    use session_core::{ExpiryPolicy, Lifetime};

    let ends = Ends::default();
    let sink = ends.clone();
    let expiry = ExpiryPolicy::default().with_standard(Lifetime::new(None, 10 * SECOND).unwrap());
    let world = World::with(|builder| builder.with_event_sink(sink).with_expiry(expiry).with_limit(None));
    for _ in 0..9_000 {
        world.manager.create(NewSession::anonymous()).await.unwrap();
    }
    world.pass(11);
    assert_eq!(world.manager.sweep().await.unwrap().ended, 9_000);
    assert_eq!(ends.of(&world).await.len(), 9_000);
}

#[tokio::test]
async fn a_user_ends_only_what_is_theirs_by_every_call() {
    let world = World::new();
    let device = DeviceId::mint(&SystemRandom).unwrap();
    let bob = world.manager.create(NewSession::for_user(user("bob")).with_device(device)).await.unwrap();
    let ann = world.sign_in("ann").await;
    let as_ann = Actor::User(user("ann"));
    let manager = &world.manager;
    assert_eq!(kind(manager.revoke_all(&user("bob"), &as_ann).await), ErrorKind::NotFound);
    assert_eq!(kind(manager.revoke_device(&user("bob"), device, &as_ann).await), ErrorKind::NotFound);
    let both = [ann.session.id(), bob.session.id()];
    assert_eq!(kind(manager.revoke_many(&both, &as_ann).await), ErrorKind::NotFound);
    assert_eq!(world.live().await, 2, "of several, none is ended then");
    assert_eq!(manager.revoke_many(&both, &Actor::Admin(user("root"))).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_session_that_is_not_live_ends_no_others() {
    let world = World::new();
    let (here, there) = (world.sign_in("ann").await, world.sign_in("ann").await);
    world.manager.logout(&here.session).await.unwrap();
    assert_eq!(kind(world.manager.revoke_others(&here.session).await), ErrorKind::Ended);
    assert!(world.validate(&there.token.expose()).await.is_ok());
}

#[tokio::test]
async fn a_device_and_several_sessions_are_ended_together() {
    let world = World::new();
    let device = DeviceId::mint(&SystemRandom).unwrap();
    for _ in 0..2 {
        world.manager.create(NewSession::for_user(user("ann")).with_device(device)).await.unwrap();
    }
    let other = world.sign_in("ann").await;
    let as_ann = Actor::User(user("ann"));
    assert_eq!(world.manager.revoke_device(&user("ann"), device, &as_ann).await.unwrap().len(), 2);
    assert_eq!(world.live().await, 1);
    let too_many = vec![other.session.id(); 501];
    assert_eq!(kind(world.manager.revoke_many(&too_many, &Actor::System).await), ErrorKind::Invalid);
}
