use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::{EndReason, ErrorKind, ExpiryPolicy, Lifetime};

use crate::world::World;

fn a_minute() -> ExpiryPolicy {
    ExpiryPolicy::default().with_standard(Lifetime::new(None, Duration::from_secs(60)).unwrap())
}

#[tokio::test]
async fn a_sweep_ends_what_expired_and_purges_what_ended_long_ago() {
    let world = World::with(|builder| {
        builder.with_expiry(a_minute()).with_retention(Duration::from_secs(100)).with_limit(None)
    });
    for _ in 0..3 {
        world.sign_in("ann").await;
    }
    world.pass(60);
    world.sign_in("ann").await;
    let first = world.manager.sweep().await.unwrap();
    assert_eq!((first.ended, first.purged, first.more), (3, 0, false));
    let stats = world.manager.stats().await.unwrap();
    assert_eq!((stats.live, stats.ended[&EndReason::AbsoluteTimeout]), (1, 3));
    world.pass(101);
    let second = world.manager.sweep().await.unwrap();
    assert_eq!((second.ended, second.purged), (1, 3), "the retention counts from the end of each");
}

#[tokio::test]
async fn a_backlog_is_worked_off_in_bounded_batches() {
    let world = World::with(|builder| builder.with_expiry(a_minute()).with_limit(None));
    for _ in 0..10_600 {
        world.sign_in("ann").await;
    }
    world.pass(60);
    let first = world.manager.sweep().await.unwrap();
    assert_eq!((first.ended, first.more), (10_000, true));
    assert_eq!(world.faults.calls("expire"), 20);
    let second = world.manager.sweep().await.unwrap();
    assert_eq!((second.ended, second.more), (600, false));
}

#[tokio::test(start_paused = true)]
async fn the_worker_survives_errors_and_goes_on() {
    let world =
        World::with(|builder| builder.with_expiry(a_minute()).with_sweep_interval(Duration::from_secs(10)));
    world.sign_in("ann").await;
    world.pass(60);
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("expire"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.faults.calls("expire") >= 4);
    world.faults.disarm();
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(world.manager.stats().await.unwrap().ended[&EndReason::AbsoluteTimeout], 1);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_start_together_do_not_sweep_together() {
    let mut firsts = std::collections::HashSet::new();
    for _ in 0..8 {
        let world = World::with(|builder| builder.with_sweep_interval(Duration::from_secs(100)));
        let started = tokio::time::Instant::now();
        while world.faults.calls("expire") == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(started.elapsed() <= Duration::from_secs(101));
        }
        firsts.insert(started.elapsed().as_secs());
    }
    assert!(firsts.len() >= 3, "{firsts:?}");
}

#[tokio::test]
async fn two_sweeps_at_once_end_each_session_once() {
    let world = World::with(|builder| builder.with_expiry(a_minute()).with_limit(None));
    for _ in 0..800 {
        world.sign_in("ann").await;
    }
    world.pass(60);
    let (one, two) = tokio::join!(world.manager.sweep(), world.manager.sweep());
    assert_eq!(one.unwrap().ended + two.unwrap().ended, 800);
}
