//! What happens to sessions when the shared cache fails.

use std::time::{Duration, Instant};

use session_core::ErrorKind;
use session_manager::{Source, Tiers, ValidateError};

use crate::lab::{Lab, Node, ended, holds_tombstone, until};

const REDIS: Source = Source::Shared("redis");
const POSTGRES: Source = Source::Shared("postgres");

/// Beyond this a validation waited for something else than its time limit of 50 ms and one read of the store.
const HELD_UP: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_died_signs_nobody_out_and_hears_of_ends_before_it_is_read_again() {
    let Some(mut lab) = Lab::open().await else { return };
    let node = lab.node(Tiers::none().with_cache(lab.cache()));
    let (_, token) = node.sign_in("ann").await;
    let (gone, gone_token) = node.sign_in("bob").await;
    until("it has a copy", async || node.source(&token).await == REDIS).await;

    lab.kill_redis();
    until("it is not asked any more", async || {
        assert_eq!(node.source(&token).await, Source::Store);
        !node.tier("redis").healthy
    })
    .await;
    assert_eq!(node.serving(), Source::Store);
    assert!(!node.manager.health().is_healthy());
    node.revoke(gone).await;
    assert_eq!(node.tier("redis").outbox, 1);
    ended(node.validate(&gone_token).await);

    lab.start_redis();
    let cache = lab.cache();
    let told = until("it is asked again", async || node.tier("redis").healthy).await;
    assert!(holds_tombstone(lab.scope(), &cache, gone).await, "it serves without having been told");
    assert_eq!((node.tier("redis").outbox, node.serving()), (0, REDIS));
    until("it has a copy again", async || node.source(&token).await == REDIS).await;
    ended(node.validate(&gone_token).await);
    println!("Redis serves again after {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_holds_up_no_validation() {
    let Some(mut lab) = Lab::open().await else { return };
    let node = lab.hasty_node(Tiers::none().with_cache(lab.cache()));
    let (_, token) = node.sign_in("ann").await;
    until("it has a copy", async || node.source(&token).await == REDIS).await;

    lab.pause_redis();
    let (mut longest, mut slow, mut asked) = (Duration::ZERO, 0, 0);
    for _ in 0..200 {
        asked += u32::from(node.tier("redis").healthy);
        let began = Instant::now();
        assert_eq!(node.source(&token).await, Source::Store);
        let took = began.elapsed();
        longest = longest.max(took);
        slow += u32::from(took >= HELD_UP);
    }
    println!("{asked} of 200 validations asked a Redis that hangs; the longest took {longest:?}");
    assert!(asked < 20, "{asked} of 200 waited for it");
    // Five failures take it out of service: if its own answers were waited for, these would be the slow ones.
    assert!(slow < 5, "{slow} validations were held up, one for {longest:?}");
    lab.resume_redis();
    until("it is asked again", async || node.source(&token).await == REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgets_everything_signs_nobody_out_and_nobody_in() {
    let Some(lab) = Lab::open().await else { return };
    let (here, there) =
        (lab.node(Tiers::none().with_cache(lab.cache())), lab.node(Tiers::none().with_cache(lab.cache())));
    let mut live = Vec::new();
    for number in 0..20 {
        live.push(here.sign_in(&format!("user{number}")).await.1);
    }
    let (gone, gone_token) = here.sign_in("ann").await;
    here.revoke(gone).await;

    lab.flush_redis();

    for node in [&here, &there] {
        for token in &live {
            node.validate(token).await.unwrap();
        }
        ended(node.validate(&gone_token).await);
    }
    until("it has copies again", async || there.source(&live[0]).await == REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_missed_too_much_is_not_read_until_nobody_believes_it() {
    const MAX_STALE: Duration = Duration::from_secs(6);
    let Some(mut lab) = Lab::open().await else { return };
    let tiers = Tiers::none().with_cache(lab.cache()).with_max_stale(MAX_STALE).with_l1_max_age(MAX_STALE);
    let node = lab.hasty_node(tiers.with_outbox_capacity(2).with_cache_timeout(MAX_STALE / 12));
    let (_, live) = node.sign_in("ann").await;
    let mut gone = Vec::new();
    for _ in 0..4 {
        gone.push(node.sign_in("bob").await);
    }
    until("it has a copy", async || node.source(&live).await == REDIS).await;

    // It keeps what it holds, as one behind a broken network would.
    lab.pause_redis();
    node.revoke(gone[0].0).await;
    node.revoke(gone[1].0).await;
    assert_eq!(node.tier("redis").outbox, 2);
    let overflow = Instant::now();
    node.revoke(gone[2].0).await;
    assert_eq!(node.tier("redis").outbox, 0, "what does not fit is not kept in part");
    lab.resume_redis();

    until("it is asked again", async || {
        let source = node.source(&live).await;
        let waited = overflow.elapsed();
        assert!(source == Source::Store || waited >= MAX_STALE, "believed after {waited:?}");
        source == REDIS
    })
    .await;
    assert!(overflow.elapsed() >= MAX_STALE);
    // Somebody who knows only what it holds.
    let stranger = lab.node(Tiers::none().with_cache(lab.cache()));
    for (_, token) in &gone[..3] {
        ended(stranger.validate(token).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_cache_takes_over_from_redis_and_gives_back() {
    let Some(mut lab) = Lab::open().await else { return };
    let second = lab.postgres_cache().await;
    let node = lab.node(Tiers::none().with_cache(lab.cache()).with_cache(std::sync::Arc::clone(&second)));
    let (_, token) = node.sign_in("ann").await;
    let (gone, gone_token) = node.sign_in("bob").await;
    until("it has a copy", async || node.source(&token).await == REDIS).await;

    lab.kill_redis();
    let over = until("the next one serves", async || node.source(&token).await == POSTGRES).await;
    assert_eq!(node.serving(), POSTGRES);
    node.revoke(gone).await;
    assert!(holds_tombstone(lab.scope(), &second, gone).await);
    ended(node.validate(&gone_token).await);

    lab.start_redis();
    let back = until("the first one serves", async || node.source(&token).await == REDIS).await;
    assert_eq!(node.serving(), REDIS);
    assert!(holds_tombstone(lab.scope(), &lab.cache(), gone).await);
    println!("PostgreSQL took over after {over:?}, and gave back {back:?} after Redis was there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_cache_everything_still_works() {
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
    refused(&node, "not a token").await;
}

/// Whatever is no session is not taken for an outage.
async fn refused(node: &Node, token: &str) {
    match node.validate(token).await {
        Err(ValidateError::Rejected(_)) => {}
        Err(ValidateError::Unavailable(error)) if error.kind() == ErrorKind::Unavailable => {
            panic!("{error}")
        }
        other => panic!("{other:?}"),
    }
}
