use std::sync::Arc;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::{Actor, CacheEntry, ErrorKind};
use session_manager::{Rejection, Source, Tiers};

use super::lab::{Cache, Node, SECOND, pass};
use crate::world::{rejection, unavailable};

/// The store of record cannot be asked from now on.
fn take_store_away(node: &Node) {
    node.world.faults.arm(Fault::error(ErrorKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_copy_in_memory_counts_for_five_seconds() {
    let node = Node::new(Tiers::memory()).await;
    let (_, token) = node.sign_in().await;
    let source = async || node.validate(&token).await.unwrap().provenance().source;
    node.pass(5 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(source().await, Source::Memory);
    node.pass(Duration::from_millis(1)).await;
    assert_eq!(source().await, Source::Store);
}

#[tokio::test(start_paused = true)]
async fn staleness_is_inherited_by_copies_of_copies() {
    let (redis, store) = (Cache::new("redis"), Arc::default());
    let tiers = || Tiers::memory().with_cache(redis.clone()).with_l1_max_age(30 * SECOND);
    let one = Node::on(Arc::clone(&store), tiers()).await;
    let two = Node::on(store, tiers()).await;
    let (_, token) = one.sign_in().await;
    pass(&[&one, &two], 20 * SECOND).await;
    assert_eq!(two.validate(&token).await.unwrap().provenance().source, Source::Shared("redis"));
    pass(&[&one, &two], 9 * SECOND).await;
    assert_eq!(two.validate(&token).await.unwrap().provenance().source, Source::Memory);
    pass(&[&one, &two], SECOND).await;
    assert_eq!(
        two.validate(&token).await.unwrap().provenance().source,
        Source::Store,
        "30 s after the sign-in"
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_message_is_noticed_within_the_staleness() {
    let (redis, store) = (Cache::new("redis"), Arc::default());
    let tiers = || Tiers::memory().with_cache(redis.clone());
    let reader = Node::on(Arc::clone(&store), tiers()).await;
    let (id, token) = reader.sign_in().await;
    // This one has other caches, as after a partition.
    let ender = Node::on(store, Tiers::memory()).await;
    ender.world.manager.revoke(id, &Actor::System).await.unwrap();
    for _ in 0..29 {
        reader.pass(SECOND).await;
        let _ = reader.validate(&token).await;
    }
    reader.pass(SECOND).await;
    assert!(matches!(rejection(reader.validate(&token).await), Rejection::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_is_as_old_as_its_beginning() {
    let (redis, store) = (Cache::new("redis"), Arc::default());
    let writer = Node::on(Arc::clone(&store), Tiers::memory()).await;
    let reader = Node::on(
        store,
        Tiers::memory().with_cache(redis.clone()).with_max_stale(SECOND).with_l1_max_age(SECOND),
    )
    .await;
    let (id, token) = writer.sign_in().await;
    reader.world.faults.arm(Fault::delay(Duration::from_millis(1_500)).on("load").at_call(1));
    let (answer, ()) = tokio::join!(reader.validate(&token), reader.pass(Duration::from_millis(1_200)));
    answer.unwrap();
    reader.world.settle().await;
    assert!(redis.holds(id).await.is_none(), "it was too old when it arrived");
    reader.validate(&token).await.unwrap();
    assert_eq!(reader.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn both_clocks_must_agree_that_an_entry_is_young() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::none().with_cache(redis.clone())).await;
    let (id, token) = node.sign_in().await;
    let source = async || node.validate(&token).await.unwrap().provenance().source;
    let stored = node.world.stored(id).await;
    let verified = |seconds: i64| {
        let now = node.world.now();
        let by = Duration::from_secs(seconds.unsigned_abs());
        let at = if seconds < 0 { now.saturating_sub(by) } else { now.saturating_add(by) };
        CacheEntry::of(node.scope(), Arc::clone(&stored), at)
    };
    for (entry, ttl, served) in [
        (verified(0), 30, true),
        (verified(-29), 30, true),
        (verified(-30), 30, false),
        (verified(30), 30, true),
        (verified(31), 30, false),
        (verified(0), 31, false),
    ] {
        redis.forget(id).await;
        redis.smuggle(entry.clone(), Duration::from_secs(ttl)).await;
        let expected = if served { Source::Shared("redis") } else { Source::Store };
        assert_eq!(source().await, expected, "{} s, ttl {ttl}", entry.verified_at.as_millis());
        node.world.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_store_copies_count_as_long_as_always() {
    let node = Node::new(Tiers::memory().with_l1_max_age(30 * SECOND)).await;
    let (_, token) = node.sign_in().await;
    take_store_away(&node);
    node.pass(29 * SECOND).await;
    assert!(!node.validate(&token).await.unwrap().provenance().degraded);
    node.pass(SECOND).await;
    assert_eq!(unavailable(node.validate(&token).await), ErrorKind::Unavailable, "it is off by default");
}

#[tokio::test(start_paused = true)]
async fn stale_answers_are_given_for_as_long_as_was_allowed() {
    let node = Node::new(Tiers::memory().with_stale_if_error(60 * SECOND)).await;
    let (_, token) = node.sign_in().await;
    take_store_away(&node);
    node.pass(59 * SECOND).await;
    let provenance = node.validate(&token).await.unwrap().provenance();
    assert!(provenance.degraded && provenance.is_cached());
    node.pass(SECOND).await;
    assert_eq!(unavailable(node.validate(&token).await), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn no_stale_answer_opens_what_is_known_to_be_over() {
    use session_core::{ExpiryPolicy, Lifetime};
    let lifetime = Lifetime::new(Some(40 * SECOND), 10_000 * SECOND).unwrap();
    let node = Node::with(Arc::default(), |builder| {
        builder
            .with_tiers(Tiers::memory().with_stale_if_error(600 * SECOND))
            .with_expiry(ExpiryPolicy::default().with_standard(lifetime))
    })
    .await;
    let (ended, of_ended) = node.sign_in().await;
    let (_, of_idle) = node.sign_in().await;
    let (unconfirmed, of_unconfirmed) = node.sign_in().await;
    node.world.manager.revoke(ended, &Actor::System).await.unwrap();
    take_store_away(&node);
    let _ = node.world.manager.revoke(unconfirmed, &Actor::System).await;
    assert!(matches!(rejection(node.validate(&of_ended).await), Rejection::Ended(_)));
    assert_eq!(unavailable(node.validate(&of_unconfirmed).await), ErrorKind::Unavailable);
    node.pass(39 * SECOND).await;
    assert!(node.validate(&of_idle).await.unwrap().provenance().degraded);
    node.pass(SECOND).await;
    assert_eq!(unavailable(node.validate(&of_idle).await), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_needs_the_right_secret() {
    use session_core::{SecretFormat, SessionToken, SystemRandom};
    let node = Node::new(Tiers::memory().with_stale_if_error(600 * SECOND)).await;
    let (id, _) = node.sign_in().await;
    let forged = SessionToken::mint(id, SecretFormat::default(), &SystemRandom).unwrap().expose();
    take_store_away(&node);
    node.pass(60 * SECOND).await;
    assert_eq!(unavailable(node.validate(&forged).await), ErrorKind::Unavailable);
}
