//! Rotation, refresh tokens and rules beside lost replies, bearers and second nodes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::rules::{IpBinding, Outcome, RequestClient, RuleSet};
use session_core::{AuthMethod, ClientInfo, ErrorKind};
use session_manager::{Created, NewSession, Rejection, Session, ValidateError};

use crate::world::{World, kind, rejection, unavailable, user};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn hourly() -> World {
    World::with(|builder| builder.with_rotation(Duration::from_secs(HOUR)))
}

async fn pair(world: &World) -> (Created, String, String) {
    let mut created =
        world.manager.create(NewSession::for_user(user("ann")).with_refresh(true)).await.unwrap();
    let refresh = created.refresh.take().unwrap().expose().to_string();
    let token = created.token.expose().to_string();
    (created, token, refresh)
}

#[tokio::test]
async fn a_client_that_lost_a_response_is_not_signed_out_however_long_it_sleeps() {
    let world = World::with(|builder| {
        let remembered = session_core::Lifetime::new(None, Duration::from_secs(30 * DAY)).unwrap();
        let expiry = session_core::ExpiryPolicy::default().with_standard(remembered);
        builder.with_rotation(Duration::from_secs(HOUR)).with_expiry(expiry)
    });
    let old = world.sign_in("ann").await.token.expose();
    world.pass(HOUR);
    let lost = world.validate(&old).await.unwrap().take_token().unwrap();
    world.pass(20 * DAY);
    let session = world.validate(&old).await.expect("the successor was never presented");
    assert_eq!(session.take_token().unwrap().expose(), lost.expose(), "and there is one successor at a time");
    assert_eq!(world.stored(session.id()).await.revision.get(), 2, "no further rotation meanwhile");
}

#[tokio::test]
async fn a_bearer_that_drops_the_successor_goes_on_with_its_token() {
    let world = hourly();
    let token = world.sign_in("ann").await.token.expose();
    for _ in 0..20 {
        world.pass(HOUR);
        world.validate(&token).await.expect("as before the rotation");
        world.settle().await;
    }
    assert_eq!(world.live().await, 1);
}

#[tokio::test]
async fn the_old_secret_is_worth_nothing_after_the_grace_of_its_successor() {
    let world = hourly();
    let old = world.sign_in("ann").await.token.expose();
    world.pass(HOUR);
    let new = world.validate(&old).await.unwrap().take_token().unwrap().expose();
    let other = World::on(Arc::clone(&world.store), |builder| builder);
    other.clock.set(world.now());
    other.present(&new).await;
    world.pass(30);
    assert!(world.validate(&old).await.is_ok(), "within the grace");
    world.pass(1);
    assert_eq!(rejection(world.validate(&old).await), Rejection::WrongSecret);
    assert!(world.validate(&new).await.is_ok());
}

/// What replaces a secret at once.
async fn replace(world: &World, session: &Session, how: usize) -> session_core::Result<()> {
    match how {
        0 => world.manager.rotate(session).await,
        1 => world.manager.record_authentication(session, AuthMethod::Totp).await,
        2 => world.manager.revoke_others(session).await.map(drop),
        _ => world.manager.remember(session).await,
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_of_a_replacement_signs_no_user_out() {
    for how in 0..4 {
        let world = World::new();
        let created = world.sign_in("ann").await;
        let token = created.token.expose();
        world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
        world.pass(5);
        assert_eq!(kind(replace(&world, &created.session, how).await), ErrorKind::Timeout);
        assert!(created.session.take_token().is_none(), "nothing is handed out");
        assert_eq!(unavailable(world.validate(&token).await), ErrorKind::Unavailable, "not a logout: {how}");
        world.pass(10 * HOUR);
        let session = world.validate(&token).await.expect("an operation that failed did not happen");
        assert_eq!(session.record().auth.len(), 0, "nor what it recorded: {how}");
        assert!(world.validate(&token).await.is_ok());
        replace(&world, &session, how).await.expect("it can be repeated");
        let new = session.take_token().unwrap().expose();
        assert!(world.validate(&token).await.is_err() && world.validate(&new).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_confirmation_of_a_replacement_leaves_the_new_secret() {
    for fault in [Fault::lost_reply(ErrorKind::Timeout), Fault::error(ErrorKind::Unavailable)] {
        let world = World::new();
        let created = world.sign_in("ann").await;
        let old = created.token.expose();
        world.faults.arm(fault.on("update").at_call(2));
        world.manager.rotate(&created.session).await.expect("the new secret counts");
        let new = created.session.take_token().unwrap().expose();
        world.present(&new).await;
        assert_eq!(rejection(world.validate(&old).await), Rejection::WrongSecret);
        assert!(world.validate(&new).await.is_ok());
    }
}

#[tokio::test]
async fn both_tokens_of_a_pair_are_replaced_at_once() {
    let world = World::new();
    let (created, token, refresh) = pair(&world).await;
    world.manager.revoke_others(&created.session).await.unwrap();
    let new = created.session.take_token().unwrap().expose();
    let new_refresh = created.session.take_refresh_token().unwrap().expose();
    assert!(world.validate(&token).await.is_err());
    assert!(world.validate(&new).await.is_ok());
    let client = RequestClient::default();
    let refreshed = world.manager.refresh(&new_refresh, &client).await.unwrap();
    assert!(world.validate(&refreshed.token.expose()).await.is_ok());
    let reused = world.manager.refresh(&refresh, &client).await;
    assert!(
        matches!(reused, Err(ValidateError::Rejected(Rejection::Ended(_)))),
        "a copy of the old one is noticed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_of_a_replacement_leaves_the_refresh_token() {
    let world = World::new();
    let (created, _, refresh) = pair(&world).await;
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert!(world.manager.rotate(&created.session).await.is_err());
    let client = RequestClient::default();
    let early = world.manager.refresh(&refresh, &client).await;
    assert!(matches!(early, Err(ValidateError::Unavailable(_))));
    world.pass(HOUR);
    let refreshed = world.manager.refresh(&refresh, &client).await.expect("no theft");
    assert!(world.validate(&refreshed.token.expose()).await.is_ok());
}

#[tokio::test]
async fn a_lost_reply_of_a_refresh_is_no_theft_however_long_the_outage_lasts() {
    let world = World::new();
    let (_, _, refresh) = pair(&world).await;
    let client = RequestClient::default();
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    let lost = world.manager.refresh(&refresh, &client).await;
    assert!(matches!(lost, Err(ValidateError::Unavailable(_))));
    world.pass(20 * HOUR);
    let refreshed = world.manager.refresh(&refresh, &client).await.expect("the same pair again");
    world.present(&refreshed.token.expose()).await;
    world.pass(31);
    let reused = world.manager.refresh(&refresh, &client).await;
    assert!(
        matches!(reused, Err(ValidateError::Rejected(Rejection::Ended(_)))),
        "the detection is as sharp as ever"
    );
}

#[tokio::test]
async fn of_two_replacements_at_once_one_wins() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let token = created.token.expose();
    let (one, two) = (world.validate(&token).await.unwrap(), world.validate(&token).await.unwrap());
    let outcomes = join_all([world.manager.rotate(&one), world.manager.rotate(&two)]).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let lost = outcomes.into_iter().find_map(Result::err).unwrap();
    assert_eq!(lost.kind(), ErrorKind::Conflict);
    let winner = one.take_token().or_else(|| two.take_token()).unwrap();
    assert!(world.validate(&winner.expose()).await.is_ok());
}

#[tokio::test]
async fn a_denied_refresh_changes_nothing() {
    let rules = RuleSet::none().with(IpBinding::exact(Outcome::Deny));
    let world = World::with(|builder| builder.with_rules(rules));
    let home = ClientInfo::new("192.0.2.1".parse().ok(), None);
    let new = NewSession::for_user(user("ann")).with_refresh(true).with_client(home);
    let created = world.manager.create(new).await.unwrap();
    let refresh = created.refresh.unwrap().expose();
    let before = world.stored(created.session.id()).await;
    let away = RequestClient::new("198.51.100.1".parse().ok(), None);
    for _ in 0..3 {
        let denied = world.manager.refresh(&refresh, &away).await;
        assert!(matches!(denied, Err(ValidateError::Rejected(Rejection::Denied { .. }))));
        world.pass(60);
    }
    assert_eq!(world.stored(created.session.id()).await, before);
    let at_home = RequestClient::new("192.0.2.1".parse().ok(), None);
    world.manager.refresh(&refresh, &at_home).await.expect("the next try is no theft");
}

#[tokio::test]
async fn a_denied_ensure_creates_nothing() {
    let rules = RuleSet::none()
        .with(session_core::rules::Networks::new(Outcome::Deny).allow("10.0.0.0/8".parse().unwrap()));
    let world = World::with(|builder| builder.with_rules(rules));
    let external = || session_manager::ExternalSession::new("sid", user("ann")).unwrap();
    let outside = RequestClient::new("198.51.100.1".parse().ok(), None);
    let denied = world.manager.ensure(external(), &outside).await;
    assert!(matches!(denied, Err(ValidateError::Rejected(Rejection::Denied { .. }))));
    assert_eq!(world.faults.calls("create"), 0);
    let inside = RequestClient::new("10.1.2.3".parse().ok(), None);
    assert!(world.manager.ensure(external(), &inside).await.is_ok());
    assert!(world.manager.ensure(external(), &outside).await.is_err(), "also when it is there");
}

#[tokio::test]
async fn a_forged_refresh_token_reveals_nothing_of_the_session() {
    let world = World::new();
    let ((_mine, _, mine), (_other, _, other)) = (pair(&world).await, pair(&world).await);
    let ((id, _), (_, secret)) = (mine.rsplit_once('.').unwrap(), other.rsplit_once('.').unwrap());
    world.pass(40 * DAY);
    let forged = world.manager.refresh(&format!("{id}.{secret}"), &RequestClient::default()).await;
    assert!(matches!(forged, Err(ValidateError::Rejected(Rejection::WrongSecret))), "not that it expired");
}
