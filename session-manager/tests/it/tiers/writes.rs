use std::sync::Arc;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::{Actor, ErrorKind, ExpiryPolicy, Lifetime};
use session_manager::{Rejection, Source, Tiers};

use super::lab::{Cache, Mood, Node, SECOND, pass};
use crate::world::{kind, rejection, user};

#[tokio::test(start_paused = true)]
async fn every_tier_is_notified_of_an_end() {
    let (redis, postgres) = (Cache::new("redis"), Cache::new("postgres"));
    let node = Node::new(Tiers::memory().with_cache(redis.clone()).with_cache(postgres.clone())).await;
    let (id, token) = node.sign_in().await;
    node.world.manager.revoke(id, &Actor::System).await.unwrap();
    assert!(redis.holds_tombstone(id).await && postgres.holds_tombstone(id).await);
    assert!(matches!(rejection(node.validate(&token).await), Rejection::Ended(_)));
    assert_eq!(node.loads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_fails_keeps_the_news_from_no_other() {
    let (redis, postgres) = (Cache::new("redis"), Cache::new("postgres"));
    for (down, up) in [(&redis, &postgres), (&postgres, &redis)] {
        let tiers = Tiers::memory().with_cache(redis.clone()).with_cache(postgres.clone());
        let node = Node::new(tiers).await;
        let (id, _) = node.sign_in().await;
        for mood in [Mood::Down, Mood::Hangs] {
            down.is(mood);
            node.world.manager.revoke(id, &Actor::System).await.unwrap();
            assert!(up.holds_tombstone(id).await, "{mood:?}");
        }
        down.is(Mood::Fine);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tier_is_not_read_before_it_received_what_it_missed() {
    let redis = Cache::new("redis");
    let store = Arc::default();
    let one = Node::on(Arc::clone(&store), Tiers::none().with_cache(redis.clone())).await;
    let (id, token) = one.sign_in().await;
    redis.is(Mood::Full);
    one.world.manager.revoke(id, &Actor::System).await.unwrap();
    let health = one.world.manager.health();
    assert_eq!((health.tiers[0].healthy, health.tiers[0].outbox, health.serving), (false, 1, Source::Store));
    assert!(!redis.holds_tombstone(id).await);
    assert!(matches!(rejection(one.validate(&token).await), Rejection::Ended(_)));
    // It answers questions all the time, but takes nothing.
    one.pass(3 * SECOND).await;
    assert!(!one.world.manager.health().is_healthy());
    redis.is(Mood::Fine);
    one.pass(3 * SECOND).await;
    assert!(one.world.manager.health().is_healthy());
    assert!(redis.holds_tombstone(id).await);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_tier_missed_is_brought_to_it_later() {
    let redis = Cache::new("redis");
    let store = Arc::default();
    let one = Node::on(Arc::clone(&store), Tiers::none().with_cache(redis.clone())).await;
    let two = Node::on(store, Tiers::none().with_cache(redis.clone())).await;
    let (_, token) = one.sign_in().await;
    redis.is(Mood::Down);
    let session = one.validate(&token).await.unwrap();
    session.insert("cart", "apple").unwrap();
    session.save().await.unwrap();
    redis.is(Mood::Fine);
    pass(&[&one, &two], SECOND).await;
    let session = two.validate(&token).await.unwrap();
    assert_eq!(session.provenance().source, Source::Shared("redis"));
    assert_eq!(session.get::<String>("cart").unwrap().as_deref(), Some("apple"));
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_missed_too_much_is_not_read_until_its_entries_expired() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::none().with_cache(redis.clone()).with_outbox_capacity(2)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(node.sign_in().await.0);
    }
    redis.is(Mood::Down);
    for id in ids {
        node.world.manager.revoke(id, &Actor::System).await.unwrap();
    }
    redis.is(Mood::Fine);
    node.pass(29 * SECOND).await;
    assert!(!node.world.manager.health().is_healthy());
    node.pass(4 * SECOND).await;
    assert!(node.world.manager.health().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn tiers_are_notified_of_ends_by_the_sweep_and_by_a_limit() {
    let redis = Cache::new("redis");
    let lifetime = Lifetime::new(Some(60 * SECOND), 10_000 * SECOND).unwrap();
    let node = Node::with(Arc::default(), |builder| {
        let limit = session_manager::UserLimit::new(
            std::num::NonZeroU32::MIN,
            session_core::OnExceed::EndLeastRecentlySeen,
        );
        builder
            .with_tiers(Tiers::memory().with_scope("test").with_cache(redis.clone()))
            .with_expiry(ExpiryPolicy::default().with_standard(lifetime))
            .with_limit(limit)
    })
    .await;
    let (evicted, _) = node.sign_in().await;
    let (expired, token) = node.sign_in().await;
    assert!(redis.holds_tombstone(evicted).await);
    node.pass(61 * SECOND).await;
    node.world.manager.sweep().await.unwrap();
    assert!(redis.holds_tombstone(expired).await);
    assert!(matches!(rejection(node.validate(&token).await), Rejection::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn all_sessions_of_a_user_end_everywhere() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::memory().with_cache(redis.clone())).await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(node.sign_in().await.0);
    }
    node.world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap();
    for id in ids {
        assert!(redis.holds_tombstone(id).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_during_a_write_leaves_no_outdated_copy() {
    let node = Node::new(Tiers::memory()).await;
    let (_, token) = node.sign_in().await;
    let session = node.validate(&token).await.unwrap();
    session.insert("cart", "apple").unwrap();
    node.world.faults.arm(Fault::delay(Duration::from_millis(10)).on("update"));
    let saving = tokio::spawn(async move { session.save().await });
    while node.world.faults.calls("update") == 0 {
        tokio::task::yield_now().await;
    }
    saving.abort();
    node.pass(SECOND).await;
    let after = node.validate(&token).await.unwrap();
    assert_eq!(after.get::<String>("cart").unwrap().as_deref(), Some("apple"), "the write went on");
}

#[tokio::test(start_paused = true)]
async fn no_copy_opens_a_session_whose_end_was_not_answered() {
    let node = Node::new(Tiers::memory()).await;
    let (id, token) = node.sign_in().await;
    node.world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("end").at_call(1));
    assert_eq!(kind(node.world.manager.revoke(id, &Actor::System).await), ErrorKind::Timeout);
    assert!(matches!(rejection(node.validate(&token).await), Rejection::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn tiers_are_notified_of_what_an_unanswered_end_had_ended() {
    let redis = Cache::new("redis");
    let node = Node::new(Tiers::memory().with_cache(redis.clone())).await;
    let (id, token) = node.sign_in().await;
    node.world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("end").at_call(1));
    let all = node.world.manager.revoke_all(&user("ann"), &Actor::System).await;
    assert_eq!(kind(all), ErrorKind::Timeout);
    node.pass(SECOND).await;
    assert!(redis.holds_tombstone(id).await);
    assert!(matches!(rejection(node.validate(&token).await), Rejection::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_another_one_overtook_makes_the_copy_worthless() {
    let store = Arc::default();
    let one = Node::on(Arc::clone(&store), Tiers::memory()).await;
    let two = Node::on(store, Tiers::memory()).await;
    let (_, token) = one.sign_in().await;
    let (here, there) = (one.validate(&token).await.unwrap(), two.validate(&token).await.unwrap());
    there.insert("theirs", &1).unwrap();
    there.save().await.unwrap();
    here.insert("mine", &2).unwrap();
    here.save().await.unwrap();
    let merged = one.validate(&token).await.unwrap();
    assert_eq!(merged.get("theirs").unwrap(), Some(1));
    assert_eq!(merged.get("mine").unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_in_a_minute_are_one_write() {
    for tiers in [Tiers::memory(), Tiers::none().with_cache(Cache::new("redis"))] {
        let node = Node::new(tiers).await;
        let (id, token) = node.sign_in().await;
        node.pass(61 * SECOND).await;
        node.world.faults.reset_calls();
        let first_use = node.world.now();
        for _ in 0..1_000 {
            node.validate(&token).await.unwrap();
            node.pass(Duration::from_millis(59)).await;
        }
        let calls = &node.world.faults;
        assert_eq!(calls.all_calls() - calls.calls("load"), 1);
        assert!(node.world.stored(id).await.last_seen_at >= first_use);
    }
}
