//! What users look for on the first day.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::rules::{Outcome, RequestClient, RequiredAssurance, RuleSet};
use session_core::{
    Actor, AssuranceLevel, AuthMethod, ClientInfo, DeviceKind, EndReason, ErrorKind, Lifetime, OnExceed,
    SessionId, SystemRandom,
};
use session_manager::{
    ExternalSession, NewSession, Paging, RecordIp, RecordUserAgent, Recording, Rejection, UserLimit,
    ValidateError,
};

use crate::world::{World, kind, user};

const HOUR: u64 = 3_600;

#[tokio::test]
async fn one_session_is_found_by_its_id() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let id = created.session.id();
    assert_eq!(world.manager.by_id(id).await.unwrap().unwrap().username.as_deref(), Some("ann"));
    world.manager.logout(&created.session).await.unwrap();
    let ended = world.manager.by_id(id).await.unwrap().unwrap().ended.unwrap();
    assert_eq!(ended.reason, EndReason::LoggedOut);
    let unknown = SessionId::mint(world.now(), None, &SystemRandom).unwrap();
    assert!(world.manager.by_id(unknown).await.unwrap().is_none());
}

#[tokio::test]
async fn a_session_is_edited_by_its_id() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let id = created.session.id();
    let root = Actor::Admin(user("root"));
    let edited = world.manager.edit(id, &root, |session| {
        session.set_username(Some("Ann B."));
        let visits = session.get::<u32>("visits")?.unwrap_or_default();
        session.insert("visits", &(visits + 1))
    });
    assert_eq!(edited.await.unwrap().username.as_deref(), Some("Ann B."));
    assert_eq!(world.data(id).await, serde_json::json!({"visits": 1}));
    created.session.insert("theme", "dark").unwrap();
    created.session.save().await.expect("an older handle merges");
    assert_eq!(world.data(id).await, serde_json::json!({"visits": 1, "theme": "dark"}));
    let as_bob = Actor::User(user("bob"));
    assert_eq!(kind(world.manager.edit(id, &as_bob, |_| Ok(())).await), ErrorKind::NotFound);
    let reserved =
        world.manager.edit(id, &Actor::System, |session| session.insert("session-kit.pending", &1));
    assert_eq!(kind(reserved.await), ErrorKind::Invalid);
    let nothing = world.stored(id).await.revision;
    world.manager.edit(id, &Actor::System, |_| Ok(())).await.unwrap();
    assert_eq!(world.stored(id).await.revision, nothing, "no change is no write");
    world.manager.logout(&created.session).await.unwrap();
    assert_eq!(kind(world.manager.edit(id, &Actor::System, |_| Ok(())).await), ErrorKind::Ended);
}

#[tokio::test]
async fn a_user_who_asks_later_stays_signed_in() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.pass(HOUR);
    world.manager.remember(&created.session).await.unwrap();
    let token = created.session.take_token().unwrap().expose();
    let record = world.stored(created.session.id()).await;
    assert_eq!((record.remembered, record.idle_timeout), (true, None));
    assert_eq!(record.expires_at, world.now().saturating_add(Duration::from_secs(30 * 24 * HOUR)));
    world.pass(10 * 24 * HOUR);
    assert!(world.validate(&token).await.is_ok());
}

#[tokio::test]
async fn a_lifetime_is_shortened_and_extended_within_its_bound() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let minute = Lifetime::new(None, Duration::from_secs(60)).unwrap();
    world.manager.set_lifetime(&created.session, minute).await.unwrap();
    let longest = Lifetime::new(None, Duration::from_secs(400 * 24 * HOUR)).unwrap();
    world.pass(59);
    world.manager.set_lifetime(&created.session, longest).await.unwrap();
    let record = world.stored(created.session.id()).await;
    assert_eq!(record.expires_at, record.created_at.saturating_add(longest.absolute()), "400 days in all");
    world.manager.set_lifetime(&created.session, minute).await.unwrap();
    world.pass(60);
    let late = world.manager.set_lifetime(&created.session, longest).await;
    assert_eq!(kind(late), ErrorKind::NotFound, "an expired session stays expired");
}

#[tokio::test]
async fn a_limit_may_depend_on_the_session() {
    let world = World::with(|builder| {
        builder.with_limit_by(|record| {
            let max = if record.username.as_deref() == Some("pro") { 3 } else { 1 };
            Some(UserLimit::new(NonZeroU32::new(max)?, OnExceed::EndOldest))
        })
    });
    for _ in 0..5 {
        for name in ["pro", "free"] {
            world.clock.advance(Duration::from_millis(1));
            world.sign_in(name).await;
        }
    }
    let count = async |name| world.manager.list(&user(name), Paging::default()).await.unwrap().sessions.len();
    assert_eq!((count("pro").await, count("free").await), (3, 1));
}

#[tokio::test]
async fn a_limit_holds_per_user_and_per_kind_of_device() {
    let limit = UserLimit::new(NonZeroU32::new(3).unwrap(), OnExceed::EndOldest)
        .with_max_per_device_kind(NonZeroU32::MIN);
    let world = World::with(|builder| builder.with_limit(limit));
    for kind in
        [DeviceKind::Mobile, DeviceKind::Mobile, DeviceKind::Desktop, DeviceKind::Tv, DeviceKind::Tablet]
    {
        world.clock.advance(Duration::from_millis(1));
        let mut client = ClientInfo::default();
        client.device.kind = Some(kind);
        world.manager.create(NewSession::for_user(user("ann")).with_client(client)).await.unwrap();
    }
    let page = world.manager.list(&user("ann"), Paging::default()).await.unwrap();
    let kinds: Vec<_> = page.sessions.iter().map(|info| info.client.device_kind.unwrap()).collect();
    assert_eq!(kinds, [DeviceKind::Tablet, DeviceKind::Tv, DeviceKind::Desktop]);
}

#[tokio::test]
async fn attempts_at_the_second_step_are_bounded_however_many_at_once() {
    let world = World::new();
    let begun =
        world.manager.begin_sign_in(NewSession::for_user(user("ann")).with_auth(AuthMethod::Password));
    let pending = begun.await.unwrap();
    let token = pending.token.expose();
    let mut handles = Vec::new();
    for _ in 0..500 {
        handles.push(world.validate(&token).await.unwrap());
    }
    let outcomes = join_all(handles.iter().map(|handle| world.manager.count_attempt(handle))).await;
    let mut left: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2, 3, 4]);
    world.settle().await;
    let ended = world.stored(pending.session.id()).await;
    assert_eq!(ended.ended().unwrap().reason, EndReason::PolicyDenied);
    let done = world.manager.complete_sign_in(&pending.session, NewSession::for_user(user("ann"))).await;
    assert!(done.is_err() || done.unwrap().session.user_id() == Some(user("ann")));
    let other = world.sign_in("bob").await.session;
    assert_eq!(kind(world.manager.count_attempt(&other).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn attempts_that_are_left_complete_the_sign_in() {
    let world = World::new();
    let begun =
        world.manager.begin_sign_in(NewSession::for_user(user("ann")).with_auth(AuthMethod::Password));
    let pending = begun.await.unwrap().session;
    for left in [4, 3] {
        assert_eq!(world.manager.count_attempt(&pending).await.unwrap(), left);
    }
    let new = NewSession::for_user(user("ann")).with_auth(AuthMethod::Totp);
    let session = world.manager.complete_sign_in(&pending, new).await.unwrap().session;
    assert_eq!(session.assurance(), AssuranceLevel::Aal2);
    assert_eq!(world.data(session.id()).await, serde_json::json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_long_connection_learns_that_its_session_ended() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let session = created.session;
    session.still_live().await.unwrap();
    let watching = tokio::spawn({
        let session = session.clone();
        async move { session.ended().await }
    });
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!watching.is_finished());
    assert_eq!(world.faults.calls("touch"), 0, "watching is no use");
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("load"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!watching.is_finished(), "an outage is not an end");
    world.faults.disarm();
    world.manager.revoke(session.id(), &Actor::System).await.unwrap();
    assert!(matches!(watching.await.unwrap(), Rejection::Ended(_)));
    assert!(matches!(session.still_live().await, Err(ValidateError::Rejected(Rejection::Ended(_)))));
}

#[tokio::test(start_paused = true)]
async fn less_is_kept_of_clients_if_asked_for() {
    let recording = Recording::new(RecordIp::Network, RecordUserAgent::Nothing);
    let world = World::with(|builder| builder.with_recording(recording));
    let client = ClientInfo::new("192.0.2.77".parse().ok(), Some("Mozilla/5.0"));
    let created = world.manager.create(NewSession::for_user(user("ann")).with_client(client)).await.unwrap();
    world.pass(60);
    let away = RequestClient::new("198.51.100.9".parse().ok(), Some("Mozilla/5.0"));
    world.manager.validate(&created.token.expose(), &away).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stored = world.stored(created.session.id()).await;
    assert_eq!((stored.client.ip, &stored.client.user_agent), ("192.0.2.0".parse().ok(), &None));
    assert_eq!(stored.last_client.ip, "198.51.100.0".parse().ok());
}

#[tokio::test]
async fn ensure_has_a_lifetime_counts_as_use_and_reads_the_store_once() {
    let world = World::new();
    let day = Lifetime::new(Some(Duration::from_secs(HOUR)), Duration::from_secs(24 * HOUR)).unwrap();
    let external = || ExternalSession::new("sid-1", user("ann")).unwrap().with_lifetime(day);
    let client = RequestClient::default();
    let id = world.manager.ensure(external(), &client).await.unwrap().session().id();
    assert_eq!(world.faults.calls("load"), 1);
    assert_eq!(world.stored(id).await.idle_timeout, day.idle());
    world.faults.reset_calls();
    world.pass(1_800);
    world.manager.ensure(external(), &client).await.unwrap();
    assert_eq!((world.faults.calls("load"), world.faults.calls("create")), (1, 0));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(world.stored(id).await.last_seen_at, world.now());
}

#[tokio::test]
async fn assurance_is_judged_in_one_place() {
    let rules = RuleSet::none().with(RequiredAssurance::new(AssuranceLevel::Aal2, Outcome::Challenge));
    let world =
        World::with(|builder| builder.with_rules(rules).with_step_up_lifetime(Duration::from_secs(60)));
    let new = NewSession::for_user(user("ann")).with_auth(AuthMethod::Password).with_auth(AuthMethod::Totp);
    let token = world.manager.create(new).await.unwrap().token.expose();
    let judged = async || {
        let session = world.validate(&token).await.unwrap();
        (session.assurance(), session.info().assurance, session.challenge().is_none())
    };
    assert_eq!(judged().await, (AssuranceLevel::Aal2, AssuranceLevel::Aal2, true));
    world.pass(60);
    assert_eq!(judged().await, (AssuranceLevel::Aal1, AssuranceLevel::Aal1, false));
}

#[tokio::test]
async fn a_transfer_prolongs_nothing() {
    let world = World::new();
    let desk = world.sign_in("ann").await.session;
    world.pass(20 * HOUR);
    let code = world.manager.begin_transfer(&desk, false).await.unwrap().expose().to_string();
    let phone = world.manager.redeem_transfer(&code, NewSession::anonymous()).await.unwrap().session.record();
    assert_eq!(phone.expires_at, desk.record().expires_at);
    assert_eq!(phone.authenticated_at, desk.record().authenticated_at);
}

#[tokio::test]
async fn an_export_is_read_in_pages() {
    let world = World::with(|builder| builder.with_limit(None));
    for _ in 0..7 {
        world.clock.advance(Duration::from_millis(1));
        world.sign_in("ann").await;
    }
    let (mut paging, mut seen) = (Paging::default().with_limit(3), Vec::new());
    loop {
        let page = world.manager.export_user(&user("ann"), paging).await.unwrap();
        assert!(page.sessions.len() <= 3);
        seen.extend(page.sessions.iter().map(|session| session.info.id));
        if page.next.is_none() {
            break;
        }
        paging = paging.with_after(page.next);
    }
    seen.dedup();
    assert_eq!(seen.len(), 7);
}

#[tokio::test]
async fn a_damaged_session_does_not_cost_the_others_their_export() {
    let world = World::new();
    let (good, bad) = (world.sign_in("ann").await.session, world.sign_in("ann").await.session);
    good.insert("cart", &["apple"]).unwrap();
    good.save().await.unwrap();
    // The page together, then the sessions one by one, in the order of their ids.
    let second = if good.id() < bad.id() { 3 } else { 2 };
    world.faults.arm(Fault::error(ErrorKind::Corrupt).on("load").at_call(1));
    world.faults.arm(Fault::error(ErrorKind::Corrupt).on("load").at_call(second));
    let export = world.manager.export_user(&user("ann"), Paging::default()).await.unwrap();
    let data = |id| export.sessions.iter().find(|session| session.info.id == id).unwrap().data.clone();
    assert_eq!(data(good.id()).unwrap().len(), 1);
    assert_eq!(data(bad.id()), None, "what cannot be read is null");
}

#[test]
fn debug_shows_no_data_and_no_external_name() {
    use session_core::SessionData;

    let mut data = SessionData::default();
    data.insert("card", "4111").unwrap();
    let new = NewSession::for_user(user("ann")).with_username("Ann Smith").with_data(data);
    let external = ExternalSession::new("issuer/secret-sid", user("ann")).unwrap();
    for shown in [format!("{new:?}"), format!("{external:?}")] {
        for hidden in ["4111", "card", "Ann Smith", "secret-sid"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}

#[tokio::test]
async fn debug_of_an_export_shows_nothing_of_the_sessions() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    session.insert("card", "4111").unwrap();
    session.save().await.unwrap();
    let export = world.manager.export_user(&user("ann"), Paging::default()).await.unwrap();
    let shown = format!("{export:?} {:?}", export.sessions[0]);
    assert!(!shown.contains("4111") && !shown.contains("card"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_long_connection_can_keep_its_session_alive() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    let idle = session.record().idle_timeout.unwrap();
    for _ in 0..3 {
        world.pass(idle.as_secs() - 1);
        session.refresh_activity().await.unwrap();
        assert_eq!(world.stored(session.id()).await.last_seen_at, world.manager.now());
    }
    // Twice in one millisecond is one use.
    session.refresh_activity().await.unwrap();

    // What the store cannot take now is written later.
    world.pass(60);
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("touch"));
    assert!(matches!(session.refresh_activity().await, Err(ValidateError::Unavailable(_))));
    world.faults.disarm();
    let used = world.manager.now();
    tokio::time::sleep(Duration::from_secs(40)).await;
    world.settle().await;
    assert_eq!(world.stored(session.id()).await.last_seen_at, used);

    // It revives neither an expired session nor an ended one.
    world.pass(idle.as_secs() + 60);
    assert!(matches!(
        session.refresh_activity().await,
        Err(ValidateError::Rejected(Rejection::Expired(_) | Rejection::Ended(_)))
    ));
    let other = world.sign_in("ann").await.session;
    world.manager.revoke(other.id(), &Actor::System).await.unwrap();
    assert!(matches!(other.refresh_activity().await, Err(ValidateError::Rejected(Rejection::Ended(_)))));
}

#[tokio::test]
async fn errors_show_no_data_of_a_session() {
    let world = World::new();
    let handle = world.sign_in("ann").await.session;
    handle.insert("card", "4111-1111").unwrap();
    let error = handle.get::<u32>("card").unwrap_err();
    let mut shown = format!("{error:?} {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        shown += &format!(" {inner:?} {inner}");
        source = inner.source();
    }
    assert!(!shown.contains("4111"), "{shown}");
}

#[tokio::test]
async fn ending_no_sessions_asks_the_store_nothing() {
    let world = World::new();
    world.faults.reset_calls();
    assert!(world.manager.revoke_many(&[], &Actor::User(user("ann"))).await.unwrap().is_empty());
    assert_eq!(world.faults.all_calls(), 0, "an empty batch does nothing");
}
