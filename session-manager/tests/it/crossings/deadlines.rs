//! Deadlines beside uses that are not written yet, limits and bad values.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{ErrorKind, ExpiryPolicy, Lifetime, OnExceed};
use session_manager::{Rejection, SessionManagerBuilder, UserLimit};

use crate::world::{World, rejection};

const SECOND: Duration = Duration::from_secs(1);

fn idle_out(builder: SessionManagerBuilder) -> SessionManagerBuilder {
    let lifetime = Lifetime::new(Some(10 * SECOND), 10_000 * SECOND).unwrap();
    builder.with_expiry(ExpiryPolicy::default().with_standard(lifetime))
}

#[tokio::test(start_paused = true)]
async fn a_late_use_does_not_revive_what_a_limit_counted_out() {
    let one = |builder| {
        let limit = UserLimit::new(NonZeroU32::MIN, OnExceed::Refuse);
        idle_out(builder).with_limit(limit).with_touch_flush(5 * SECOND)
    };
    let world = World::with(one);
    let other = World::on(Arc::clone(&world.store), one);
    let token = world.sign_in("ann").await.token.expose();
    world.pass(9);
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("touch"));
    world.validate(&token).await.expect("used just before its deadline, and that is not written yet");
    tokio::time::sleep(SECOND).await;
    world.pass(2);
    other.pass(11);
    other.sign_in("ann").await;
    world.faults.disarm();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(world.live().await, 1, "never two");
    assert!(matches!(rejection(world.validate(&token).await), Rejection::Expired(_)));
}

#[tokio::test(start_paused = true)]
async fn a_use_near_the_deadline_is_written_at_once() {
    let world = World::with(|builder| idle_out(builder).with_touch_flush(5 * SECOND));
    let created = world.sign_in("ann").await;
    world.pass(9);
    world.validate(&created.token.expose()).await.unwrap();
    world.settle().await;
    assert_eq!(world.stored(created.session.id()).await.last_seen_at, world.now());
    world.pass(9);
    assert!(world.validate(&created.token.expose()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_strange_country_costs_no_session_a_use() {
    let world = World::new();
    let mut tokens = Vec::new();
    for number in 0..20 {
        tokens.push(world.sign_in(&format!("user {number}")).await.token.expose());
    }
    world.pass(60);
    for (token, country) in tokens.iter().zip(["T1", "-", "xx", "XX", "", "se", "SWE", "Ä"].iter().cycle()) {
        let client = RequestClient::default().with_country(Some(country));
        world.manager.validate(token, &client).await.unwrap();
    }
    tokio::time::sleep(2 * SECOND).await;
    for token in &tokens {
        let id = world.validate(token).await.unwrap().id();
        assert_eq!(world.stored(id).await.last_seen_at, world.now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_is_written_one_by_one() {
    let world = World::new();
    let mut ids = Vec::new();
    for number in 0..3 {
        let created = world.sign_in(&format!("user {number}")).await;
        ids.push((created.session.id(), created.token.expose()));
    }
    world.pass(60);
    for (_, token) in &ids {
        world.validate(token).await.unwrap();
    }
    // The batch is refused, and of the single ones the second.
    world.faults.arm(Fault::error(ErrorKind::Invalid).on("touch").at_call(1));
    world.faults.arm(Fault::error(ErrorKind::Invalid).on("touch").at_call(3));
    tokio::time::sleep(2 * SECOND).await;
    let mut written = 0;
    for (id, _) in &ids {
        written += u32::from(world.stored(*id).await.last_seen_at == world.now());
    }
    assert_eq!(written, 2, "one bad value costs itself");
}

#[tokio::test]
async fn a_strange_description_of_a_client_is_no_reason_to_refuse_a_sign_in() {
    use session_core::ClientInfo;
    use session_manager::NewSession;

    use crate::world::user;

    let world = World::new();
    let mut client = ClientInfo::new("192.0.2.1".parse().ok(), Some("Mozilla/5.0"));
    client.geo.country_code = Some("T1".to_owned());
    client.geo.city = Some("x".repeat(1_000));
    client.device.model = Some("m\0odel".to_owned());
    let created = world.manager.create(NewSession::for_user(user("ann")).with_client(client)).await.unwrap();
    let kept = &world.stored(created.session.id()).await.client;
    assert_eq!((kept.geo.country_code.clone(), kept.device.model.as_deref()), (None, Some("model")));
}
