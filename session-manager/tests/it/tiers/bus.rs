use std::sync::Arc;
use std::sync::atomic::Ordering;

use session_core::Actor;
use session_manager::{Rejection, Source, Tiers};

use super::lab::{Cache, Hub, Node, SECOND, pass};
use crate::world::rejection;

/// Two nodes over one store, with memory, a shared cache and a bus.
async fn two(hub: &Hub, redis: &Cache) -> (Node, Node) {
    let tiers = || Tiers::memory().with_cache(redis.clone()).with_bus(hub.bus());
    let store = Arc::default();
    (Node::on(Arc::clone(&store), tiers()).await, Node::on(store, tiers()).await)
}

#[tokio::test(start_paused = true)]
async fn an_end_is_known_elsewhere_at_once() {
    let (hub, redis) = (Hub::new(), Cache::new("redis"));
    let (one, two) = two(&hub, &redis).await;
    let (id, token) = one.sign_in().await;
    two.validate(&token).await.unwrap();
    one.world.manager.revoke(id, &Actor::System).await.unwrap();
    two.world.settle().await;
    assert!(matches!(rejection(two.validate(&token).await), Rejection::Ended(_)));
    assert_eq!(two.loads(), 0, "the shared cache knew");
}

#[tokio::test(start_paused = true)]
async fn a_message_outweighs_a_shared_cache_that_missed_it() {
    let hub = Hub::new();
    let (of_one, of_two) = (Cache::new("redis"), Cache::new("redis"));
    let store = Arc::default();
    let one = Node::on(Arc::clone(&store), Tiers::memory().with_cache(of_one).with_bus(hub.bus())).await;
    let two = Node::on(store, Tiers::memory().with_cache(of_two).with_bus(hub.bus())).await;
    let (id, token) = one.sign_in().await;
    two.validate(&token).await.unwrap();
    two.world.settle().await;
    one.world.manager.revoke(id, &Actor::System).await.unwrap();
    two.world.settle().await;
    assert!(matches!(rejection(two.validate(&token).await), Rejection::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_elsewhere_at_once() {
    let (hub, redis) = (Hub::new(), Cache::new("redis"));
    let (one, two) = two(&hub, &redis).await;
    let (_, token) = one.sign_in().await;
    two.validate(&token).await.unwrap();
    let session = one.validate(&token).await.unwrap();
    session.insert("cart", "apple").unwrap();
    session.save().await.unwrap();
    two.world.settle().await;
    let seen = two.validate(&token).await.unwrap();
    assert_eq!(seen.get::<String>("cart").unwrap().as_deref(), Some("apple"));
    assert_eq!(one.validate(&token).await.unwrap().provenance().source, Source::Memory);
}

#[tokio::test(start_paused = true)]
async fn without_messages_an_end_is_noticed_when_the_copy_is_too_old() {
    let (hub, redis) = (Hub::new(), Cache::new("redis"));
    let (one, two) = two(&hub, &redis).await;
    let (id, token) = one.sign_in().await;
    two.validate(&token).await.unwrap();
    hub.silenced.store(true, Ordering::SeqCst);
    one.world.manager.revoke(id, &Actor::System).await.unwrap();
    two.world.settle().await;
    two.validate(&token).await.unwrap();
    pass(&[&one, &two], 5 * SECOND).await;
    assert!(matches!(rejection(two.validate(&token).await), Rejection::Ended(_)));
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_no_copy_from_before_counts() {
    let (hub, redis) = (Hub::new(), Cache::new("redis"));
    let (one, two) = two(&hub, &redis).await;
    let (id, token) = one.sign_in().await;
    two.validate(&token).await.unwrap();
    hub.silenced.store(true, Ordering::SeqCst);
    one.world.manager.revoke(id, &Actor::System).await.unwrap();
    two.validate(&token).await.unwrap();
    hub.resync();
    two.world.settle().await;
    assert!(matches!(rejection(two.validate(&token).await), Rejection::Ended(_)));
}
