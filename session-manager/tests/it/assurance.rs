use std::time::Duration;

use session_core::{AssuranceLevel, AuthMethod, ErrorKind};
use session_manager::{NewSession, Paging, StepUp};

use crate::world::{World, kind, user};

fn with_password() -> NewSession {
    NewSession::for_user(user("ann")).with_username("Ann").with_auth(AuthMethod::Password)
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let world = World::new();
    let session = world.manager.create(with_password()).await.unwrap().session;
    assert!(session.require(AssuranceLevel::Aal1, None).is_ok());
    let missing = StepUp::Level { required: AssuranceLevel::Aal2, actual: AssuranceLevel::Aal1 };
    assert_eq!(session.require(AssuranceLevel::Aal2, None), Err(missing));
    world.manager.record_authentication(&session, AuthMethod::Totp).await.unwrap();
    assert!(session.require(AssuranceLevel::Aal2, None).is_ok());
}

#[tokio::test]
async fn freshness_counts_from_authentication() {
    let world = World::new();
    let session = world.manager.create(with_password()).await.unwrap().session;
    let minute = Duration::from_secs(60);
    let fresh = || session.require(AssuranceLevel::Aal1, Some(minute));
    world.clock.advance(minute - Duration::from_millis(1));
    assert!(fresh().is_ok());
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(fresh(), Err(StepUp::Fresh { max_age: minute }));
    world.manager.record_authentication(&session, AuthMethod::Password).await.unwrap();
    assert!(fresh().is_ok());
}

#[tokio::test]
async fn a_step_up_decays_and_the_session_goes_on() {
    let world = World::with(|builder| builder.with_step_up_lifetime(Duration::from_secs(600)));
    let created = world.manager.create(with_password().with_auth(AuthMethod::Totp)).await.unwrap();
    assert_eq!(created.session.assurance(), AssuranceLevel::Aal2);
    world.pass(600);
    let session = world.validate(&created.token.expose()).await.unwrap();
    assert_eq!(session.assurance(), AssuranceLevel::Aal1);
    world.manager.record_authentication(&session, AuthMethod::SecurityKey).await.unwrap();
    assert_eq!(session.assurance(), AssuranceLevel::Aal1, "a key alone is one factor");
    world.manager.record_authentication(&session, AuthMethod::Password).await.unwrap();
    assert_eq!(session.assurance(), AssuranceLevel::Aal3);
}

#[tokio::test]
async fn a_pending_sign_in_opens_nothing_and_is_listed_nowhere() {
    let world = World::new();
    let pending = world.manager.begin_sign_in(with_password()).await.unwrap();
    let session = world.validate(&pending.token.expose()).await.unwrap();
    assert_eq!(session.user_id(), None);
    assert_eq!(session.info().username, None);
    assert_eq!(world.manager.pending_user(&session).unwrap(), Some(user("ann")));
    assert!(world.manager.list(&user("ann"), Paging::default()).await.unwrap().sessions.is_empty());
    assert_eq!(
        session.require(AssuranceLevel::Aal1, None).unwrap_err(),
        StepUp::Level { required: AssuranceLevel::Aal1, actual: AssuranceLevel::None }
    );
}

#[tokio::test]
async fn completing_a_sign_in_makes_the_real_session_and_ends_the_pending_one() {
    let world = World::new();
    let cart = world.manager.create(NewSession::anonymous()).await.unwrap();
    cart.session.insert("cart", &7).unwrap();
    let pending = world.manager.begin_sign_in(with_password().replacing(&cart.session)).await.unwrap();
    world.pass(30);
    let session = world.validate(&pending.token.expose()).await.unwrap();
    let new = with_second_factor();
    let created = world.manager.complete_sign_in(&session, new).await.unwrap();

    assert_eq!(created.session.user_id(), Some(user("ann")));
    assert_eq!(created.session.assurance(), AssuranceLevel::Aal2);
    assert_eq!(created.session.get::<u8>("cart").unwrap(), Some(7));
    assert_eq!(
        created.session.data().unwrap().keys().collect::<Vec<_>>(),
        ["cart"],
        "nothing of the pending one is left"
    );
    assert!(world.validate(&pending.token.expose()).await.is_err());
    assert!(world.validate(&cart.token.expose()).await.is_err());
    assert_eq!(world.live().await, 1);
}

fn with_second_factor() -> NewSession {
    NewSession::anonymous().with_username("Ann").with_auth(AuthMethod::Totp)
}

#[tokio::test]
async fn a_pending_sign_in_has_ten_minutes() {
    let world = World::new();
    let pending = world.manager.begin_sign_in(with_password().with_remember(true)).await.unwrap();
    world.pass(600);
    assert!(world.validate(&pending.token.expose()).await.is_err());
}

#[tokio::test]
async fn an_application_cannot_forge_a_pending_sign_in_by_accident() {
    let world = World::new();
    let forged = serde_json::json!({ "user": "ann", "methods": [], "credential_version": null });
    let session = world.sign_in("eve").await.session;
    assert_eq!(kind(session.insert("session-kit.pending", &forged)), ErrorKind::Invalid);
    let data = [("session-kit.pending".to_owned(), forged)].into_iter().collect();
    assert_eq!(kind(world.manager.create(NewSession::anonymous().with_data(data)).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn only_a_pending_sign_in_is_completed_and_only_for_its_candidate() {
    let world = World::new();
    let other = world.sign_in("eve").await.session;
    assert_eq!(kind(world.manager.complete_sign_in(&other, with_second_factor()).await), ErrorKind::Invalid);
    let pending = world.manager.begin_sign_in(with_password()).await.unwrap().session;
    let eve = NewSession::for_user(user("eve")).with_auth(AuthMethod::Totp);
    assert_eq!(kind(world.manager.complete_sign_in(&pending, eve).await), ErrorKind::Invalid);
    assert_eq!(kind(world.manager.begin_sign_in(NewSession::anonymous()).await), ErrorKind::Invalid);
}
