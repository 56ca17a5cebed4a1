//! An operation that failed did not happen, whatever it had written.

use std::sync::Arc;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{AssuranceLevel, AuthMethod, ErrorKind, Lifetime, SessionRecord};
use session_manager::{
    ExternalSession, NewSession, RefreshPolicy, Rejection, Session, SessionManager, ValidateError,
};

use crate::world::{World, kind, rejection, user};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn lifetime(idle: u64, absolute: u64) -> Lifetime {
    Lifetime::new(Some(Duration::from_secs(idle)), Duration::from_secs(absolute)).unwrap()
}

/// What an operation may change besides the secrets.
fn facts(record: &SessionRecord) -> impl PartialEq + std::fmt::Debug + use<> {
    let refresh_until = record.refresh.as_ref().map(|refresh| refresh.expires_at);
    let access_until = record.secret.as_ref().and_then(|secret| secret.expires_at);
    let auth = (record.authenticated_at, record.auth.clone(), record.credential_version);
    (record.expires_at, record.idle_timeout, record.remembered, auth, refresh_until, access_until)
}

async fn change(manager: &SessionManager, session: &Session, how: usize) -> session_core::Result<()> {
    match how {
        0 => manager.set_lifetime(session, lifetime(2 * HOUR, 20 * DAY)).await,
        1 => manager.remember(session).await,
        2 => manager.keep_credentials(session, 7).await,
        _ => manager.record_authentication(session, AuthMethod::Totp).await,
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_change_of_a_session_is_taken_back_whole() {
    for (how, refresh) in [0, 1, 2, 3].into_iter().flat_map(|how| [(how, false), (how, true)]) {
        let world = World::new();
        let new = NewSession::for_user(user("ann")).with_auth(AuthMethod::Password).with_refresh(refresh);
        let mut created = world.manager.create(new).await.unwrap();
        let session = created.session;
        session.insert("cart", &["apple"]).unwrap();
        session.save().await.unwrap();
        let before = facts(&world.stored(session.id()).await.as_ref().clone());
        world.pass(5);
        world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
        assert_eq!(kind(change(&world.manager, &session, how).await), ErrorKind::Timeout);
        world.pass(60);
        let opened = world.validate(&created.token.expose()).await.expect("the old token counts");
        assert_eq!(facts(&opened.record()), before, "change {how}, refresh {refresh}");
        assert_eq!(facts(&world.stored(session.id()).await.as_ref().clone()), before, "and it is written");
        assert_eq!(world.data(session.id()).await, serde_json::json!({"cart": ["apple"]}));
        if let Some(refresh) = created.refresh.take() {
            world.manager.refresh(&refresh.expose(), &RequestClient::default()).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_change_is_taken_back_by_the_refresh_token_too() {
    let world = World::new();
    let new = NewSession::for_user(user("ann")).with_refresh(true);
    let mut created = world.manager.create(new).await.unwrap();
    let before = created.session.record();
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert!(world.manager.remember(&created.session).await.is_err());
    world.pass(60);
    let refresh = created.refresh.take().unwrap().expose();
    let session = world.manager.refresh(&refresh, &RequestClient::default()).await.unwrap().session;
    let after = world.stored(session.id()).await;
    assert_eq!((after.remembered, after.expires_at), (false, before.expires_at));
    assert_eq!(world.data(session.id()).await, serde_json::json!({}));
}

#[tokio::test]
async fn a_change_that_succeeds_leaves_nothing_behind() {
    for how in 0..4 {
        let world = World::new();
        let session = world.sign_in("ann").await.session;
        change(&world.manager, &session, how).await.unwrap();
        assert_eq!(world.data(session.id()).await, serde_json::json!({}), "change {how}");
        assert_eq!(world.stored(session.id()).await.data.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_up_does_not_make_a_transferred_session_fresh() {
    let world = World::new();
    let new = NewSession::for_user(user("ann")).with_auth(AuthMethod::Password);
    let desk = world.manager.create(new).await.unwrap().session;
    world.pass(2 * HOUR);
    let code = world.manager.begin_transfer(&desk, false).await.unwrap().expose().to_string();
    let phone = world.manager.redeem_transfer(&code, NewSession::anonymous()).await.unwrap();
    world.pass(5);
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert!(world.manager.record_authentication(&phone.session, AuthMethod::Totp).await.is_err());
    world.pass(60);
    let opened = world.validate(&phone.token.expose()).await.unwrap();
    assert_eq!(opened.record().authenticated_at, desk.record().authenticated_at);
    assert_eq!(opened.record().auth.len(), 1);
}

/// The step-up is earlier than the sign-in, by the clocks of their nodes.
#[tokio::test(start_paused = true)]
async fn a_failed_step_up_at_a_node_whose_clock_is_behind_counts_for_nothing() {
    let world = World::new();
    let behind = World::on(Arc::clone(&world.store), |builder| builder);
    world.pass(20);
    let new = NewSession::for_user(user("ann")).with_auth(AuthMethod::Password);
    let created = world.manager.create(new).await.unwrap();
    let token = created.token.expose();
    let session = behind.validate(&token).await.unwrap();
    behind.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert!(behind.manager.record_authentication(&session, AuthMethod::Totp).await.is_err());
    for node in [&world, &behind] {
        node.pass(120);
        let opened = node.validate(&token).await.unwrap();
        assert_eq!((opened.record().auth.len(), opened.assurance()), (1, AssuranceLevel::Aal1));
    }
}

#[tokio::test]
async fn a_user_who_asks_later_stays_signed_in_with_a_refresh_token() {
    let policy = RefreshPolicy::default().with_refresh(Duration::from_secs(10 * DAY));
    let world = World::with(|builder| builder.with_refresh(policy));
    let new = NewSession::for_user(user("ann")).with_lifetime(lifetime(DAY, 2 * DAY)).with_refresh(true);
    let created = world.manager.create(new).await.unwrap();
    world.pass(HOUR);
    world.manager.remember(&created.session).await.unwrap();
    let refresh = created.session.take_refresh_token().unwrap().expose();
    world.pass(10 * DAY - 1);
    let client = RequestClient::default();
    assert!(world.manager.refresh(&refresh, &client).await.is_ok(), "10 days from the moment they asked");
    let ends = world.stored(created.session.id()).await.refresh.as_ref().unwrap().expires_at;
    assert_eq!(ends, world.now().saturating_add(Duration::from_secs(1)), "refreshing prolongs nothing");
}

#[tokio::test]
async fn sessions_of_another_system_are_prolonged_and_kept_without_secrets() {
    let world = World::new();
    let external = ExternalSession::new("sid-1", user("ann")).unwrap();
    let client = RequestClient::default();
    let ensured = world.manager.ensure(external.clone(), &client).await.unwrap();
    let session = ensured.session();
    for how in 0..4 {
        change(&world.manager, session, how).await.unwrap_or_else(|error| panic!("change {how}: {error}"));
    }
    let stored = world.stored(session.id()).await;
    assert_eq!((stored.remembered, stored.credential_version, stored.auth.len()), (true, Some(7), 1));
    assert_eq!(session.record().revision, stored.revision, "the handle knows");
    assert_eq!(stored.data.len(), 0);
    assert!(session.take_token().is_none());
    assert_eq!(kind(world.manager.rotate(session).await), ErrorKind::Invalid, "the library issued no secret");
    assert!(world.manager.validate_external(&external, &client).await.is_ok());
}

#[tokio::test]
async fn a_transfer_does_not_prolong_the_idle_timeout() {
    let world = World::new();
    let new = NewSession::for_user(user("ann")).with_lifetime(lifetime(HOUR, 2 * DAY));
    let desk = world.manager.create(new).await.unwrap().session;
    let code = world.manager.begin_transfer(&desk, false).await.unwrap().expose().to_string();
    let phone = world.manager.redeem_transfer(&code, NewSession::anonymous()).await.unwrap();
    assert_eq!(phone.session.record().idle_timeout, Some(Duration::from_secs(HOUR)));
    world.pass(HOUR);
    let late = world.validate(&phone.token.expose()).await;
    assert!(matches!(rejection(late), Rejection::Expired(_)));
}

#[tokio::test]
async fn an_invalid_redemption_does_not_use_up_the_code() {
    let world = World::new();
    let desk = world.sign_in("ann").await.session;
    let code = world.manager.begin_transfer(&desk, false).await.unwrap().expose().to_string();
    let long = NewSession::anonymous().with_label("x".repeat(101));
    assert_eq!(kind(world.manager.redeem_transfer(&code, long).await), ErrorKind::Invalid);
    let new = NewSession::anonymous().with_label("phone");
    assert!(world.manager.redeem_transfer(&code, new).await.is_ok());
    let again = world.manager.redeem_transfer(&code, NewSession::anonymous()).await;
    assert_eq!(kind(again), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_beside_a_redemption_moves_nothing() {
    let world = World::new();
    let desk = world.sign_in("ann").await.session;
    let code = world.manager.begin_transfer(&desk, false).await.unwrap().expose().to_string();
    world.faults.reset_calls();
    world.faults.arm(Fault::delay(Duration::from_millis(10)).on("end").at_call(1));
    let ended = async {
        world.faults.called("end", 1).await;
        world.manager.revoke_all(&user("ann"), &session_core::Actor::System).await.unwrap();
    };
    let (moved, ()) = tokio::join!(world.manager.redeem_transfer(&code, NewSession::anonymous()), ended);
    assert_eq!(kind(moved), ErrorKind::NotFound);
    assert_eq!(world.live().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_change_left_does_not_go_on_in_another_session() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert!(world.manager.remember(&created.session).await.is_err());
    world.faults.disarm();
    let new = NewSession::for_user(user("ann")).replacing(&created.session);
    let next = world.manager.create(new).await.unwrap();
    assert_eq!(world.data(next.session.id()).await, serde_json::json!({}));
    let refused = world.validate(&created.token.expose()).await;
    assert!(matches!(refused, Err(ValidateError::Rejected(Rejection::Ended(_)))));
}
