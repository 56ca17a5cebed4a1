use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{Actor, AuthMethod, ErrorKind, SecretFormat, SessionId, SessionToken, SystemRandom};
use session_manager::{NewSession, Rejection, Source, Tiers};

use super::lab::{Cache, Hub, Node, SECOND, pass};
use crate::world::{abandon, rejection, unavailable, user};

const LATENCY: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn memory_answers_without_asking_anybody() {
    let node = Node::new(Tiers::memory()).await;
    let (_, token) = node.sign_in().await;
    for _ in 0..1_000 {
        let session = node.validate(&token).await.unwrap();
        assert_eq!(session.provenance().source, Source::Memory);
    }
    assert_eq!(node.world.faults.all_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_tier_is_asked_when_the_one_before_does_not_know() {
    let (redis, store) = (Cache::new("redis"), Arc::default());
    let writer = Node::on(Arc::clone(&store), Tiers::memory().with_cache(redis.clone())).await;
    let reader = Node::on(store, Tiers::memory().with_cache(redis.clone())).await;
    let (id, token) = writer.sign_in().await;
    let source = async || reader.validate(&token).await.unwrap().provenance().source;
    assert_eq!(source().await, Source::Shared("redis"));
    assert_eq!(source().await, Source::Memory);
    redis.forget(id).await;
    pass(&[&writer, &reader], 5 * SECOND).await;
    assert_eq!(source().await, Source::Store);
    reader.world.settle().await;
    pass(&[&writer, &reader], 5 * SECOND).await;
    assert_eq!(source().await, Source::Shared("redis"), "what was read is kept for the others");
    assert_eq!(reader.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_memory_the_shared_cache_answers() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::none().with_cache(redis.clone())).await;
    let (_, token) = node.sign_in().await;
    for _ in 0..10 {
        let source = node.validate(&token).await.unwrap().provenance().source;
        assert_eq!(source, Source::Shared("redis"));
    }
    assert_eq!((node.loads(), redis.gets.load(Ordering::SeqCst)), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_misses_of_one_session_are_one_read() {
    let store = Arc::default();
    let (writer, reader) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let (_, token) = writer.sign_in().await;
    reader.world.faults.arm(Fault::delay(LATENCY).on("load"));
    let outcomes = join_all((0..1_000).map(|_| reader.validate(&token))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(reader.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_reads_for_others_may_go_away() {
    let store = Arc::default();
    let (writer, reader) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let (_, token) = writer.sign_in().await;
    reader.world.faults.arm(Fault::delay(LATENCY).on("load"));
    let waiting = async {
        tokio::task::yield_now().await;
        join_all((0..10).map(|_| reader.validate(&token))).await
    };
    let leader = async {
        let first = tokio::time::timeout(LATENCY / 2, reader.validate(&token)).await;
        assert!(first.is_err(), "it was dropped midway");
    };
    let (outcomes, ()) = tokio::join!(waiting, leader);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(reader.loads(), 2, "one of those who waited took over");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stopped_polling_delays_others_only_briefly() {
    let store = Arc::default();
    let (writer, reader) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let (_, token) = writer.sign_in().await;
    reader.world.faults.arm(Fault::delay(LATENCY).on("load").at_call(1));
    let mut stuck = Box::pin(reader.validate(&token));
    assert!(futures_util::poll!(&mut stuck).is_pending());
    pass(&[&reader], 2 * SECOND).await;
    reader.validate(&token).await.unwrap();
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn a_failure_reaches_all_waiting_callers_and_no_later_one() {
    let store = Arc::default();
    let (writer, reader) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let (_, token) = writer.sign_in().await;
    reader.world.faults.arm(Fault::delay(LATENCY).on("load").at_call(1));
    reader.world.faults.arm(Fault::error(ErrorKind::Unavailable).on("load").at_call(1));
    for outcome in join_all((0..10).map(|_| reader.validate(&token))).await {
        assert_eq!(unavailable(outcome), ErrorKind::Unavailable);
    }
    assert_eq!(reader.loads(), 1);
    reader.validate(&token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_asks_after_a_change_does_not_get_an_answer_from_before() {
    let (store, hub) = (Arc::default(), Hub::new());
    let tiers = || Tiers::memory().with_bus(hub.bus());
    let (writer, reader) = (Node::on(Arc::clone(&store), tiers()).await, Node::on(store, tiers()).await);
    let (id, token) = writer.sign_in().await;
    // The answer of the store is on its way for long, and from before the end.
    reader.world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("load").at_call(1));
    reader.world.faults.disarm();
    reader.world.faults.arm(Fault::delay(LATENCY).on("load").at_call(1));
    let early = reader.validate(&token);
    let late = async {
        tokio::task::yield_now().await;
        writer.world.manager.revoke(id, &Actor::System).await.unwrap();
        reader.world.settle().await;
        reader.validate(&token).await
    };
    let (_, late) = tokio::join!(early, late);
    assert!(matches!(rejection(late), Rejection::Ended(_)));
    assert!(matches!(rejection(reader.validate(&token).await), Rejection::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn a_copy_may_only_confirm() {
    let node = Node::new(Tiers::memory()).await;
    let (id, token) = node.sign_in().await;
    let forged = SessionToken::mint(id, SecretFormat::default(), &SystemRandom).unwrap().expose();
    assert_eq!(rejection(node.validate(&forged).await), Rejection::WrongSecret);
    assert_eq!(node.loads(), 1, "the store of record decided");
    node.validate(&token).await.unwrap();
    assert_eq!(node.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_another_node_issued_is_not_wrong() {
    let store = Arc::default();
    let (one, two) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let (_, token) = one.sign_in().await;
    let session = two.validate(&token).await.unwrap();
    one.validate(&token).await.unwrap();
    two.world.manager.rotate(&session).await.unwrap();
    let successor = session.take_token().unwrap().expose();
    let opened = one.validate(&successor).await.unwrap();
    assert_eq!(opened.provenance().source, Source::Store);
    assert_eq!(one.validate(&successor).await.unwrap().provenance().source, Source::Memory);
}

#[tokio::test(start_paused = true)]
async fn a_use_that_another_node_saw_keeps_a_session_alive_here() {
    use session_core::{ExpiryPolicy, Lifetime};
    let lifetime = Lifetime::new(Some(20 * SECOND), 10_000 * SECOND).unwrap();
    let expiry = ExpiryPolicy::default().with_standard(lifetime);
    let tiers = || Tiers::memory().with_l1_max_age(30 * SECOND);
    let store = Arc::default();
    let one = Node::with(Arc::clone(&store), |b| b.with_tiers(tiers()).with_expiry(expiry)).await;
    let two = Node::with(store, |b| b.with_tiers(tiers()).with_expiry(expiry)).await;
    let (_, token) = one.sign_in().await;
    pass(&[&one, &two], 10 * SECOND).await;
    two.validate(&token).await.unwrap();
    // It is flushed, and this node's copy still differs.
    pass(&[&one, &two], 2 * SECOND).await;
    pass(&[&one, &two], 10 * SECOND).await;
    assert_eq!(one.validate(&token).await.unwrap().provenance().source, Source::Store);
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_are_remembered_for_a_second() {
    let node = Node::new(Tiers::memory()).await;
    let unknown = SessionId::mint(node.world.now(), None, &SystemRandom).unwrap();
    let token = SessionToken::mint(unknown, SecretFormat::default(), &SystemRandom).unwrap().expose();
    for _ in 0..100 {
        assert_eq!(rejection(node.validate(&token).await), Rejection::Unknown);
    }
    assert_eq!(node.loads(), 1);
    node.pass(SECOND).await;
    assert_eq!(rejection(node.validate(&token).await), Rejection::Unknown);
    assert_eq!(node.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_external_session_that_began_elsewhere_is_found_at_once() {
    use session_manager::ExternalSession;
    let store = Arc::default();
    let (one, two) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let external = ExternalSession::new("idp#7", user("ann")).unwrap();
    let client = RequestClient::default();
    assert_eq!(rejection(one.world.manager.validate_external(&external, &client).await), Rejection::Unknown);
    two.world.manager.ensure(external.clone(), &RequestClient::default()).await.unwrap();
    let session = one.world.manager.validate_external(&external, &client).await.unwrap();
    assert_eq!(session.provenance().source, Source::Store);
    let again = one.world.manager.validate_external(&external, &client).await.unwrap();
    assert_eq!(again.provenance().source, Source::Memory);
}

#[tokio::test(start_paused = true)]
async fn the_authoritative_way_reaches_the_store() {
    let store = Arc::default();
    let (one, two) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let (id, token) = one.sign_in().await;
    two.world.manager.revoke(id, &Actor::System).await.unwrap();
    one.validate(&token).await.unwrap();
    let client = RequestClient::default();
    let strict = one.world.manager.validate_authoritative(&token, &client).await;
    assert!(matches!(rejection(strict), Rejection::Ended(_)));
    assert!(matches!(rejection(one.validate(&token).await), Rejection::Ended(_)), "now it is known here");
}

#[tokio::test(start_paused = true)]
async fn what_one_request_learns_of_a_step_up_the_next_one_knows() {
    let store = Arc::default();
    let (one, two) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let (_, token) = one.sign_in().await;
    let session = two.validate(&token).await.unwrap();
    two.world.manager.record_authentication(&session, AuthMethod::Totp).await.unwrap();
    let renewed = session.take_token().unwrap().expose();
    assert_eq!(one.validate(&renewed).await.unwrap().assurance(), session.assurance());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_cache_costs_its_time_limit_and_no_more() {
    use super::lab::Mood;
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::none().with_cache(redis.clone())).await;
    let (_, token) = node.sign_in().await;
    redis.is(Mood::Hangs);
    let started = tokio::time::Instant::now();
    assert_eq!(node.validate(&token).await.unwrap().provenance().source, Source::Store);
    assert_eq!(started.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn data_is_read_and_written_through_copies() {
    let node = Node::with(Arc::default(), |builder| {
        builder.with_tiers(Tiers::memory()).with_concurrent_loads(NonZeroUsize::MIN)
    })
    .await;
    let created = node.world.manager.create(NewSession::anonymous()).await.unwrap();
    let token = created.token.expose();
    for visit in 1..=10_u32 {
        let session = node.validate(&token).await.unwrap();
        let before: u32 = session.get("visits").unwrap().unwrap_or_default();
        assert_eq!(before + 1, visit, "a write is seen by the next request");
        session.insert("visits", &visit).unwrap();
        session.save().await.unwrap();
    }
    assert_eq!(node.loads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_validation_leaves_nothing_behind() {
    let store = Arc::default();
    let (writer, reader) =
        (Node::on(Arc::clone(&store), Tiers::memory()).await, Node::on(store, Tiers::memory()).await);
    let (_, token) = writer.sign_in().await;
    reader.world.faults.arm(Fault::delay(LATENCY).on("load").at_call(1));
    abandon(reader.validate(&token)).await;
    reader.validate(&token).await.unwrap();
    assert_eq!(reader.loads(), 2);
}
