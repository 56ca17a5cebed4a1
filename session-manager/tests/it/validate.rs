use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::rules::{IpBinding, Outcome, Reason, RequestClient, RuleSet};
use session_core::{
    ClientInfo, EndReason, ErrorKind, ExpiryPolicy, Lifetime, PepperId, PepperRing, SecretFormat,
    SecretHasher, SessionId, SessionToken, SystemRandom,
};
use session_manager::{NewSession, Rejection};

use crate::world::{World, rejection, unavailable, user};

fn short_lived() -> ExpiryPolicy {
    let lifetime = Lifetime::new(Some(Duration::from_secs(100)), Duration::from_secs(1_000)).unwrap();
    ExpiryPolicy::default().with_standard(lifetime)
}

#[tokio::test]
async fn malformed_tokens_never_reach_the_store() {
    let world = World::new();
    let good = world.sign_in("ann").await.token.expose().to_string();
    world.faults.reset_calls();
    for bad in [
        "",
        ".",
        "x",
        &good[1..],
        &good[..65],
        &format!("{good} "),
        &good.to_uppercase(),
        &"a".repeat(1_000_000),
    ] {
        assert_eq!(rejection(world.validate(bad).await), Rejection::Malformed);
    }
    assert_eq!(world.faults.all_calls(), 0);
}

#[tokio::test]
async fn one_validation_is_one_load_and_nothing_else() {
    let world = World::new();
    let token = world.sign_in("ann").await.token;
    world.faults.reset_calls();
    world.validate(&token.expose()).await.unwrap();
    assert_eq!((world.faults.calls("load"), world.faults.all_calls()), (1, 1));
}

#[tokio::test]
async fn a_forged_secret_for_a_known_id_is_unknown_and_ends_nothing() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let forged = SessionToken::mint(created.session.id(), SecretFormat::default(), &SystemRandom).unwrap();
    assert_eq!(rejection(world.validate(&forged.expose()).await), Rejection::WrongSecret);
    assert!(world.validate(&created.token.expose()).await.is_ok());
}

#[tokio::test]
async fn an_id_that_was_never_created_is_unknown_and_stays_so() {
    let world = World::new();
    let id = SessionId::mint(world.now(), None, &SystemRandom).unwrap();
    let token = SessionToken::mint(id, SecretFormat::default(), &SystemRandom).unwrap();
    for _ in 0..2 {
        assert_eq!(rejection(world.validate(&token.expose()).await), Rejection::Unknown);
    }
    assert_eq!(world.live().await, 0);
}

#[tokio::test]
async fn idleness_ends_at_its_millisecond() {
    let world = World::with(|builder| builder.with_expiry(short_lived()));
    let token = world.sign_in("ann").await.token.expose();
    world.clock.advance(Duration::from_millis(99_999));
    assert!(world.validate(&token).await.is_ok());
    world.clock.advance(Duration::from_millis(1));
    let Rejection::Expired(deadline) = rejection(world.validate(&token).await) else { panic!("not expired") };
    assert_eq!(deadline.reason, EndReason::IdleTimeout);
}

#[tokio::test(start_paused = true)]
async fn use_postpones_idleness_but_not_the_absolute_end() {
    let world = World::with(|builder| builder.with_expiry(short_lived()));
    let token = world.sign_in("ann").await.token.expose();
    for _ in 0..19 {
        world.pass(50);
        assert!(world.validate(&token).await.is_ok());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    world.pass(50);
    let Rejection::Expired(deadline) = rejection(world.validate(&token).await) else { panic!("not expired") };
    assert_eq!(deadline.reason, EndReason::AbsoluteTimeout);
}

#[tokio::test]
async fn a_clock_that_steps_back_signs_no_user_out_and_extends_nothing() {
    let world = World::with(|builder| builder.with_expiry(short_lived()));
    let token = world.sign_in("ann").await.token.expose();
    let begin = world.now();
    world.clock.set(begin.saturating_sub(Duration::from_secs(3_600)));
    assert!(world.validate(&token).await.is_ok());
    world.clock.set(begin.saturating_add(Duration::from_secs(100)));
    assert!(world.validate(&token).await.is_err());
}

#[tokio::test]
async fn no_failure_of_the_store_is_a_rejection() {
    let world = World::new();
    let token = world.sign_in("ann").await.token.expose();
    for failure in [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Corrupt, ErrorKind::Other] {
        world.faults.arm(Fault::error(failure).on("load"));
        assert_eq!(unavailable(world.validate(&token).await), failure);
        world.faults.disarm();
    }
    assert!(world.validate(&token).await.is_ok(), "and afterwards everything is as before");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_is_an_outage_at_the_deadline() {
    let world = World::with(|builder| builder.with_store_deadline(Duration::from_millis(300)));
    let token = world.sign_in("ann").await.token.expose();
    world.faults.arm(Fault::hang().on("load"));
    let started = tokio::time::Instant::now();
    assert_eq!(unavailable(world.validate(&token).await), ErrorKind::Timeout);
    assert!(started.elapsed() <= Duration::from_millis(400));
}

#[tokio::test]
async fn a_rule_refuses_the_request_and_not_the_session() {
    let rules = RuleSet::default().with(IpBinding::exact(Outcome::Deny));
    let world = World::with(|builder| builder.with_rules(rules));
    let client = ClientInfo::new("192.0.2.1".parse().ok(), None);
    let created = world.manager.create(NewSession::for_user(user("ann")).with_client(client)).await.unwrap();
    let from = |ip: &str| RequestClient::new(ip.parse().ok(), None);
    let elsewhere = world.manager.validate(&created.token.expose(), &from("203.0.113.1")).await;
    assert_eq!(rejection(elsewhere), Rejection::Denied { rule: "ip_binding", reason: Reason::IpChanged });
    assert!(world.manager.validate(&created.token.expose(), &from("192.0.2.1")).await.is_ok());
}

#[tokio::test]
async fn a_challenge_is_handed_to_the_application() {
    let rules = RuleSet::default().with(IpBinding::exact(Outcome::Challenge));
    let world = World::with(|builder| builder.with_rules(rules));
    let client = ClientInfo::new("192.0.2.1".parse().ok(), None);
    let created = world.manager.create(NewSession::for_user(user("ann")).with_client(client)).await.unwrap();
    let session = world.validate(&created.token.expose()).await.unwrap();
    assert_eq!(session.challenge(), Some(Reason::IpChanged));
}

fn pepper(id: u32, key: u8) -> PepperRing {
    PepperRing::new(PepperId::new(NonZeroU32::new(id).unwrap()), &[key; 32]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_session_moves_to_the_pepper_when_it_is_used() {
    let plain = World::new();
    let created = plain.sign_in("ann").await;
    let token = created.token.expose();
    let peppered = World::on(Arc::clone(&plain.store), |builder| {
        builder.with_hasher(SecretHasher::peppered(pepper(1, 1)))
    });
    assert!(peppered.validate(&token).await.is_ok());
    peppered.settle().await;
    let stored = peppered.stored(created.session.id()).await;
    assert_eq!(stored.secret.as_ref().unwrap().current.key(), Some(PepperId::new(NonZeroU32::MIN)));
    assert!(peppered.validate(&token).await.is_ok());
    peppered.settle().await;
    assert_eq!(peppered.faults.calls("update"), 1, "moved once");
    assert_eq!(
        unavailable(plain.validate(&token).await),
        ErrorKind::Unavailable,
        "a node without the key cannot judge it"
    );
}

#[tokio::test]
async fn a_page_can_warn_before_the_session_expires() {
    let world = World::with(|builder| builder.with_expiry(short_lived()));
    let session = world.sign_in("ann").await.session;
    let minute = Duration::from_secs(60);
    assert!(!session.expires_soon(minute));
    world.pass(40);
    assert!(session.expires_soon(minute));
    assert_eq!(session.deadline().at.since(world.now()), minute);
}
