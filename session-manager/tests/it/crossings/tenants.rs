//! Tenants beside caches, the bus, this process's memory, ensured ids, limits, sweeps and events.

use std::sync::Arc;

use parking_lot::Mutex;
use session_core::rules::RequestClient;
use session_core::{Actor, Event, EventKind, EventSink, UserId};
use session_manager::{ExternalSession, NewSession, Rejection, Source, Tiers, ValidateError};

use crate::tiers::lab::{Cache, Hub, Node, SECOND, pass};
use crate::world::{kind, rejection};

fn user_42() -> UserId {
    UserId::from(42_u64)
}

fn external() -> ExternalSession {
    ExternalSession::new("issuer/sid-1", user_42()).unwrap()
}

/// Two tenants of one deployment: a store of record each, and everything else shared.
async fn tenants() -> (Node, Node, Cache) {
    let (redis, hub) = (Cache::new("redis"), Hub::new());
    let tiers = || Tiers::memory().with_cache(redis.clone()).with_bus(hub.bus());
    let nodes = (Node::new(tiers()).await, Node::new(tiers()).await);
    (nodes.0, nodes.1, redis)
}

#[tokio::test(start_paused = true)]
async fn a_token_of_one_tenant_opens_nothing_at_another() {
    let (one, two, redis) = tenants().await;
    let created = one.world.manager.create(NewSession::for_user(user_42())).await.unwrap();
    let token = created.token.expose();
    one.world.settle().await;
    assert!(redis.holds(created.session.id()).await.is_some(), "the cache has it");
    assert_eq!(rejection(two.validate(&token).await), Rejection::Unknown);
    two.world.manager.revoke_all(&user_42(), &Actor::System).await.unwrap();
    assert!(two.world.manager.revoke(created.session.id(), &Actor::System).await.unwrap().is_empty());
    two.world.settle().await;
    assert!(one.validate(&token).await.is_ok(), "and its end is not theirs to ask for");
    assert!(!redis.holds_tombstone(created.session.id()).await);
}

#[tokio::test(start_paused = true)]
async fn an_ensured_id_is_another_session_at_each_tenant() {
    let (one, two, _) = tenants().await;
    let client = RequestClient::default();
    let first = one.world.manager.ensure(external(), &client).await.unwrap();
    one.world.settle().await;
    let at_two = two.world.manager.validate_external(&external(), &client).await;
    assert!(matches!(at_two, Err(ValidateError::Rejected(Rejection::Unknown))));
    let second = two.world.manager.ensure(external(), &client).await.unwrap();
    assert_eq!(first.session().id(), second.session().id(), "the id is the same");
    second.session().insert("plan", "pro").unwrap();
    second.session().save().await.unwrap();
    two.world.settle().await;
    let again = one.world.manager.validate_external(&external(), &client).await.unwrap();
    assert_eq!(again.get::<String>("plan").unwrap(), None, "what one tenant saves is not the other's");

    two.world.manager.logout(second.session()).await.unwrap();
    two.world.settle().await;
    pass(&[&one, &two], 6 * SECOND).await;
    assert!(one.world.manager.validate_external(&external(), &client).await.is_ok(), "nor is its end");
    let ended = two.world.manager.validate_external(&external(), &client).await;
    assert!(matches!(ended, Err(ValidateError::Rejected(Rejection::Ended(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_another_tenant_invalidates_no_copy() {
    let (one, two, _) = tenants().await;
    let client = RequestClient::default();
    one.world.manager.ensure(external(), &client).await.unwrap();
    two.world.manager.ensure(external(), &client).await.unwrap();
    one.world.settle().await;
    two.world.manager.revoke(external().id(), &Actor::System).await.unwrap();
    two.world.settle().await;
    let known = one.world.manager.validate_external(&external(), &client).await.unwrap();
    assert_eq!(known.provenance().source, Source::Memory);
}

#[derive(Debug, Clone, Default)]
struct Ends(Arc<Mutex<Vec<Event>>>);

impl EventSink for Ends {
    fn emit(&self, event: &Event) {
        if let EventKind::Ended(_) = event.kind {
            self.0.lock().push(event.clone());
        }
    }
}

#[tokio::test]
async fn limits_sweeps_counts_and_events_belong_to_one_tenant() {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use session_core::{ExpiryPolicy, Lifetime, OnExceed};
    use session_manager::UserLimit;

    use crate::world::World;

    let lifetime = Lifetime::new(None, Duration::from_secs(100)).unwrap();
    let tenant = || {
        let ends = Ends::default();
        let sink = ends.clone();
        let limit = UserLimit::new(NonZeroU32::MIN, OnExceed::EndOldest);
        let expiry = ExpiryPolicy::default().with_standard(lifetime);
        let world =
            World::with(|builder| builder.with_event_sink(sink).with_limit(limit).with_expiry(expiry));
        (world, ends)
    };
    let ((one, ends_of_one), (two, ends_of_two)) = (tenant(), tenant());
    for world in [&one, &two] {
        world.manager.create(NewSession::for_user(user_42())).await.unwrap();
    }
    assert_eq!((one.live().await, two.live().await), (1, 1), "one session of the user at each");
    one.pass(101);
    assert_eq!(one.manager.sweep().await.unwrap().ended, 1);
    assert_eq!((one.manager.stats().await.unwrap().live, two.live().await), (0, 1));
    one.manager.shutdown().await;
    two.manager.shutdown().await;
    assert_eq!((ends_of_one.0.lock().len(), ends_of_two.0.lock().len()), (1, 0));
}

#[tokio::test]
async fn what_is_shared_needs_a_scope() {
    use session_core::ErrorKind;
    use session_manager::SessionManager;
    use session_memory::MemoryStore;

    let build = |tiers: Tiers| SessionManager::builder(MemoryStore::default()).with_tiers(tiers).build();
    assert!(build(Tiers::memory()).is_ok(), "this process's memory belongs to one store anyway");
    assert_eq!(kind(build(Tiers::memory().with_cache(Cache::new("redis")))), ErrorKind::Invalid);
    assert_eq!(kind(build(Tiers::memory().with_bus(Hub::new().bus()))), ErrorKind::Invalid);
    let error = build(Tiers::none().with_cache(Cache::new("redis"))).unwrap_err();
    assert!(error.to_string().contains("Tiers::with_scope"), "{error}");
    let named = |name: &str| build(Tiers::none().with_cache(Cache::new("redis")).with_scope(name));
    assert!(named("shop-production").is_ok());
    for name in ["", "a\n", &"x".repeat(65)] {
        assert_eq!(kind(named(name)), ErrorKind::Invalid);
    }
}
