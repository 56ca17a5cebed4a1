use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::{Actor, AssuranceLevel, AuthMethod, ClientInfo, EndReason, ErrorKind};
use session_manager::{NewSession, Paging, Session};

use crate::world::{World, kind, user};

async fn at_the_desk(world: &World) -> Session {
    let new = NewSession::for_user(user("ann")).with_username("Ann").with_auth(AuthMethod::Password);
    let session = world.manager.create(new).await.unwrap().session;
    session.insert("draft", "hello").unwrap();
    session.save().await.unwrap();
    session
}

fn phone() -> NewSession {
    NewSession::anonymous().with_label("phone")
}

#[tokio::test]
async fn a_code_makes_the_session_on_the_other_device() {
    let world = World::new();
    let desk = at_the_desk(&world).await;
    let code = world.manager.begin_transfer(&desk, false).await.unwrap().expose().to_string();
    assert_eq!(
        (code.len(), format!("{:?}", world.manager.begin_transfer(&desk, false).await.unwrap())),
        (14, "TransferCode(***)".to_owned())
    );
    world.pass(60);
    let created =
        world.manager.redeem_transfer(&code.to_lowercase().replace('-', " "), phone()).await.unwrap();
    assert_eq!(
        (created.session.user_id(), created.session.info().label),
        (Some(user("ann")), Some("phone".to_owned()))
    );
    assert_eq!(created.session.get::<String>("draft").unwrap().unwrap(), "hello");
    assert_eq!(created.session.assurance(), AssuranceLevel::Aal1);
    assert_eq!(
        created.session.record().authenticated_at,
        desk.record().authenticated_at,
        "no user authenticated now"
    );
    assert!(world.validate(&created.token.expose()).await.is_ok());
    assert_eq!(world.manager.list(&user("ann"), Paging::default()).await.unwrap().sessions.len(), 2);
}

#[tokio::test]
async fn the_source_ends_if_asked_for() {
    let world = World::new();
    let desk = at_the_desk(&world).await;
    let code = world.manager.begin_transfer(&desk, true).await.unwrap();
    world.manager.redeem_transfer(&code.expose(), phone()).await.unwrap();
    assert_eq!(world.stored(desk.id()).await.ended().unwrap().reason, EndReason::Transferred);
}

#[tokio::test]
async fn a_code_counts_once_and_for_two_minutes() {
    let world = World::new();
    let desk = at_the_desk(&world).await;
    let code = world.manager.begin_transfer(&desk, false).await.unwrap();
    world.manager.redeem_transfer(&code.expose(), phone()).await.unwrap();
    assert_eq!(kind(world.manager.redeem_transfer(&code.expose(), phone()).await), ErrorKind::NotFound);
    let late = world.manager.begin_transfer(&desk, false).await.unwrap();
    world.pass(120);
    assert_eq!(kind(world.manager.redeem_transfer(&late.expose(), phone()).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_code_of_an_ended_session_is_worth_nothing() {
    let world = World::new();
    let desk = at_the_desk(&world).await;
    let code = world.manager.begin_transfer(&desk, false).await.unwrap();
    world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap();
    assert_eq!(kind(world.manager.redeem_transfer(&code.expose(), phone()).await), ErrorKind::NotFound);
    assert!(world.manager.list(&user("ann"), Paging::default()).await.unwrap().sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_many_attempts_one_wins() {
    let world = World::new();
    let desk = at_the_desk(&world).await;
    let code = world.manager.begin_transfer(&desk, false).await.unwrap().expose().to_string();
    // All of them see the code before the first has used it up.
    world.faults.arm(Fault::delay(Duration::from_millis(10)).on("end"));
    let attempts = join_all((0..20).map(|_| world.manager.redeem_transfer(&code, phone()))).await;
    assert_eq!(attempts.iter().filter(|attempt| attempt.is_ok()).count(), 1);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let world = World::new();
    let mut kinds = Vec::new();
    // Far more than a slow machine is given back meanwhile.
    for _ in 0..500 {
        kinds.push(kind(world.manager.redeem_transfer("0000-0000-0000", phone()).await));
    }
    assert_eq!(kinds[..20], [ErrorKind::NotFound; 20]);
    assert!(kinds[20..].contains(&ErrorKind::LimitExceeded));
}

#[tokio::test]
async fn a_client_that_guesses_stops_no_other() {
    let world = World::new();
    let desk = at_the_desk(&world).await;
    let from = |ip: &str| phone().with_client(ClientInfo::new(ip.parse().ok(), None));
    let guess = async |ip: &str| kind(world.manager.redeem_transfer("0000-0000-0000", from(ip)).await);
    let mut last = ErrorKind::NotFound;
    for n in 0..500_u16 {
        last = guess(&format!("2001:db8:0:7::{n:x}")).await;
        if last == ErrorKind::LimitExceeded {
            break;
        }
    }
    assert_eq!(last, ErrorKind::LimitExceeded, "the addresses of one customer count as one");
    assert_eq!(guess("2001:db8:0:8::1").await, ErrorKind::NotFound);
    let code = world.manager.begin_transfer(&desk, false).await.unwrap();
    assert!(world.manager.redeem_transfer(&code.expose(), from("192.0.2.9")).await.is_ok());
}

#[tokio::test]
async fn garbage_is_refused_before_the_store_is_asked() {
    let world = World::new();
    for code in ["", "x", "ILOU-0000-0000", "0000-0000-000", &"0".repeat(1_000), "\u{e9}000-0000-0000"] {
        assert_eq!(kind(world.manager.redeem_transfer(code, phone()).await), ErrorKind::NotFound, "{code:?}");
    }
    assert_eq!(world.faults.all_calls(), 0);
}

#[tokio::test]
async fn an_anonymous_session_stays_where_it_is() {
    let world = World::new();
    let anonymous = world.manager.create(NewSession::anonymous()).await.unwrap().session;
    assert_eq!(kind(world.manager.begin_transfer(&anonymous, false).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn the_store_never_sees_the_code() {
    let world = World::new();
    let desk = at_the_desk(&world).await;
    let code = world.manager.begin_transfer(&desk, false).await.unwrap().expose().to_string();
    world.clock.advance(Duration::from_secs(1));
    let everything = session_core::ListQuery::default();
    let page = world.manager.find(everything).await.unwrap();
    assert_eq!(page.sessions.len(), 2);
    let shown = format!("{page:?}");
    assert!(!shown.contains(&code) && !shown.contains(&code.replace('-', "")));
}
