use session_conformance::faults::Fault;
use session_core::{
    Actor, AuthMethod, ClientInfo, DeviceId, ErrorKind, ListQuery, SessionStore, SystemRandom,
};
use session_manager::{NewSession, Paging};

use crate::world::{World, kind, user};

/// Everything about ann that could stay behind somewhere.
const TRACES: [&str; 5] = ["ann", "Ann Example", "192.0.2.77", "PrivateBrowser", "bedroom laptop"];

async fn sign_in(world: &World) -> session_manager::Session {
    let client = ClientInfo::new("192.0.2.77".parse().ok(), Some("PrivateBrowser/1.0"));
    let new = NewSession::for_user(user("ann"))
        .with_username("Ann Example")
        .with_client(client)
        .with_label("bedroom laptop")
        .with_device(DeviceId::mint(&SystemRandom).unwrap())
        .with_auth(AuthMethod::Password);
    let session = world.manager.create(new).await.unwrap().session;
    session.insert("cart", &["apple"]).unwrap();
    session.save().await.unwrap();
    session
}

/// Everything that the store holds, as text.
async fn dump(world: &World) -> String {
    let page = world.store.list(&ListQuery::default().with_limit(500)).await.unwrap();
    let ids: Vec<_> = page.records.iter().map(|record| record.id).collect();
    let records = world.store.load(&ids).await.unwrap();
    let lossless = |record: &session_core::SessionRecord| {
        let data = String::from_utf8_lossy(&record.data).into_owned();
        format!("{record:?} {:?} {:?} {:?} {data}", record.username, record.label, record.auth)
    };
    records.iter().map(|record| lossless(record)).collect()
}

#[tokio::test]
async fn an_export_holds_everything_and_no_secret() {
    let world = World::new();
    let session = sign_in(&world).await;
    let other = sign_in(&world).await;
    world.manager.logout(&other).await.unwrap();
    world.sign_in("bob").await;
    let export = world.manager.export_user(&user("ann"), Paging::default()).await.unwrap();
    let json = serde_json::to_value(&export).unwrap();
    assert_eq!(json["format"], "session-kit.user-export.1");
    assert_eq!(json["sessions"].as_array().unwrap().len(), 2);
    let live = json["sessions"].as_array().unwrap().iter().find(|it| it["status"] == "active").unwrap();
    assert_eq!(live["id"], session.id().to_string());
    assert_eq!(live["data"]["cart"][0], "apple");
    assert_eq!(live["authentications"][0]["method"], "password");
    let text = json.to_string();
    for trace in TRACES {
        assert!(text.contains(trace), "{trace} is not in {text}");
    }
    assert!(!text.contains("secret") && !text.contains("bob"));
}

#[tokio::test]
async fn an_erased_user_leaves_no_trace_and_no_live_session() {
    let world = World::new();
    let old = sign_in(&world).await;
    world.manager.logout(&old).await.unwrap();
    sign_in(&world).await;
    world.sign_in("bob").await;
    assert!(TRACES.iter().all(|trace| !trace.is_empty()));
    let before = dump(&world).await;
    for trace in TRACES {
        assert!(before.contains(trace), "{trace} would have been noticed");
    }

    let report = world.manager.erase_user(&user("ann")).await.unwrap();
    assert_eq!((report.ended, report.erased), (1, 2));
    let after = dump(&world).await;
    for trace in TRACES {
        assert!(!after.contains(trace), "{trace} is still in {after}");
    }
    assert!(after.contains("bob"));
    assert!(world.manager.export_user(&user("ann"), Paging::default()).await.unwrap().sessions.is_empty());
    assert!(world.manager.history(&user("ann"), Paging::default()).await.unwrap().sessions.is_empty());
    assert!(world.stored(old.id()).await.ended().is_some(), "the tombstone stays");
}

#[tokio::test]
async fn erasing_many_sessions_goes_in_batches() {
    let world = World::with(|builder| builder.with_limit(None));
    for _ in 0..1_001 {
        world.sign_in("ann").await;
    }
    let report = world.manager.erase_user(&user("ann")).await.unwrap();
    assert_eq!((report.ended, report.erased, world.faults.calls("erase")), (1_001, 1_001, 3));
}

#[tokio::test]
async fn an_erasure_that_failed_can_be_repeated() {
    let world = World::new();
    sign_in(&world).await;
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("erase").at_call(1));
    assert_eq!(kind(world.manager.erase_user(&user("ann")).await), ErrorKind::Unavailable);
    let report = world.manager.erase_user(&user("ann")).await.unwrap();
    assert_eq!((report.ended, report.erased), (0, 1));
}

#[tokio::test]
async fn an_export_is_whole_or_fails() {
    let world = World::new();
    sign_in(&world).await;
    for operation in ["list", "load"] {
        world.faults.arm(Fault::error(ErrorKind::Unavailable).on(operation));
        assert_eq!(
            kind(world.manager.export_user(&user("ann"), Paging::default()).await),
            ErrorKind::Unavailable
        );
        world.faults.disarm();
    }
}

#[tokio::test]
async fn an_administrator_named_in_history_is_forgotten_with_the_user() {
    let world = World::new();
    let session = sign_in(&world).await;
    world.manager.revoke(session.id(), &Actor::User(user("ann"))).await.unwrap();
    world.manager.erase_user(&user("ann")).await.unwrap();
    assert_eq!(world.stored(session.id()).await.ended().unwrap().by, Actor::System);
}
