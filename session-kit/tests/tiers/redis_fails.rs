//! Failures of the shared cache.

use std::time::{Duration, Instant};

use session_core::ErrorKind;
use session_manager::{Source, Tiers, ValidateError};

use crate::lab::{Lab, Node, ended, holds_tombstone, until};

const REDIS: Source = Source::Shared("redis");
const POSTGRES: Source = Source::Shared("postgres");

/// A slower validation waited for more than the cache timeout of 50 ms and one read of the store.
const SLOW: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_redis_receives_pending_ends_before_it_is_read() {
    let Some(mut lab) = Lab::open().await else { return };
    let node = lab.node(Tiers::none().with_cache(lab.cache()));
    let (_, token) = node.sign_in("ann").await;
    let (revoked, revoked_token) = node.sign_in("bob").await;
    until("Redis has a copy", async || node.source(&token).await == REDIS).await;

    lab.kill_redis();
    until("the breaker of Redis opens", async || {
        assert_eq!(node.source(&token).await, Source::Store);
        !node.tier("redis").healthy
    })
    .await;
    assert_eq!(node.serving(), Source::Store);
    assert!(!node.manager.health().is_healthy());
    node.revoke(revoked).await;
    assert_eq!(node.tier("redis").outbox, 1);
    ended(node.validate(&revoked_token).await);

    lab.start_redis();
    let cache = lab.cache();
    let took = until("Redis is read again", async || node.tier("redis").healthy).await;
    assert!(holds_tombstone(lab.scope(), &cache, revoked).await, "Redis is read before it received the end");
    assert_eq!((node.tier("redis").outbox, node.serving()), (0, REDIS));
    until("Redis has a copy again", async || node.source(&token).await == REDIS).await;
    ended(node.validate(&revoked_token).await);
    println!("Redis is read again after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_redis_does_not_delay_validations() {
    let Some(mut lab) = Lab::open().await else { return };
    let node = lab.node_as_configured(Tiers::none().with_cache(lab.cache()));
    let (_, token) = node.sign_in("ann").await;
    until("Redis has a copy", async || node.source(&token).await == REDIS).await;

    lab.pause_redis();
    let (mut longest, mut slow, mut asked) = (Duration::ZERO, 0, 0);
    for _ in 0..200 {
        asked += u32::from(node.tier("redis").healthy);
        let began = Instant::now();
        assert_eq!(node.source(&token).await, Source::Store);
        let took = began.elapsed();
        longest = longest.max(took);
        slow += u32::from(took >= SLOW);
    }
    println!("{asked} of 200 validations called a hanging Redis; the longest took {longest:?}");
    assert!(asked < 20, "{asked} of 200 validations called a hanging Redis");
    // Five failures open the breaker: if validations waited for Redis, at least these five would be
    // slow.
    assert!(slow < 5, "{slow} validations were slow, the longest took {longest:?}");
    lab.resume_redis();
    until("Redis is read again", async || node.source(&token).await == REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_redis_neither_ends_nor_revives_sessions() {
    let Some(lab) = Lab::open().await else { return };
    let (here, there) =
        (lab.node(Tiers::none().with_cache(lab.cache())), lab.node(Tiers::none().with_cache(lab.cache())));
    let mut live = Vec::new();
    for number in 0..20 {
        live.push(here.sign_in(&format!("user{number}")).await.1);
    }
    let (revoked, revoked_token) = here.sign_in("ann").await;
    here.revoke(revoked).await;

    lab.flush_redis();

    for node in [&here, &there] {
        for token in &live {
            node.validate(token).await.unwrap();
        }
        ended(node.validate(&revoked_token).await);
    }
    until("Redis has copies again", async || there.source(&live[0]).await == REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_with_lost_ends_is_not_read_before_max_stale() {
    const MAX_STALE: Duration = Duration::from_secs(6);
    let Some(mut lab) = Lab::open().await else { return };
    let tiers = Tiers::none().with_cache(lab.cache()).with_max_stale(MAX_STALE).with_l1_max_age(MAX_STALE);
    let node = lab.node_as_configured(tiers.with_outbox_capacity(2).with_cache_timeout(MAX_STALE / 12));
    let (_, live) = node.sign_in("ann").await;
    let mut revoked = Vec::new();
    for _ in 0..4 {
        revoked.push(node.sign_in("bob").await);
    }
    until("Redis has a copy", async || node.source(&live).await == REDIS).await;

    // It keeps its entries, as a Redis behind a broken network does.
    lab.pause_redis();
    node.revoke(revoked[0].0).await;
    node.revoke(revoked[1].0).await;
    assert_eq!(node.tier("redis").outbox, 2);
    let overflow = Instant::now();
    node.revoke(revoked[2].0).await;
    assert_eq!(node.tier("redis").outbox, 0, "an overflowing outbox is dropped as a whole");
    lab.resume_redis();

    until("Redis is read again", async || {
        let source = node.source(&live).await;
        let waited = overflow.elapsed();
        assert!(source == Source::Store || waited >= MAX_STALE, "Redis was read after {waited:?}");
        source == REDIS
    })
    .await;
    assert!(overflow.elapsed() >= MAX_STALE);
    // A node that only knows the entries in Redis.
    let stranger = lab.node(Tiers::none().with_cache(lab.cache()));
    for (_, token) in &revoked[..3] {
        ended(stranger.validate(token).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_cache_takes_over_while_redis_is_down() {
    let Some(mut lab) = Lab::open().await else { return };
    let second = lab.postgres_cache().await;
    let node = lab.node(Tiers::none().with_cache(lab.cache()).with_cache(std::sync::Arc::clone(&second)));
    let (_, token) = node.sign_in("ann").await;
    let (revoked, revoked_token) = node.sign_in("bob").await;
    until("Redis has a copy", async || node.source(&token).await == REDIS).await;

    lab.kill_redis();
    let over = until("PostgreSQL answers", async || node.source(&token).await == POSTGRES).await;
    assert_eq!(node.serving(), POSTGRES);
    node.revoke(revoked).await;
    assert!(holds_tombstone(lab.scope(), &second, revoked).await);
    ended(node.validate(&revoked_token).await);

    lab.start_redis();
    let back = until("Redis answers", async || node.source(&token).await == REDIS).await;
    assert_eq!(node.serving(), REDIS);
    assert!(holds_tombstone(lab.scope(), &lab.cache(), revoked).await);
    println!("PostgreSQL took over after {over:?}; Redis took over again {back:?} after its restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_work_without_any_cache() {
    let Some(mut lab) = Lab::open().await else { return };
    lab.kill_redis();
    let node = lab.node(Tiers::none().with_cache(lab.cache()).with_bus(lab.bus()));
    let (id, token) = node.sign_in("ann").await;
    let session = node.validate(&token).await.unwrap();
    session.insert("cart", "apple").unwrap();
    session.save().await.unwrap();
    assert_eq!(node.validate(&token).await.unwrap().get::<String>("cart").unwrap().unwrap(), "apple");
    node.revoke(id).await;
    ended(node.validate(&token).await);
    assert_rejected(&node, "not a token").await;
}

/// Asserts that an invalid token is rejected, and not reported as an outage.
async fn assert_rejected(node: &Node, token: &str) {
    match node.validate(token).await {
        Err(ValidateError::Rejected(_)) => {}
        Err(ValidateError::Unavailable(error)) if error.kind() == ErrorKind::Unavailable => {
            panic!("{error}")
        }
        other => panic!("{other:?}"),
    }
}
