//! The directory beside a second node, and beside sign-in.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{Result, UserDirectory, UserId, UserStatus, async_trait};
use session_manager::{ExternalSession, NewSession, Rejection};

use crate::world::{World, rejection, user};

#[derive(Debug, Clone, Default)]
struct Users {
    statuses: Arc<Mutex<HashMap<UserId, UserStatus>>>,
    /// How long an answer is under way.
    delay: Arc<Mutex<Duration>>,
    asked: Arc<AtomicU32>,
}

impl Users {
    fn set(&self, active: bool, version: u64) {
        self.statuses.lock().insert(user("ann"), UserStatus::new(active, version));
    }
}

#[async_trait]
impl UserDirectory for Users {
    async fn lookup(&self, user: &UserId) -> Result<Option<UserStatus>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (status, delay) = (self.statuses.lock().get(user).copied(), *self.delay.lock());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(status)
    }
}

fn nodes() -> (World, World, Users) {
    let users = Users::default();
    users.set(true, 1);
    let node = |store| World::on(store, |builder| builder.with_directory(users.clone()));
    let store = Arc::default();
    (node(Arc::clone(&store)), node(store), users)
}

fn ann(version: u64) -> NewSession {
    NewSession::for_user(user("ann")).with_credential_version(version)
}

#[tokio::test]
async fn a_new_password_at_one_node_does_not_end_the_new_session_at_another() {
    let (one, two, users) = nodes();
    let old = one.manager.create(ann(1)).await.unwrap().token.expose();
    two.validate(&old).await.expect("node two remembers version 1 now");
    users.set(true, 2);
    one.manager.forget_user(&user("ann"));
    let new = one.manager.create(ann(2)).await.unwrap();
    two.validate(&new.token.expose()).await.expect("it asks afresh before it refuses");
    two.settle().await;
    assert!(two.stored(new.session.id()).await.ended().is_none());
    assert!(matches!(rejection(two.validate(&old).await), Rejection::Ended(_)));
}

#[tokio::test]
async fn a_user_who_was_enabled_again_is_let_in_at_once() {
    let (one, two, users) = nodes();
    let token = one.manager.create(ann(1)).await.unwrap().token.expose();
    users.set(false, 1);
    two.pass(60);
    assert_eq!(rejection(two.validate(&token).await), Rejection::UserInactive);
    users.set(true, 1);
    assert!(two.validate(&token).await.is_ok(), "a refusal is not remembered");
}

#[tokio::test]
async fn a_session_without_a_version_gets_the_one_of_its_sign_in() {
    let (one, _, users) = nodes();
    let created = one.manager.create(NewSession::for_user(user("ann"))).await.unwrap();
    assert_eq!(created.session.record().credential_version, Some(1));
    let external = ExternalSession::new("sid-1", user("ann")).unwrap();
    let client = RequestClient::default();
    let ensured = one.manager.ensure(external.clone(), &client).await.unwrap();
    assert_eq!(ensured.session().record().credential_version, Some(1));
    users.set(true, 2);
    one.manager.forget_user(&user("ann"));
    assert!(one.validate(&created.token.expose()).await.is_err());
    assert!(one.manager.validate_external(&external, &client).await.is_err());
}

#[tokio::test]
async fn a_session_can_be_kept_through_a_password_change() {
    let (one, two, users) = nodes();
    let here = one.manager.create(ann(1)).await.unwrap();
    let there = one.manager.create(ann(1)).await.unwrap().token.expose();
    users.set(true, 2);
    one.manager.keep_credentials(&here.session, 2).await.unwrap();
    let token = here.session.take_token().expect("a change of privilege").expose();
    for node in [&one, &two] {
        assert!(node.validate(&token).await.is_ok());
        assert!(node.validate(&there).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_under_way_does_not_bring_back_what_was_forgotten() {
    let (one, _, users) = nodes();
    let token = one.manager.create(ann(1)).await.unwrap().token.expose();
    one.manager.forget_user(&user("ann"));
    *users.delay.lock() = Duration::from_millis(10);
    let changed = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        users.set(true, 2);
        one.manager.forget_user(&user("ann"));
    };
    let (opened, ()) = tokio::join!(one.validate(&token), changed);
    opened.expect("the directory had answered before the change");
    let after = one.validate(&token).await;
    assert!(matches!(rejection(after), Rejection::Ended(_)), "the next request asks again");
}

/// A request of another node asks the directory while the session is kept.
#[tokio::test(start_paused = true)]
async fn a_request_beside_a_password_change_does_not_end_the_kept_session() {
    let (one, two, users) = nodes();
    let created = one.manager.create(ann(1)).await.unwrap();
    let old = created.token.expose();
    users.set(true, 2);
    *users.delay.lock() = Duration::from_millis(10);
    let kept = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        one.manager.keep_credentials(&created.session, 2).await.unwrap();
    };
    let (_, ()) = tokio::join!(two.validate(&old), kept);
    two.settle().await;
    let token = created.session.take_token().unwrap().expose();
    assert!(two.validate(&token).await.is_ok() && one.validate(&token).await.is_ok());
}

/// The same at one node: what it remembers lets the request in until the session is kept.
#[tokio::test(start_paused = true)]
async fn a_request_at_the_same_node_does_not_end_the_session_that_is_kept() {
    let (one, _, users) = nodes();
    let created = one.manager.create(ann(1)).await.unwrap();
    let old = created.token.expose();
    one.validate(&old).await.expect("the node remembers version 1 now");
    users.set(true, 2);
    one.faults.arm(Fault::delay(Duration::from_millis(10)).on("update").at_call(1));
    let beside = async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        one.validate(&old).await
    };
    let (kept, beside) = tokio::join!(one.manager.keep_credentials(&created.session, 2), beside);
    kept.unwrap();
    beside.expect("it came before the session was kept");
    let token = created.session.take_token().unwrap().expose();
    assert!(one.validate(&token).await.is_ok());
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_make_each_request_ask() {
    let (one, _, users) = nodes();
    let token = one.manager.create(ann(1)).await.unwrap().token.expose();
    one.pass(3_600);
    one.validate(&token).await.unwrap();
    let asked = users.asked.load(Ordering::Relaxed);
    one.clock.set(one.now().saturating_sub(Duration::from_secs(1_800)));
    for _ in 0..10 {
        one.validate(&token).await.unwrap();
    }
    assert_eq!(users.asked.load(Ordering::Relaxed), asked, "what was answered a moment ago still counts");
    one.pass(30);
    one.validate(&token).await.unwrap();
    assert_eq!(users.asked.load(Ordering::Relaxed), asked + 1, "and no longer than the lag");
}
