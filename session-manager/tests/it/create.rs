use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::{
    AuthMethod, ClientInfo, DeviceKind, EndReason, Error, ErrorKind, LimitScope, OnExceed, SecretFormat,
    SecureRandom, SessionData, SessionStore,
};
use session_manager::{NewSession, SessionManager, UserLimit};
use session_memory::MemoryStore;

use crate::world::{World, abandon, kind, user};

fn at_most(max: u32, on_exceed: OnExceed) -> UserLimit {
    UserLimit::new(NonZeroU32::new(max).unwrap(), on_exceed)
}

#[tokio::test]
async fn a_created_session_is_stored_before_its_token_is_known() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    assert_eq!(world.stored(created.session.id()).await, created.session.record());
    assert_eq!(world.validate(&created.token.expose()).await.unwrap().user_id(), Some(user("ann")));
}

#[tokio::test]
async fn every_secret_format_signs_in() {
    for format in [SecretFormat::Urlsafe256, SecretFormat::Hex160, SecretFormat::Uuid] {
        let world = World::with(|builder| builder.with_secret_format(format));
        let created = world.sign_in("ann").await;
        assert_eq!(created.token.expose().len(), 23 + format.text_len());
        assert!(world.validate(&created.token.expose()).await.is_ok());
    }
}

#[tokio::test]
async fn the_new_session_has_the_lifetime_that_was_asked_for() {
    let world = World::new();
    let plain = world.sign_in("ann").await.session.record();
    let remembered = NewSession::for_user(user("ann")).with_remember(true).with_auth(AuthMethod::Password);
    let remembered = world.manager.create(remembered).await.unwrap().session.record();
    assert_eq!(plain.idle_timeout, Some(Duration::from_secs(86_400)));
    assert_eq!((remembered.idle_timeout, remembered.remembered), (None, true));
    assert_eq!(remembered.expires_at.since(world.now()), Duration::from_secs(30 * 86_400));
}

#[tokio::test]
async fn the_least_recently_seen_session_makes_room() {
    let world = World::with(|builder| builder.with_limit(at_most(2, OnExceed::EndLeastRecentlySeen)));
    let first = world.sign_in("ann").await;
    world.pass(1);
    world.sign_in("ann").await;
    world.sign_in("bob").await;
    let third = world.sign_in("ann").await;
    let ended: Vec<_> = third.ended.iter().map(|info| info.id).collect();
    assert_eq!(ended, [first.session.id()]);
    assert_eq!(third.ended[0].ended.as_ref().unwrap().reason, EndReason::LimitEvicted);
    assert_eq!(world.live().await, 3);
}

#[tokio::test]
async fn a_refusing_limit_names_the_devices_that_fill_it() {
    let world = World::with(|builder| builder.with_limit(at_most(1, OnExceed::Refuse)));
    let first = world.sign_in("ann").await;
    let error = world.manager.create(NewSession::for_user(user("ann"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert_eq!(error.live_sessions()[0].id, first.session.id());
    assert!(error.live_sessions()[0].secret.is_none());
}

#[tokio::test]
async fn a_limit_can_count_per_kind_of_device() {
    let limit = at_most(1, OnExceed::Refuse).with_scope(LimitScope::UserAndDeviceKind);
    let world = World::with(|builder| builder.with_limit(limit));
    let on = |kind| {
        let mut client = ClientInfo::default();
        client.device.kind = Some(kind);
        world.manager.create(NewSession::for_user(user("ann")).with_client(client))
    };
    assert!(on(DeviceKind::Mobile).await.is_ok());
    assert!(on(DeviceKind::Desktop).await.is_ok());
    assert_eq!(kind(on(DeviceKind::Mobile).await), ErrorKind::LimitExceeded);
}

#[tokio::test]
async fn anonymous_sessions_count_for_no_limit() {
    let world = World::with(|builder| builder.with_limit(at_most(1, OnExceed::Refuse)));
    for _ in 0..3 {
        world.manager.create(NewSession::anonymous()).await.unwrap();
    }
    assert_eq!(world.live().await, 3);
}

#[tokio::test]
async fn signing_in_carries_the_data_over_and_ends_the_anonymous_session() {
    let world = World::new();
    let before = world.manager.create(NewSession::anonymous()).await.unwrap();
    before.session.insert("cart", &["apple"]).unwrap();
    before.session.insert("theme", "dark").unwrap();
    let data: SessionData = [("theme".to_owned(), "light".into())].into_iter().collect();
    let new = NewSession::for_user(user("ann")).with_data(data).replacing(&before.session);
    let after = world.manager.create(new).await.unwrap();

    assert_ne!(after.session.id(), before.session.id());
    assert_eq!(
        after.session.get::<Vec<String>>("cart").unwrap().unwrap(),
        ["apple"],
        "unsaved changes count"
    );
    assert_eq!(after.session.get::<String>("theme").unwrap().unwrap(), "light");
    let old = world.stored(before.session.id()).await;
    assert_eq!(old.ended().unwrap().reason, EndReason::Superseded);
    assert!(world.validate(&before.token.expose()).await.is_err(), "the planted cookie opens nothing");
}

#[tokio::test]
async fn bad_input_is_refused_before_the_store_is_asked() {
    let world = World::new();
    let big: SessionData = [("key".to_owned(), "x".repeat(70_000).into())].into_iter().collect();
    let ann = || NewSession::for_user(user("ann"));
    for new in [
        ann().with_username("x".repeat(256)),
        ann().with_username(""),
        ann().with_username("a\0b"),
        ann().with_label("x".repeat(101)),
        ann().with_data(big),
    ] {
        assert_eq!(kind(world.manager.create(new).await), ErrorKind::Invalid);
    }
    assert_eq!(world.faults.all_calls(), 0);
}

#[derive(Debug)]
struct Stuck;

impl SecureRandom for Stuck {
    fn fill(&self, buffer: &mut [u8]) -> session_core::Result<()> {
        buffer.fill(7);
        Ok(())
    }
}

#[tokio::test]
async fn a_generator_that_repeats_itself_takes_over_nobodys_session() {
    let world = World::with(|builder| builder.with_random(Stuck));
    let first = world.sign_in("ann").await;
    let error = world.manager.create(NewSession::for_user(user("ann"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(world.faults.calls("create"), 4, "one, and three attempts");
    assert_eq!(world.stored(first.session.id()).await, first.session.record());
}

#[derive(Debug, Default)]
struct FailsAfter(AtomicU8);

impl SecureRandom for FailsAfter {
    fn fill(&self, buffer: &mut [u8]) -> session_core::Result<()> {
        buffer.fill(9);
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(Error::unavailable("random", "fill")),
        }
    }
}

#[tokio::test]
async fn a_failing_generator_signs_no_user_in() {
    let world = World::with(|builder| builder.with_random(FailsAfter::default()));
    assert_eq!(kind(world.manager.create(NewSession::anonymous()).await), ErrorKind::Unavailable);
    assert_eq!(world.faults.all_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_whose_reply_was_lost_leaves_no_live_session() {
    let world = World::new();
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("create"));
    assert_eq!(kind(world.manager.create(NewSession::for_user(user("ann"))).await), ErrorKind::Timeout);
    world.settle().await;
    assert_eq!(world.live().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_left_at_the_deadline() {
    let world = World::new();
    world.faults.arm(Fault::hang());
    let started = tokio::time::Instant::now();
    assert_eq!(kind(world.manager.create(NewSession::anonymous()).await), ErrorKind::Timeout);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(2) && waited <= Duration::from_millis(2_100), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_completes_although_its_caller_left() {
    let world = World::new();
    world.faults.arm(Fault::delay(Duration::from_millis(500)));
    abandon(world.manager.create(NewSession::for_user(user("ann")))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.live().await, 1);
}

#[tokio::test]
async fn a_failing_supersede_does_not_fail_the_sign_in() {
    let world = World::new();
    let before = world.manager.create(NewSession::anonymous()).await.unwrap();
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("end"));
    let new = NewSession::for_user(user("ann")).replacing(&before.session);
    assert!(world.manager.create(new).await.is_ok());
}

#[tokio::test]
async fn settings_out_of_bounds_are_refused() {
    let build =
        |configure: fn(session_manager::SessionManagerBuilder) -> session_manager::SessionManagerBuilder| {
            configure(SessionManager::builder(MemoryStore::default())).build().map(drop)
        };
    assert!(build(|builder| builder.with_store_deadline(Duration::ZERO)).is_err());
    assert!(build(|builder| builder.with_store_deadline(Duration::from_secs(61))).is_err());
    assert!(build(|builder| builder.with_touch_flush(Duration::ZERO)).is_err());
    assert!(build(|builder| builder.with_touch_capacity(0)).is_err());
    assert!(build(|builder| builder.with_sweep_interval(Duration::from_millis(1))).is_err());
    assert!(build(|builder| builder.with_retention(Duration::MAX)).is_err());
    let above_the_store = MemoryStore::default().capabilities().max_payload + 1;
    let limits = session_core::DataLimits::default().with_max_bytes(above_the_store);
    let error = SessionManager::builder(MemoryStore::default()).with_data_limits(limits).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_manager_outside_of_a_runtime_is_refused() {
    let error = SessionManager::builder(MemoryStore::default()).build().unwrap_err();
    assert!(error.to_string().contains("tokio runtime"));
}
