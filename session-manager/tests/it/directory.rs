use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use session_conformance::faults::Fault;
use session_core::{EndReason, Error, ErrorKind, Result, UserDirectory, UserId, UserStatus, async_trait};
use session_manager::{NewSession, Rejection};

use crate::world::{World, kind, rejection, unavailable, user};

#[derive(Debug, Clone, Default)]
struct Users(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    users: Mutex<HashMap<UserId, UserStatus>>,
    asked: AtomicU32,
    down: Mutex<Option<ErrorKind>>,
    hangs: Mutex<bool>,
}

impl Users {
    fn set(&self, name: &str, active: bool, version: u64) {
        self.0.users.lock().insert(user(name), UserStatus::new(active, version));
    }

    fn asked(&self) -> u32 {
        self.0.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl UserDirectory for Users {
    async fn lookup(&self, user: &UserId) -> Result<Option<UserStatus>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if *self.0.hangs.lock() {
            std::future::pending::<()>().await;
        }
        match *self.0.down.lock() {
            Some(kind) => Err(Error::new(kind, "directory", "lookup")),
            None => Ok(self.0.users.lock().get(user).copied()),
        }
    }
}

fn world() -> (World, Users) {
    let users = Users::default();
    users.set("ann", true, 1);
    let directory = users.clone();
    (World::with(|builder| builder.with_directory(directory)), users)
}

fn ann(version: u64) -> NewSession {
    NewSession::for_user(user("ann")).with_credential_version(version)
}

#[tokio::test]
async fn a_disabled_user_is_refused_within_the_lag_and_comes_back_when_enabled() {
    let (world, users) = world();
    let token = world.manager.create(ann(1)).await.unwrap().token.expose();
    users.set("ann", false, 1);
    world.pass(29);
    assert!(world.validate(&token).await.is_ok(), "the stated lag");
    world.pass(1);
    assert_eq!(rejection(world.validate(&token).await), Rejection::UserInactive);
    users.set("ann", true, 1);
    world.pass(30);
    assert!(world.validate(&token).await.is_ok(), "nothing was ended");
}

#[tokio::test]
async fn a_user_who_is_gone_is_signed_out_for_good() {
    let (world, users) = world();
    let token = world.manager.create(ann(1)).await.unwrap().token.expose();
    let other = world.manager.create(ann(1)).await.unwrap().token.expose();
    users.0.users.lock().clear();
    world.manager.forget_user(&user("ann"));
    for token in [&token, &other] {
        let Rejection::Ended(ended) = rejection(world.validate(token).await) else { panic!("not ended") };
        assert_eq!(ended.reason, EndReason::UserInactive);
    }
    world.settle().await;
    users.set("ann", true, 1);
    world.manager.forget_user(&user("ann"));
    assert_eq!(world.live().await, 0);
    for token in [&token, &other] {
        let answer = rejection(world.validate(token).await);
        assert!(
            matches!(answer, Rejection::Ended(_)),
            "a user who registers under the name later is another one"
        );
    }
    assert!(world.manager.create(ann(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_password_change_signs_every_device_out() {
    let (world, users) = world();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(world.manager.create(ann(1)).await.unwrap().token.expose());
    }
    users.set("ann", true, 2);
    world.manager.forget_user(&user("ann"));
    let here = world.manager.create(ann(2)).await.unwrap().token.expose();
    for token in &tokens {
        let Rejection::Ended(ended) = rejection(world.validate(token).await) else { panic!("not ended") };
        assert_eq!(ended.reason, EndReason::CredentialChanged);
    }
    assert!(world.validate(&here).await.is_ok());
    world.settle().await;
    assert_eq!(world.live().await, 1, "those that were seen are ended in the store too");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_outdated_session_is_carried_through() {
    let (world, users) = world();
    let created = world.manager.create(ann(1)).await.unwrap();
    users.set("ann", true, 2);
    world.manager.forget_user(&user("ann"));
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("end").at_call(1));
    assert!(matches!(rejection(world.validate(&created.token.expose()).await), Rejection::Ended(_)));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        world.stored(created.session.id()).await.ended().unwrap().reason,
        EndReason::CredentialChanged
    );
}

#[tokio::test]
async fn a_sign_in_under_way_with_the_old_password_does_not_survive() {
    let (world, users) = world();
    let before_the_check = ann(1);
    users.set("ann", true, 2);
    assert_eq!(kind(world.manager.create(before_the_check).await), ErrorKind::Invalid);
    assert_eq!(world.live().await, 0);
    users.set("ann", false, 2);
    assert_eq!(kind(world.manager.create(ann(2)).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn the_directory_is_asked_once_per_lag() {
    let (world, users) = world();
    let token = world.manager.create(ann(1)).await.unwrap().token.expose();
    let before = users.asked();
    for _ in 0..100 {
        world.validate(&token).await.unwrap();
    }
    assert_eq!(users.asked(), before, "the sign-in asked");
    world.pass(30);
    for _ in 0..100 {
        world.validate(&token).await.unwrap();
    }
    assert_eq!(users.asked(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_fails_signs_no_user_out() {
    let (world, users) = world();
    let token = world.manager.create(ann(1)).await.unwrap().token.expose();
    world.pass(30);
    *users.0.down.lock() = Some(ErrorKind::Unavailable);
    assert_eq!(unavailable(world.validate(&token).await), ErrorKind::Unavailable);
    *users.0.down.lock() = None;
    *users.0.hangs.lock() = true;
    let started = tokio::time::Instant::now();
    assert_eq!(unavailable(world.validate(&token).await), ErrorKind::Timeout);
    assert!(started.elapsed() <= Duration::from_millis(2_100));
    *users.0.hangs.lock() = false;
    assert!(world.validate(&token).await.is_ok());
}

#[tokio::test]
async fn anonymous_sessions_ask_no_directory() {
    let (world, users) = world();
    let token = world.manager.create(NewSession::anonymous()).await.unwrap().token.expose();
    assert!(world.validate(&token).await.is_ok());
    assert_eq!(users.asked(), 0);
}
