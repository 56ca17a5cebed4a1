use std::sync::Arc;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{Actor, ErrorKind, SecretFormat, SessionKind, SessionToken, SystemRandom};
use session_manager::{Ensured, ExternalSession, Rejection, ValidateError};

use crate::world::{World, rejection, user};

fn external(name: &str) -> ExternalSession {
    ExternalSession::new(name, user("ann")).unwrap().with_username("Ann")
}

async fn validate(world: &World, name: &str) -> Result<session_manager::Session, ValidateError> {
    world.manager.validate_external(&external(name), &RequestClient::default()).await
}

#[tokio::test]
async fn the_first_call_creates_and_the_others_find() {
    let world = World::new();
    let first = world.manager.ensure(external("sid-1"), &RequestClient::default()).await.unwrap();
    let second = world.manager.ensure(external("sid-1"), &RequestClient::default()).await.unwrap();
    assert_eq!(serde_json::to_string(&first).unwrap(), r#"{"created":true}"#);
    assert_eq!(serde_json::to_string(&second).unwrap(), r#"{"exists":true}"#);
    assert_eq!(first.session().id(), second.session().id());
    assert_eq!(first.session().record().kind, SessionKind::External);
    assert_eq!(world.faults.calls("create"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_create_one() {
    let world = Arc::new(World::new());
    let calls = (0..100).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            matches!(
                world.manager.ensure(external("sid-1"), &RequestClient::default()).await.unwrap(),
                Ensured::Created(_)
            )
        })
    });
    let created = join_all(calls).await.into_iter().filter(|created| *created.as_ref().unwrap()).count();
    assert_eq!((created, world.live().await), (1, 1));
}

#[tokio::test]
async fn other_names_and_other_users_are_other_sessions() {
    let world = World::new();
    let id = world.manager.ensure(external("sid-1"), &RequestClient::default()).await.unwrap().session().id();
    assert_ne!(
        world.manager.ensure(external("sid-2"), &RequestClient::default()).await.unwrap().session().id(),
        id
    );
    let bob = ExternalSession::new("sid-1", user("bob")).unwrap();
    assert_ne!(world.manager.ensure(bob, &RequestClient::default()).await.unwrap().session().id(), id);
}

#[tokio::test]
async fn an_external_session_is_validated_by_its_name_and_by_nothing_else() {
    let world = World::new();
    assert_eq!(rejection(validate(&world, "sid-1").await), Rejection::Unknown);
    let id = world.manager.ensure(external("sid-1"), &RequestClient::default()).await.unwrap().session().id();
    assert_eq!(validate(&world, "sid-1").await.unwrap().user_id(), Some(user("ann")));
    let token = SessionToken::mint(id, SecretFormat::default(), &SystemRandom).unwrap();
    assert_eq!(
        rejection(world.validate(&token.expose()).await),
        Rejection::WrongSecret,
        "the library issued no secret"
    );
}

#[tokio::test]
async fn an_ended_session_is_not_made_again() {
    let world = World::new();
    world.manager.ensure(external("sid-1"), &RequestClient::default()).await.unwrap();
    world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap();
    let again = world.manager.ensure(external("sid-1"), &RequestClient::default()).await;
    assert!(matches!(again, Err(ValidateError::Rejected(Rejection::Ended(_)))), "{again:?}");
    assert!(matches!(rejection(validate(&world, "sid-1").await), Rejection::Ended(_)));
    assert_eq!(world.live().await, 0);
}

#[tokio::test]
async fn an_expired_session_is_not_made_again() {
    let world = World::new();
    world.manager.ensure(external("sid-1"), &RequestClient::default()).await.unwrap();
    world.pass(86_400);
    let again = world.manager.ensure(external("sid-1"), &RequestClient::default()).await;
    assert!(matches!(again, Err(ValidateError::Rejected(Rejection::Expired(_)))), "{again:?}");
}

#[tokio::test]
async fn the_name_is_not_stored() {
    let world = World::new();
    let session = world.manager.ensure(external("very-secret-sid"), &RequestClient::default()).await.unwrap();
    let shown = format!("{:?} {:?}", session.session().record(), session.session().info());
    assert!(!shown.contains("very-secret-sid"));
}

#[tokio::test]
async fn names_out_of_bounds_are_refused() {
    assert!(ExternalSession::new("", user("ann")).is_err());
    assert!(ExternalSession::new("x".repeat(1_025), user("ann")).is_err());
}

#[tokio::test]
async fn an_ensure_whose_reply_was_lost_finds_what_it_made() {
    let world = World::new();
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("load").at_call(1));
    assert!(matches!(
        world.manager.ensure(external("sid-1"), &RequestClient::default()).await,
        Err(ValidateError::Unavailable(_))
    ));
    assert!(matches!(
        world.manager.ensure(external("sid-1"), &RequestClient::default()).await,
        Ok(Ensured::Created(_))
    ));
}
