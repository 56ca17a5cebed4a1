//! Clocks that jump, beside sweeps.

use std::time::Duration;

use session_core::{ErrorKind, Timestamp};

use crate::world::{World, kind};

#[tokio::test]
async fn a_clock_that_jumped_ends_no_session() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let real = world.now();
    let year = Duration::from_secs(365 * 24 * 3_600);
    world.clock.set(real.saturating_add(year));
    assert_eq!(kind(world.manager.sweep().await), ErrorKind::Unavailable);
    assert_eq!(kind(world.manager.purge().await), ErrorKind::Unavailable);
    assert!(world.stored(created.session.id()).await.ended().is_none());
    world.clock.set(real);
    assert_eq!(world.manager.sweep().await.unwrap().ended, 0);
    assert!(world.validate(&created.token.expose()).await.is_ok());
}

#[tokio::test]
async fn a_machine_that_was_suspended_is_swept_again_after_an_hour() {
    let world = World::new();
    world.sign_in("ann").await;
    world.clock.set(world.now().saturating_add(Duration::from_secs(48 * 3_600)));
    assert_eq!(kind(world.manager.sweep().await), ErrorKind::Unavailable);
    world.pass(3_599);
    assert_eq!(kind(world.manager.sweep().await), ErrorKind::Unavailable);
    world.pass(1);
    assert_eq!(world.manager.sweep().await.unwrap().ended, 1);
}

#[tokio::test]
async fn a_clock_that_is_corrected_a_little_is_no_jump() {
    let world = World::new();
    for seconds in [100_u64, 50, 119] {
        let now = world.now();
        world.clock.set(Timestamp::from_millis(now.as_millis() + i64::try_from(seconds).unwrap() * 1_000));
        assert!(world.manager.sweep().await.is_ok());
    }
}
