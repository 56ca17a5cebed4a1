//! The directory beside a second node, and beside sign-in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::rules::RequestClient;
use session_core::{Result, UserDirectory, UserId, UserStatus, async_trait};
use session_manager::{ExternalSession, NewSession, Rejection};

use crate::world::{World, rejection, user};

#[derive(Debug, Clone, Default)]
struct Users {
    statuses: Arc<Mutex<HashMap<UserId, UserStatus>>>,
    /// How long an answer is under way.
    delay: Arc<Mutex<Duration>>,
}

impl Users {
    fn set(&self, active: bool, version: u64) {
        self.statuses.lock().insert(user("ann"), UserStatus::new(active, version));
    }
}

#[async_trait]
impl UserDirectory for Users {
    async fn lookup(&self, user: &UserId) -> Result<Option<UserStatus>> {
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
