use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{Actor, ErrorKind, ExpiryPolicy, Lifetime};

use crate::world::{World, user};

/// Longer than the flush interval: whatever waits is written.
async fn flushed() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_are_at_most_one_write() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let token = created.token.expose();
    flushed().await;
    world.pass(60);
    for _ in 0..10_000 {
        world.validate(&token).await.unwrap();
    }
    flushed().await;
    assert_eq!(world.faults.calls("touch"), 1);
    assert_eq!(world.stored(created.session.id()).await.last_seen_at, world.now());
    assert_eq!(world.stored(created.session.id()).await.revision.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_use_within_the_interval_is_not_written() {
    let world = World::new();
    let token = world.sign_in("ann").await.token.expose();
    world.clock.advance(Duration::from_millis(59_999));
    world.validate(&token).await.unwrap();
    flushed().await;
    assert_eq!(world.faults.calls("touch"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_idle_timeout_is_touched_ten_times_as_often() {
    let lifetime = Lifetime::new(Some(Duration::from_secs(100)), Duration::from_secs(10_000)).unwrap();
    let world = World::with(|builder| builder.with_expiry(ExpiryPolicy::default().with_standard(lifetime)));
    let token = world.sign_in("ann").await.token.expose();
    world.pass(10);
    world.validate(&token).await.unwrap();
    flushed().await;
    assert_eq!(world.faults.calls("touch"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_place_of_use_moves_with_it() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.pass(60);
    let client = RequestClient::new("198.51.100.9".parse().ok(), None).with_country(Some("NL"));
    world.manager.validate(&created.token.expose(), &client).await.unwrap();
    flushed().await;
    let last = &world.stored(created.session.id()).await.last_client;
    assert_eq!((last.ip, last.country_code.as_deref()), ("198.51.100.9".parse().ok(), Some("NL")));
}

#[tokio::test(start_paused = true)]
async fn uses_wait_until_the_store_is_back() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.pass(60);
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("touch"));
    world.validate(&created.token.expose()).await.unwrap();
    for _ in 0..3 {
        flushed().await;
    }
    assert!((2..=8).contains(&world.faults.calls("touch")), "tried again, but not in a loop");
    world.faults.disarm();
    flushed().await;
    flushed().await;
    assert_eq!(world.stored(created.session.id()).await.last_seen_at, world.now());
}

#[tokio::test(start_paused = true)]
async fn a_late_touch_does_not_revive_an_ended_session() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.pass(60);
    world.validate(&created.token.expose()).await.unwrap();
    world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap();
    flushed().await;
    assert!(world.stored(created.session.id()).await.ended().is_some());
    assert!(world.validate(&created.token.expose()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let world = World::with(|builder| builder.with_touch_capacity(2));
    let mut tokens = Vec::new();
    for name in ["ann", "bob", "eve"] {
        tokens.push(world.sign_in(name).await.token.expose());
    }
    world.pass(60);
    for token in &tokens {
        world.validate(token).await.unwrap();
    }
    flushed().await;
    let stats = world.store.clone();
    drop(stats);
    let mut moved = 0;
    for token in &tokens {
        let session = world.validate(token).await.unwrap();
        moved += usize::from(session.record().last_seen_at == world.now());
    }
    assert_eq!(moved, 2, "the third was dropped, and will be written at its next use");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_is_written_at_once() {
    let world = World::with(|builder| builder.with_touch_flush(Duration::from_secs(60)).with_limit(None));
    let mut tokens = Vec::new();
    for _ in 0..500 {
        tokens.push(world.sign_in("ann").await.token.expose());
    }
    world.pass(60);
    for token in &tokens {
        world.validate(token).await.unwrap();
    }
    world.settle().await;
    assert_eq!(world.faults.calls("touch"), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_writes_what_waits() {
    let world = World::with(|builder| builder.with_touch_flush(Duration::from_secs(60)));
    let created = world.sign_in("ann").await;
    world.pass(60);
    world.validate(&created.token.expose()).await.unwrap();
    world.manager.shutdown().await;
    assert_eq!(world.stored(created.session.id()).await.last_seen_at, world.now());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_manager_stops_its_workers() {
    let world = World::with(|builder| builder.with_sweep_interval(Duration::from_secs(1)));
    let World { manager, faults, .. } = world;
    drop(manager);
    tokio::time::sleep(Duration::from_secs(1)).await;
    faults.reset_calls();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(faults.all_calls(), 0);
}
