use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{DeviceId, EndReason, ErrorKind, RefreshToken, SecretFormat, SystemRandom};
use session_manager::{
    NewSession, RefreshPolicy, Refreshed, Rejection, ReuseEnds, SessionManagerBuilder, ValidateError,
};

use crate::world::{World, rejection, user};

const QUARTER: u64 = 15 * 60;

struct Pair {
    session: String,
    refresh: String,
}

impl Pair {
    fn of(refreshed: &Refreshed) -> Self {
        Self {
            session: refreshed.token.expose().to_string(),
            refresh: refreshed.refresh.expose().to_string(),
        }
    }
}

async fn sign_in(world: &World, device: Option<DeviceId>) -> Pair {
    let mut new = NewSession::for_user(user("ann")).with_refresh(true);
    if let Some(device) = device {
        new = new.with_device(device);
    }
    let created = world.manager.create(new).await.unwrap();
    let refresh = created.refresh.unwrap().expose().to_string();
    Pair { session: created.token.expose().to_string(), refresh }
}

async fn refresh(world: &World, token: &str) -> Result<Refreshed, ValidateError> {
    world.manager.refresh(token, &RequestClient::default()).await
}

#[track_caller]
fn refused(outcome: Result<Refreshed, ValidateError>) -> Rejection {
    rejection(outcome.map(|refreshed| refreshed.session))
}

#[track_caller]
fn reused(outcome: Result<Refreshed, ValidateError>) {
    let Rejection::Ended(ended) = refused(outcome) else { panic!("not ended") };
    assert_eq!(ended.reason, EndReason::RefreshReuse);
}

#[tokio::test]
async fn the_session_token_is_short_lived_and_refreshing_gives_a_new_pair() {
    let world = World::new();
    let first = sign_in(&world, None).await;
    assert!(world.validate(&first.session).await.is_ok());
    world.pass(QUARTER);
    assert_eq!(rejection(world.validate(&first.session).await), Rejection::TokenExpired);
    world.faults.reset_calls();
    let second = Pair::of(&refresh(&world, &first.refresh).await.unwrap());
    assert_eq!((world.faults.calls("load"), world.faults.calls("update")), (1, 1));
    assert!(world.validate(&second.session).await.is_ok());
    assert_eq!(world.live().await, 1, "it is the same session");
}

#[tokio::test]
async fn the_same_token_within_grace_gives_the_same_pair_and_writes_nothing() {
    let world = World::new();
    let first = sign_in(&world, None).await;
    let second = Pair::of(&refresh(&world, &first.refresh).await.unwrap());
    world.faults.reset_calls();
    for _ in 0..3 {
        world.pass(10);
        let again = Pair::of(&refresh(&world, &first.refresh).await.unwrap());
        assert_eq!((again.session, again.refresh), (second.session.clone(), second.refresh.clone()));
    }
    assert_eq!(world.faults.calls("update"), 0);
    assert!(world.validate(&second.session).await.is_ok());
}

#[tokio::test]
async fn a_spent_token_after_grace_ends_the_session() {
    let world = World::new();
    let first = sign_in(&world, None).await;
    let second = Pair::of(&refresh(&world, &first.refresh).await.unwrap());
    world.present(&second.session).await;
    world.clock.advance(Duration::from_millis(30_001));
    reused(refresh(&world, &first.refresh).await);
    assert!(matches!(rejection(world.validate(&second.session).await), Rejection::Ended(_)));
    assert!(matches!(refused(refresh(&world, &second.refresh).await), Rejection::Ended(_)));
}

#[tokio::test]
async fn a_token_of_an_earlier_generation_ends_the_session_even_within_grace() {
    let world = World::new();
    let first = sign_in(&world, None).await;
    let second = Pair::of(&refresh(&world, &first.refresh).await.unwrap());
    refresh(&world, &second.refresh).await.unwrap();
    reused(refresh(&world, &first.refresh).await);
}

#[tokio::test]
async fn eight_generations_are_remembered_and_older_ones_are_just_unknown() {
    let world = World::new();
    let mut generations = vec![sign_in(&world, None).await];
    for _ in 0..10 {
        let next = Pair::of(&refresh(&world, &generations.last().unwrap().refresh).await.unwrap());
        generations.push(next);
    }
    assert_eq!(refused(refresh(&world, &generations[0].refresh).await), Rejection::WrongSecret);
    reused(refresh(&world, &generations[1].refresh).await);
}

#[tokio::test]
async fn a_forged_secret_for_a_known_id_ends_nothing() {
    let world = World::new();
    let pair = sign_in(&world, None).await;
    let id = RefreshToken::parse(&pair.refresh).unwrap().id();
    let forged = RefreshToken::mint(id, SecretFormat::default(), &SystemRandom).unwrap().expose();
    assert_eq!(refused(refresh(&world, &forged).await), Rejection::WrongSecret);
    refresh(&world, &pair.refresh).await.unwrap();
    assert_eq!(refused(refresh(&world, &forged).await), Rejection::WrongSecret);
    assert_eq!(world.live().await, 1);
}

#[tokio::test]
async fn tokens_of_one_kind_are_nothing_in_the_place_of_the_other() {
    let world = World::new();
    let pair = sign_in(&world, None).await;
    assert_eq!(refused(refresh(&world, &pair.session).await), Rejection::Malformed);
    assert_eq!(rejection(world.validate(&pair.refresh).await), Rejection::Malformed);
    let bare = pair.refresh.strip_prefix("r.").unwrap();
    assert_eq!(
        rejection(world.validate(bare).await),
        Rejection::WrongSecret,
        "the hash knows its purpose too"
    );
    assert_eq!(refused(refresh(&world, &format!("r.{}", pair.session)).await), Rejection::WrongSecret);
    assert_eq!(world.live().await, 1);
}

#[tokio::test]
async fn a_session_without_refresh_token_cannot_be_refreshed() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let token = RefreshToken::mint(created.session.id(), SecretFormat::default(), &SystemRandom).unwrap();
    assert_eq!(refused(refresh(&world, &token.expose()).await), Rejection::Unknown);
}

#[tokio::test]
async fn the_refresh_token_has_an_end_of_its_own() {
    let policy = RefreshPolicy::default().with_refresh(Duration::from_secs(3_600));
    let world = World::with(|builder| builder.with_refresh(policy));
    let pair = sign_in(&world, None).await;
    world.pass(3_600);
    assert_eq!(refused(refresh(&world, &pair.refresh).await), Rejection::TokenExpired);
}

#[tokio::test]
async fn refreshing_moves_no_absolute_end() {
    let world = World::new();
    let pair = sign_in(&world, None).await;
    let before = world.validate(&pair.session).await.unwrap().record();
    world.pass(60);
    let after = refresh(&world, &pair.refresh).await.unwrap().session.record();
    assert_eq!(after.expires_at, before.expires_at);
    assert_eq!(after.refresh.as_ref().unwrap().expires_at, before.refresh.as_ref().unwrap().expires_at);
    assert_eq!(after.refresh.as_ref().unwrap().generation, 1);
}

#[tokio::test]
async fn reuse_can_end_the_device_or_the_user() {
    for (ends, live) in [(ReuseEnds::Session, 2), (ReuseEnds::Device, 1), (ReuseEnds::User, 0)] {
        let policy = RefreshPolicy::default().with_reuse_ends(ends);
        let world = World::with(|builder| builder.with_refresh(policy));
        let device = DeviceId::mint(&SystemRandom).unwrap();
        let stolen = sign_in(&world, Some(device)).await;
        sign_in(&world, Some(device)).await;
        sign_in(&world, None).await;
        let refreshed = Pair::of(&refresh(&world, &stolen.refresh).await.unwrap());
        world.present(&refreshed.session).await;
        world.pass(31);
        reused(refresh(&world, &stolen.refresh).await);
        assert_eq!(world.live().await, live, "{ends:?}");
    }
}

fn unchanged(builder: SessionManagerBuilder) -> SessionManagerBuilder {
    builder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_parallel_refreshes_on_two_nodes_give_one_pair() {
    let world = Arc::new(World::new());
    let other = Arc::new(World::on(Arc::clone(&world.store), unchanged));
    let pair = sign_in(&world, None).await;
    let requests = (0..64).map(|n| {
        let (node, token) = (Arc::clone(if n % 2 == 0 { &world } else { &other }), pair.refresh.clone());
        tokio::spawn(async move {
            let pair = Pair::of(&refresh(&node, &token).await.unwrap());
            (pair.session, pair.refresh)
        })
    });
    let mut pairs: Vec<_> = join_all(requests).await.into_iter().map(Result::unwrap).collect();
    pairs.sort_unstable();
    pairs.dedup();
    assert_eq!(pairs.len(), 1);
    assert!(world.validate(&pairs[0].0).await.is_ok());
    assert!(refresh(&world, &pairs[0].1).await.is_ok());
}

#[tokio::test]
async fn a_lost_reply_is_survivable() {
    let world = World::new();
    let pair = sign_in(&world, None).await;
    world.faults.arm(Fault::lost_reply(ErrorKind::Unavailable).on("update").at_call(1));
    assert!(matches!(refresh(&world, &pair.refresh).await, Err(ValidateError::Unavailable(_))));
    let second =
        Pair::of(&refresh(&world, &pair.refresh).await.expect("the client tries again with what it has"));
    assert_eq!(world.faults.calls("update"), 1);
    assert!(world.validate(&second.session).await.is_ok());
    assert!(refresh(&world, &second.refresh).await.is_ok());
}

#[tokio::test]
async fn an_outage_is_no_answer() {
    let world = World::new();
    let pair = sign_in(&world, None).await;
    for operation in ["load", "update"] {
        world.faults.arm(Fault::error(ErrorKind::Unavailable).on(operation));
        assert!(matches!(refresh(&world, &pair.refresh).await, Err(ValidateError::Unavailable(_))));
        world.faults.disarm();
    }
    assert!(refresh(&world, &pair.refresh).await.is_ok());
}
