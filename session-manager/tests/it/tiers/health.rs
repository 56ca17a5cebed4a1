use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::ErrorKind;
use session_manager::{SessionManager, Source, Tiers};
use session_memory::MemoryStore;

use super::lab::{Cache, Hub, Mood, Node, SECOND};
use crate::world::kind;

#[tokio::test(start_paused = true)]
async fn the_next_cache_serves_while_the_first_is_down_and_steps_back_after() {
    let (redis, postgres) = (Cache::new("redis"), Cache::new("postgres"));
    let node = Node::new(Tiers::none().with_cache(redis.clone()).with_cache(postgres.clone())).await;
    let serving = || node.world.manager.health().serving;
    let (_, token) = node.sign_in().await;
    assert_eq!(serving(), Source::Shared("redis"));
    redis.is(Mood::Down);
    for _ in 0..5 {
        node.validate(&token).await.unwrap();
    }
    assert_eq!(serving(), Source::Shared("postgres"));
    let since = node.world.manager.health().since;
    assert_eq!(since, node.world.now());
    assert_eq!(node.validate(&token).await.unwrap().provenance().source, Source::Shared("postgres"));
    postgres.is(Mood::Down);
    for _ in 0..5 {
        node.validate(&token).await.unwrap();
    }
    assert_eq!(serving(), Source::Store);
    assert_eq!(node.validate(&token).await.unwrap().provenance().source, Source::Store);
    redis.is(Mood::Fine);
    postgres.is(Mood::Fine);
    node.pass(3 * SECOND).await;
    assert_eq!(serving(), Source::Shared("redis"));
    assert!(node.world.manager.health().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_down_is_tried_seldom_and_not_by_requests() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::none().with_cache(redis.clone())).await;
    let (_, token) = node.sign_in().await;
    redis.is(Mood::Hangs);
    for _ in 0..5 {
        node.validate(&token).await.unwrap();
    }
    node.world.settle().await;
    let asked = redis.gets.load(Ordering::SeqCst);
    let started = tokio::time::Instant::now();
    for _ in 0..100 {
        node.validate(&token).await.unwrap();
    }
    assert_eq!(started.elapsed(), Duration::ZERO, "requests do not wait for it any more");
    node.pass(20 * SECOND).await;
    let trials = redis.gets.load(Ordering::SeqCst) - asked;
    assert!((8..40).contains(&trials), "{trials} trials in 20 s");
}

#[tokio::test(start_paused = true)]
async fn a_few_failures_change_nothing() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::none().with_cache(redis.clone())).await;
    let (_, token) = node.sign_in().await;
    for _ in 0..50 {
        for _ in 0..6 {
            node.validate(&token).await.unwrap();
        }
        redis.is(Mood::Down);
        for _ in 0..2 {
            node.validate(&token).await.unwrap();
        }
        redis.is(Mood::Fine);
    }
    assert!(node.world.manager.health().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn everything_works_without_any_cache() {
    for mood in [Mood::Down, Mood::Hangs, Mood::Full] {
        let (redis, hub) = (Cache::new("redis"), Hub::new());
        hub.silenced.store(true, Ordering::SeqCst);
        redis.is(mood);
        let node = Node::new(Tiers::memory().with_cache(redis.clone()).with_bus(hub.bus())).await;
        let (id, token) = node.sign_in().await;
        let session = node.validate(&token).await.unwrap();
        session.insert("cart", "apple").unwrap();
        session.save().await.unwrap();
        node.world.manager.rotate(&session).await.unwrap();
        node.world.manager.logout(&session).await.unwrap();
        assert!(node.world.stored(id).await.ended().is_some());
        assert_eq!(node.world.manager.health().bus_healthy, Some(false));
    }
}

#[tokio::test(start_paused = true)]
async fn health_serialises_for_a_page() {
    let node = Node::new(Tiers::memory().with_cache(Cache::new("redis")).with_bus(Hub::new().bus())).await;
    node.sign_in().await;
    let health = serde_json::to_value(node.world.manager.health()).unwrap();
    assert_eq!(health["serving"]["shared"], "redis");
    assert_eq!(health["copies"], 1);
    assert_eq!(health["tiers"][0]["healthy"], true);
    assert_eq!(health["bus_healthy"], true);
    assert_eq!(health["store_healthy"], true);
    let health = SessionManager::builder(MemoryStore::default()).build().unwrap().health();
    assert_eq!((health.serving, health.is_healthy(), health.tiers.len()), (Source::Store, true, 0));
}

#[tokio::test(start_paused = true)]
async fn the_last_manager_takes_its_tiers_with_it() {
    let (redis, hub) = (Cache::new("redis"), Hub::new());
    let node = Node::new(Tiers::memory().with_cache(redis.clone()).with_bus(hub.bus())).await;
    let (_, token) = node.sign_in().await;
    redis.is(Mood::Down);
    node.pass(10 * SECOND).await;
    for _ in 0..5 {
        node.validate(&token).await.unwrap();
    }
    node.world.manager.shutdown().await;
    drop(node);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(Arc::strong_count(&redis.gets), 1, "nothing holds the cache any more");
}

#[tokio::test]
async fn tiers_out_of_bounds_are_refused() {
    let build = |tiers| SessionManager::builder(MemoryStore::default()).with_tiers(tiers).build();
    let milli = Duration::from_millis(1);
    let many = (0..9).fold(Tiers::none(), |tiers, _| tiers.with_cache(Cache::new("redis")));
    for tiers in [
        many,
        Tiers::memory().with_memory_bytes(1),
        Tiers::memory().with_max_stale(SECOND - milli),
        Tiers::memory().with_max_stale(301 * SECOND),
        Tiers::memory().with_l1_max_age(Duration::ZERO),
        Tiers::memory().with_l1_max_age(31 * SECOND),
        Tiers::memory().with_cache_timeout(Duration::ZERO),
        Tiers::memory().with_cache_timeout(6 * SECOND),
        Tiers::memory().with_stale_if_error(3_601 * SECOND),
        Tiers::memory().with_outbox_capacity(0),
        Tiers::memory().with_outbox_capacity(1_000_001),
    ] {
        assert_eq!(kind(build(tiers)), ErrorKind::Invalid);
    }
    assert!(build(Tiers::memory()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_a_logout_whatever_the_caches_hold() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::memory().with_cache(redis.clone())).await;
    let (_, token) = node.sign_in().await;
    redis.is(Mood::Down);
    node.world.faults.arm(Fault::error(ErrorKind::Timeout));
    node.pass(31 * SECOND).await;
    for _ in 0..20 {
        crate::world::unavailable(node.validate(&token).await);
    }
    node.world.faults.disarm();
    node.validate(&token).await.unwrap();
}

#[test]
fn who_serves_is_one_line_at_the_start_and_at_each_change() {
    let story = async || {
        let (redis, postgres) = (Cache::new("redis"), Cache::new("postgres"));
        let node = Node::new(Tiers::none().with_cache(redis.clone()).with_cache(postgres)).await;
        let (_, token) = node.sign_in().await;
        redis.is(Mood::Down);
        for _ in 0..20 {
            node.validate(&token).await.unwrap();
        }
        node.pass(SECOND).await;
        redis.is(Mood::Fine);
        node.pass(3 * SECOND).await;
        Vec::new()
    };
    let (text, _) = crate::logs::logged(tracing_subscriber::filter::LevelFilter::INFO, story);
    let lines: Vec<_> = text.lines().filter(|line| line.contains("session caches")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    let position = |line: usize, name: &str| lines[line].find(&format!("Shared(\"{name}\")"));
    assert!(position(0, "redis").is_some() && position(0, "postgres").is_none());
    assert!(position(1, "postgres") < position(1, "redis"), "who serves, and who did before");
    assert!(position(2, "redis") < position(2, "postgres"));
}

#[test]
fn advice_is_given_at_the_start() {
    let advice_for = |tiers: Tiers| {
        let story = async || {
            Node::new(tiers).await;
            Vec::new()
        };
        crate::logs::logged(tracing_subscriber::filter::LevelFilter::WARN, story).0
    };
    let with_bus = || Tiers::memory().with_bus(Hub::new().bus());
    assert_eq!(advice_for(with_bus().with_cache(Cache::new("redis"))), "");
    assert!(advice_for(Tiers::memory().with_cache(Cache::new("redis"))).contains("without a bus"));
    assert!(advice_for(Tiers::memory()).contains("without a bus and without a shared cache"));
    assert!(advice_for(Tiers::none()).contains("neither memory nor a shared cache"));
    assert!(advice_for(with_bus().with_stale_if_error(SECOND)).contains("stale_if_error is not above"));
    use session_core::{ExpiryPolicy, Lifetime};
    let lifetime = Lifetime::new(Some(10 * SECOND), 1_000 * SECOND).unwrap();
    let story = async || {
        Node::with(Arc::default(), |builder| {
            builder
                .with_tiers(with_bus().with_scope("test"))
                .with_expiry(ExpiryPolicy::default().with_standard(lifetime))
        })
        .await;
        Vec::new()
    };
    let text = crate::logs::logged(tracing_subscriber::filter::LevelFilter::WARN, story).0;
    assert!(text.contains("max_stale is not below the idle timeout"), "{text}");
}
