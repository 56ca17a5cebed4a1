use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::rules::{IpBinding, Outcome, RuleSet};
use session_core::{
    Actor, ClientInfo, DeviceId, EndReason, ErrorKind, Event, EventKind, EventSink, ExpiryPolicy, Lifetime,
    OnExceed, SystemRandom,
};
use session_manager::{NewSession, SessionManagerBuilder, UserLimit};

use crate::world::{World, user};

#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Event>>>);

impl EventSink for Recorder {
    fn emit(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Recorder {
    fn world(&self, configure: impl FnOnce(SessionManagerBuilder) -> SessionManagerBuilder) -> World {
        let sink = self.clone();
        World::with(|builder| configure(builder.with_event_sink(sink)))
    }

    /// The names of what happened, once everything is delivered.
    async fn names(&self, world: &World) -> Vec<String> {
        world.manager.shutdown().await;
        let events = self.0.lock().unwrap();
        events.iter().map(|event| name(&event.kind)).collect()
    }
}

fn name(kind: &EventKind) -> String {
    match kind {
        EventKind::Created => "created".to_owned(),
        EventKind::Denied { rule } => format!("denied {rule}"),
        EventKind::Ended(ended) => format!("ended {} {}", ended.reason, ended.by),
        EventKind::NewDevice => "new device".to_owned(),
        EventKind::Refreshed => "refreshed".to_owned(),
        EventKind::Reuse => "reuse".to_owned(),
        EventKind::Rotated => "rotated".to_owned(),
        EventKind::StoreError { operation, kind } => format!("store error {operation} {kind:?}"),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_life_is_reported_in_order() {
    let recorder = Recorder::default();
    let world = recorder.world(|builder| builder);
    let created = world.sign_in("ann").await;
    world.manager.rotate(&created.session).await.unwrap();
    world.manager.logout(&created.session).await.unwrap();
    world.manager.logout(&created.session).await.unwrap();
    assert_eq!(recorder.names(&world).await, ["created", "rotated", "ended logged_out user:ann"]);
    let events = recorder.0.lock().unwrap();
    assert!(
        events
            .iter()
            .all(|event| event.session == Some(created.session.id()) && event.user == Some(user("ann")))
    );
}

#[tokio::test]
async fn an_eviction_and_an_expiry_are_ends() {
    let recorder = Recorder::default();
    let minute = ExpiryPolicy::default().with_standard(Lifetime::new(None, Duration::from_secs(60)).unwrap());
    let limit = UserLimit::new(std::num::NonZeroU32::MIN, OnExceed::EndOldest);
    let world = recorder.world(|builder| builder.with_expiry(minute).with_limit(limit));
    world.sign_in("ann").await;
    world.sign_in("ann").await;
    world.pass(60);
    world.manager.sweep().await.unwrap();
    world.manager.sweep().await.unwrap();
    let expected = ["created", "created", "ended limit_evicted system", "ended absolute_timeout system"];
    assert_eq!(recorder.names(&world).await, expected);
}

#[tokio::test]
async fn a_denial_and_a_failure_are_reported() {
    let recorder = Recorder::default();
    let rules = RuleSet::default().with(IpBinding::exact(Outcome::Deny));
    let world = recorder.world(|builder| builder.with_rules(rules));
    let client = ClientInfo::new("192.0.2.1".parse().ok(), None);
    let created = world.manager.create(NewSession::for_user(user("ann")).with_client(client)).await.unwrap();
    world.validate(&created.token.expose()).await.unwrap_err();
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("load"));
    world.validate(&created.token.expose()).await.unwrap_err();
    world.faults.disarm();
    assert_eq!(
        recorder.names(&world).await,
        ["created", "denied ip_binding", "store error load Unavailable"]
    );
}

#[tokio::test]
async fn the_first_session_on_a_device_is_reported() {
    let recorder = Recorder::default();
    let world = recorder.world(|builder| builder);
    let device = DeviceId::mint(&SystemRandom).unwrap();
    for _ in 0..2 {
        world.clock.advance(Duration::from_millis(1));
        world.manager.create(NewSession::for_user(user("ann")).with_device(device)).await.unwrap();
        world.settle().await;
    }
    assert_eq!(recorder.names(&world).await, ["created", "new device", "created"]);
}

#[tokio::test]
async fn reuse_is_reported_before_the_end() {
    let recorder = Recorder::default();
    let world = recorder.world(|builder| builder.with_grace(Duration::ZERO));
    let created = world.manager.create(NewSession::for_user(user("ann")).with_refresh(true)).await.unwrap();
    let token = created.refresh.unwrap().expose();
    let client = session_core::rules::RequestClient::default();
    let refreshed = world.manager.refresh(&token, &client).await.unwrap();
    world.present(&refreshed.token.expose()).await;
    world.pass(1);
    world.manager.refresh(&token, &client).await.unwrap_err();
    assert_eq!(recorder.names(&world).await, ["created", "refreshed", "reuse", "ended refresh_reuse system"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_reply_was_lost_is_reported_once() {
    for lost in 1..=3 {
        let recorder = Recorder::default();
        let world = recorder.world(|builder| builder);
        for _ in 0..3 {
            world.sign_in("ann").await;
        }
        world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("end").at_call(lost));
        let result = world.manager.revoke_all(&user("ann"), &Actor::System).await;
        assert_eq!(result.is_err(), lost == 1, "the caller gets the true answer");
        tokio::time::sleep(Duration::from_secs(60)).await;
        // The sink's thread lives in real time.
        tokio::time::resume();
        let ends = recorder.names(&world).await.iter().filter(|name| name.starts_with("ended")).count();
        assert_eq!(ends, 3);
        assert_eq!(world.live().await, 0);
        tokio::time::pause();
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_during_an_outage_is_carried_through() {
    let recorder = Recorder::default();
    let world = recorder.world(|builder| builder);
    let created = world.sign_in("ann").await;
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("end"));
    world.manager.logout(&created.session).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.validate(&created.token.expose()).await.is_ok());
    world.faults.disarm();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let stored = world.stored(created.session.id()).await;
    assert_eq!(stored.ended().unwrap().reason, EndReason::LoggedOut);
}

#[tokio::test(start_paused = true)]
async fn at_most_a_thousand_ends_are_carried_through_at_once() {
    let world = World::with(|builder| builder.with_limit(None));
    let mut sessions = Vec::new();
    for _ in 0..1_010 {
        sessions.push(world.sign_in("ann").await.session);
    }
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("end"));
    for session in &sessions {
        world.manager.logout(session).await.unwrap_err();
    }
    world.faults.disarm();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.live().await, 10, "these have the answer that it was not confirmed");
    world.manager.logout(&sessions[1_009]).await.unwrap();
}

/// Blocks until it is released, and panics at every second event.
#[derive(Debug, Clone, Default)]
struct Hostile(Arc<(Mutex<bool>, Condvar, AtomicU64, AtomicBool)>);

impl EventSink for Hostile {
    fn emit(&self, _event: &Event) {
        let (released, changed, count, _) = &*self.0;
        let mut open = released.lock().unwrap();
        while !*open {
            open = changed.wait(open).unwrap();
        }
        drop(open);
        assert!(count.fetch_add(1, Ordering::SeqCst) % 2 == 0, "every second event panics");
    }
}

#[tokio::test]
async fn a_sink_that_blocks_and_panics_changes_nothing() {
    let hostile = Hostile::default();
    let sink = hostile.clone();
    let world = World::with(|builder| builder.with_event_sink(sink).with_limit(None));
    for _ in 0..5_000 {
        let created = world.sign_in("ann").await;
        world.validate(&created.token.expose()).await.unwrap();
    }
    assert_eq!(world.live().await, 5_000, "while the sink took nothing");
    *hostile.0.0.lock().unwrap() = true;
    hostile.0.1.notify_all();
    world.manager.shutdown().await;
    let taken = hostile.0.2.load(Ordering::SeqCst);
    assert!((4_000..=4_097).contains(&taken), "the queue is bounded, and goes on after panics: {taken}");
}
