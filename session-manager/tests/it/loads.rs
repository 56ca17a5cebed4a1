use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::{ErrorKind, SecretFormat, SessionId, SessionToken, SystemRandom};
use session_manager::{Rejection, SessionManagerBuilder};

use crate::world::{World, abandon, rejection, unavailable};

const LATENCY: Duration = Duration::from_millis(10);

fn one_at_a_time(builder: SessionManagerBuilder) -> SessionManagerBuilder {
    builder.with_concurrent_loads(NonZeroUsize::MIN).with_limit(None)
}

/// A manager with signed-in users, on a store that takes its time.
async fn slow_world(users: usize) -> (Arc<World>, Vec<String>) {
    let world = Arc::new(World::with(one_at_a_time));
    let mut tokens = Vec::new();
    for _ in 0..users {
        tokens.push(world.sign_in("ann").await.token.expose().to_string());
    }
    world.faults.reset_calls();
    world.faults.arm(Fault::delay(LATENCY).on("load"));
    (world, tokens)
}

#[tokio::test(start_paused = true)]
async fn what_arrives_during_a_load_forms_the_next_one() {
    let (world, tokens) = slow_world(100).await;
    let outcomes = join_all(tokens.iter().map(|token| world.validate(token))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.faults.calls("load"), 2, "the first went out at once, the others together");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_bounded() {
    let (world, tokens) = slow_world(600).await;
    let outcomes = join_all(tokens.iter().map(|token| world.validate(token))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.faults.calls("load"), 1 + 3, "599 waited: 256, 256 and 87");
}

#[tokio::test(start_paused = true)]
async fn one_id_asked_by_many_is_loaded_once() {
    let (world, tokens) = slow_world(2).await;
    let many = (0..1_000).map(|_| world.validate(&tokens[1]));
    let (first, others) = tokio::join!(world.validate(&tokens[0]), join_all(many));
    assert!(first.is_ok() && others.iter().all(Result::is_ok));
    assert_eq!(world.faults.calls("load"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_single_load_does_not_wait() {
    let (world, tokens) = slow_world(1).await;
    let started = tokio::time::Instant::now();
    world.validate(&tokens[0]).await.unwrap();
    assert_eq!(started.elapsed(), LATENCY);
}

#[tokio::test(start_paused = true)]
async fn each_caller_gets_its_own_answer() {
    let (world, tokens) = slow_world(3).await;
    let unknown = SessionId::mint(world.now(), None, &SystemRandom).unwrap();
    let unknown = SessionToken::mint(unknown, SecretFormat::default(), &SystemRandom).unwrap().expose();
    let (first, good, none) =
        tokio::join!(world.validate(&tokens[0]), world.validate(&tokens[1]), world.validate(&unknown));
    assert_ne!(first.unwrap().id(), good.unwrap().id());
    assert_eq!(rejection(none), Rejection::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_the_others_alone() {
    let (world, tokens) = slow_world(4).await;
    let (one, two) = (Arc::clone(&world), Arc::clone(&world));
    let (first, last) = (tokens[0].clone(), tokens[3].clone());
    let first = tokio::spawn(async move { one.validate(&first).await.is_ok() });
    tokio::task::yield_now().await;
    let last = tokio::spawn(async move { two.validate(&last).await.is_ok() });
    tokio::task::yield_now().await;
    abandon(world.validate(&tokens[1])).await;
    first.abort();
    assert!(last.await.unwrap(), "the slot of the first went to the batch of the last");
    assert!(world.validate(&tokens[2]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_exactly_those_who_asked_together() {
    let (world, tokens) = slow_world(5).await;
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("load").at_call(2));
    let outcomes = join_all(tokens.iter().map(|token| world.validate(token))).await;
    let failed = outcomes.into_iter().map(|outcome| outcome.is_err()).collect::<Vec<_>>();
    assert_eq!(failed, [false, true, true, true, true]);
    assert!(world.validate(&tokens[4]).await.is_ok(), "and nothing of it is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_row_fails_no_other_load() {
    let (world, tokens) = slow_world(4).await;
    world.faults.arm(Fault::error(ErrorKind::Corrupt).on("load").at_call(2));
    let outcomes = join_all(tokens.iter().map(|token| world.validate(token))).await;
    assert!(outcomes.iter().all(Result::is_ok), "the three of the batch were asked for again, alone");
    assert_eq!(world.faults.calls("load"), 1 + 1 + 3);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_batch_ends_at_the_deadline_too() {
    let (world, tokens) = slow_world(2).await;
    world.faults.arm(Fault::hang().on("load"));
    let started = tokio::time::Instant::now();
    let (first, second) = tokio::join!(world.validate(&tokens[0]), world.validate(&tokens[1]));
    assert_eq!(unavailable(first), ErrorKind::Timeout);
    assert_eq!(unavailable(second), ErrorKind::Timeout);
    assert!(started.elapsed() <= Duration::from_millis(2_100));
    world.faults.disarm();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.validate(&tokens[0]).await.is_ok(), "no slot is taken for ever");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stops_polling_does_not_stop_the_others() {
    let (world, tokens) = slow_world(3).await;
    let mut forgotten = Box::pin(world.validate(&tokens[0]));
    assert!(futures_util::poll!(&mut forgotten).is_pending());
    assert_eq!(
        unavailable(world.validate(&tokens[1]).await),
        ErrorKind::Timeout,
        "its slot may still be used"
    );
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(world.validate(&tokens[1]).await.is_ok());
    assert!(world.validate(&tokens[2]).await.is_ok(), "and so on");
    drop(forgotten);
    let outcomes = join_all(tokens.iter().map(|token| world.validate(token))).await;
    assert!(outcomes.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let (world, tokens) = slow_world(1).await;
    world.faults.arm(Fault::hang().on("load"));
    let outcomes = join_all((0..10_100).map(|_| world.validate(&tokens[0]))).await;
    let refused = outcomes.into_iter().filter(|outcome| {
        matches!(outcome, Err(session_manager::ValidateError::Unavailable(error)) if error.kind() == ErrorKind::Unavailable)
    });
    assert_eq!(refused.count(), 99, "one is under way, 10,000 wait");
}

#[tokio::test(start_paused = true)]
async fn a_load_asked_after_a_revocation_sees_it() {
    let (world, tokens) = slow_world(2).await;
    let (one, token) = (Arc::clone(&world), tokens[0].clone());
    let under_way = tokio::spawn(async move { one.validate(&token).await.is_ok() });
    tokio::task::yield_now().await;
    world.manager.revoke_all(&"ann".parse().unwrap(), &session_core::Actor::System).await.unwrap();
    assert!(matches!(rejection(world.validate(&tokens[0]).await), Rejection::Ended(_)));
    let _ = under_way.await.unwrap();
}
