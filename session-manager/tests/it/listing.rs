use session_conformance::faults::Fault;
use session_core::{Actor, ErrorKind, ListQuery, SessionStatus};
use session_manager::Paging;

use crate::world::{World, kind, user};

#[tokio::test]
async fn a_user_sees_their_live_sessions_newest_first() {
    let world = World::new();
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.insert(0, world.sign_in("ann").await.session.id());
        world.pass(1);
    }
    world.sign_in("bob").await;
    let page = world.manager.list(&user("ann"), Paging::default()).await.unwrap();
    assert_eq!(page.sessions.iter().map(|info| info.id).collect::<Vec<_>>(), expected);
    assert!(page.next.is_none());
    assert!(page.sessions.iter().all(|info| info.status == SessionStatus::Active));
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let world = World::new();
    for _ in 0..5 {
        world.sign_in("ann").await;
    }
    let mut seen = Vec::new();
    let mut paging = Paging::default().with_limit(2);
    loop {
        let page = world.manager.list(&user("ann"), paging).await.unwrap();
        seen.extend(page.sessions.iter().map(|info| info.id));
        world.pass(1);
        world.sign_in("ann").await;
        paging = paging.with_after(page.next);
        if page.next.is_none() {
            break;
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 5, "and sign-ins meanwhile do not shift them");
}

#[tokio::test]
async fn history_shows_how_sessions_ended() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    world.sign_in("ann").await;
    world.manager.logout(&created.session).await.unwrap();
    let page = world.manager.history(&user("ann"), Paging::default()).await.unwrap();
    assert_eq!(page.sessions.len(), 1);
    assert_eq!(page.sessions[0].status, SessionStatus::LoggedOut);
    assert_eq!(world.manager.list(&user("ann"), Paging::default()).await.unwrap().sessions.len(), 1);
}

#[tokio::test]
async fn what_is_shown_holds_no_secret() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    let json = serde_json::to_value(created.session.info()).unwrap();
    let text = json.to_string();
    let token = created.token.expose();
    assert!(!text.contains(&token[23..]) && !text.contains("secret"));
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(keys.contains(&"lastSeenAt") && keys.contains(&"expiresAt"), "{keys:?}");
}

#[tokio::test]
async fn a_page_size_out_of_bounds_is_refused_before_the_store_is_asked() {
    let world = World::new();
    for limit in [0, 501] {
        let listed = world.manager.list(&user("ann"), Paging::default().with_limit(limit)).await;
        assert_eq!(kind(listed), ErrorKind::Invalid);
    }
    assert_eq!(kind(world.manager.find(ListQuery::default().with_limit(0)).await), ErrorKind::Invalid);
    assert_eq!(world.faults.all_calls(), 0);
}

#[tokio::test]
async fn a_user_names_their_own_device() {
    let world = World::new();
    let (ann, bob) = (world.sign_in("ann").await.session, world.sign_in("bob").await.session);
    let as_ann = Actor::User(user("ann"));
    let renamed = world.manager.rename(ann.id(), Some("Kitchen"), &as_ann).await.unwrap();
    assert_eq!(renamed.label.as_deref(), Some("Kitchen"));
    assert_eq!(kind(world.manager.rename(bob.id(), Some("Mine"), &as_ann).await), ErrorKind::NotFound);
    assert_eq!(world.stored(bob.id()).await.label, None);
    assert_eq!(world.manager.rename(ann.id(), None, &as_ann).await.unwrap().label, None);
}

#[tokio::test]
async fn bad_labels_are_refused_and_unchanged_ones_are_not_written() {
    let world = World::new();
    let id = world.sign_in("ann").await.session.id();
    for label in ["", &"x".repeat(101), "a\0"] {
        assert_eq!(kind(world.manager.rename(id, Some(label), &Actor::System).await), ErrorKind::Invalid);
    }
    world.manager.rename(id, None, &Actor::System).await.unwrap();
    assert_eq!(world.faults.calls("update"), 0);
}

#[tokio::test]
async fn an_ended_session_is_not_renamed() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    world.manager.logout(&session).await.unwrap();
    assert_eq!(kind(world.manager.rename(session.id(), Some("x"), &Actor::System).await), ErrorKind::Ended);
}

#[tokio::test]
async fn renaming_and_saving_at_once_lose_nothing() {
    let world = World::new();
    let created = world.sign_in("ann").await;
    created.session.insert("cart", &1).unwrap();
    world.manager.rename(created.session.id(), Some("Kitchen"), &Actor::System).await.unwrap();
    created.session.save().await.unwrap();
    let stored = world.stored(created.session.id()).await;
    assert_eq!(stored.label.as_deref(), Some("Kitchen"));
    assert_eq!(world.data(created.session.id()).await, serde_json::json!({"cart": 1}));
}

#[tokio::test]
async fn an_outage_is_not_an_empty_list() {
    let world = World::new();
    world.sign_in("ann").await;
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("list"));
    assert_eq!(kind(world.manager.list(&user("ann"), Paging::default()).await), ErrorKind::Unavailable);
}
