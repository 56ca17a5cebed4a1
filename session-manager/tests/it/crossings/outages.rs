//! Outages beside runtimes that end, copies, caches and the bus.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{ErrorKind, SecretFormat, SessionId, SessionToken, SystemRandom};
use session_manager::{NewSession, SessionManager, Tiers, ValidateError};
use session_memory::MemoryStore;
use tokio::runtime::Runtime;

use crate::tiers::lab::{Cache, Hub, Mood, Node, SECOND};
use crate::world::{World, unavailable};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn a_manager_that_outlives_its_runtime_answers_unavailable() {
    let (first, second) = (runtime(), runtime());
    let store = Arc::new(MemoryStore::default());
    let faulty = session_conformance::faults::FaultyStore::new(Arc::clone(&store));
    let faults = faulty.faults();
    let one = std::num::NonZeroUsize::MIN;
    let manager = first.block_on(async {
        SessionManager::builder(faulty).with_concurrent_loads(one).with_sweep_interval(None).build().unwrap()
    });
    let token = first.block_on(async {
        let created = manager.create(NewSession::anonymous()).await.unwrap();
        created.token.expose().to_string()
    });
    faults.arm(Fault::delay(Duration::from_millis(200)).on("load"));
    // Loads wait on the second runtime for batches that run on the first, which ends meanwhile.
    let waiting = second.spawn({
        let (manager, token) = (manager.clone(), token.clone());
        async move {
            let validate = || async {
                let client = RequestClient::default();
                manager.validate(&token, &client).await.map(drop)
            };
            join_all((0..100).map(|_| validate())).await
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    first.shutdown_background();
    let outcomes = second.block_on(waiting).unwrap();
    for outcome in outcomes {
        assert!(matches!(outcome, Ok(()) | Err(ValidateError::Unavailable(_))), "{outcome:?}");
    }
    faults.disarm();
    second.block_on(async {
        let unknown = SessionId::mint(manager.now(), None, &SystemRandom).unwrap();
        let token = SessionToken::mint(unknown, SecretFormat::default(), &SystemRandom).unwrap().expose();
        let answer = manager.validate(&token, &RequestClient::default()).await;
        assert!(answer.is_err(), "and goes on");
    });
}

#[test]
fn a_runtime_that_ends_while_loads_wait_ends_quietly() {
    for _ in 0..10 {
        let runtime = runtime();
        let manager = runtime.block_on(async {
            let store = session_conformance::faults::FaultyStore::new(MemoryStore::default());
            let faults = store.faults();
            let manager = SessionManager::builder(store)
                .with_concurrent_loads(std::num::NonZeroUsize::MIN)
                .build()
                .unwrap();
            let token = manager.create(NewSession::anonymous()).await.unwrap().token.expose().to_string();
            faults.arm(Fault::delay(Duration::from_millis(20)).on("load"));
            for _ in 0..600 {
                let (manager, token) = (manager.clone(), token.clone());
                tokio::spawn(async move { drop(manager.validate(&token, &RequestClient::default()).await) });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            manager
        });
        drop(runtime);
        drop(manager);
    }
}

#[tokio::test(start_paused = true)]
async fn loads_are_served_in_the_order_in_which_they_came() {
    let world =
        World::with(|builder| builder.with_concurrent_loads(std::num::NonZeroUsize::MIN).with_limit(None));
    let mut tokens = Vec::new();
    for _ in 0..700 {
        tokens.push(world.sign_in("ann").await.token.expose().to_string());
    }
    world.faults.arm(Fault::delay(Duration::from_millis(10)).on("load"));
    let began = tokio::time::Instant::now();
    // Almost three batches, and each asks again as soon as it is answered: so a load waits for the
    // batch under way and for three more.
    let slowest = async |token: &String| {
        let mut slowest = Duration::ZERO;
        while began.elapsed() < Duration::from_millis(500) {
            let asked = tokio::time::Instant::now();
            world.validate(token).await.unwrap();
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let slowest = join_all(tokens.iter().map(slowest)).await.into_iter().max().unwrap();
    assert!(slowest <= Duration::from_millis(50), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_a_few_times_only_if_there_is_a_copy() {
    let tiers = Tiers::memory().with_max_stale(2 * SECOND).with_l1_max_age(2 * SECOND);
    let node = Node::new(tiers.with_stale_if_error(600 * SECOND)).await;
    let (_, token) = node.sign_in().await;
    node.pass(3 * SECOND).await;
    node.world.faults.arm(Fault::hang().on("load"));
    let mut took = Vec::new();
    for _ in 0..20 {
        let asked = tokio::time::Instant::now();
        let session = node.validate(&token).await.unwrap();
        assert!(session.provenance().degraded);
        took.push(asked.elapsed());
    }
    assert!(took[..5].iter().all(|took| *took >= 2 * SECOND), "{took:?}");
    assert!(took[5..].iter().all(Duration::is_zero), "{took:?}");
    assert!(!node.world.manager.health().store_healthy);
    node.world.faults.disarm();
    node.pass(3 * SECOND).await;
    assert!(node.world.manager.health().store_healthy, "it is tried in the background");
    assert!(!node.validate(&token).await.unwrap().provenance().degraded);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_hangs_is_given_up_although_its_callers_leave_early() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::none().with_cache(redis.clone())).await;
    let (_, token) = node.sign_in().await;
    redis.is(Mood::Hangs);
    let is_healthy = || node.world.manager.health().tiers[0].healthy;
    for _ in 0..5 {
        let impatient = tokio::time::timeout(Duration::from_millis(20), node.validate(&token)).await;
        assert!(impatient.is_err() || !is_healthy());
    }
    assert!(!is_healthy());
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_hangs_is_given_up_and_receives_what_it_missed() {
    let hub = Hub::new();
    let store: Arc<MemoryStore> = Arc::default();
    let tiers = || Tiers::memory().with_bus(hub.bus());
    let one = Node::on(Arc::clone(&store), tiers()).await;
    let two = Node::on(store, tiers()).await;
    let (_, token) = one.sign_in().await;
    let session = one.validate(&token).await.unwrap();
    two.validate(&token).await.unwrap();
    hub.hangs(true);
    for round in 0..10 {
        let began = tokio::time::Instant::now();
        session.insert("round", &round).unwrap();
        session.save().await.unwrap();
        let limit = if round < 5 { Duration::from_millis(51) } else { Duration::from_millis(1) };
        assert!(began.elapsed() <= limit, "round {round} took {:?}", began.elapsed());
    }
    hub.hangs(false);
    one.pass(200 * SECOND / 1_000).await;
    session.insert("round", &100).unwrap();
    session.save().await.unwrap();
    one.world.settle().await;
    let seen = two.validate(&token).await.unwrap().get::<u32>("round").unwrap();
    assert_eq!(seen, Some(100), "the copy of the other node is outdated at once again");
}

#[tokio::test(start_paused = true)]
async fn ping_asks_the_store_and_health_does_not() {
    let world = World::new();
    world.manager.ping().await.unwrap();
    assert_eq!(world.faults.calls("load"), 1);
    assert!(world.manager.health().is_healthy());
    assert_eq!(world.faults.all_calls(), 1);
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("load"));
    assert_eq!(world.manager.ping().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let token = world.sign_in("ann").await.token.expose();
    for _ in 0..5 {
        unavailable(world.validate(&token).await);
    }
    assert!(!world.manager.health().is_healthy());
}
