//! Outages of the store. The shop reports them, keeps its users signed in, and recovers by itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "support/program.rs"]
mod program;
#[path = "support/visitor.rs"]
mod visitor;

use program::Program;
use reqwest::StatusCode;
use reqwest::header::{RETRY_AFTER, SET_COOKIE};
use session_servers::{Kind, Options, Server};
use visitor::{FIREFOX, PHONE, Page, Visitor};

/// Stops a server with `leave` and restores it with `come_back` while two devices are signed in.
async fn story(kind: Kind, leave: fn(&mut Server), come_back: fn(&mut Server)) {
    let durable = Options::default().with_durable(true);
    let started = tokio::task::spawn_blocking(move || Server::for_test(kind, &durable)).await.unwrap();
    let Some(mut server) = started.unwrap() else { return };
    let shop = Program::on(server.url(), "shop").await;
    let laptop = Visitor::new(&shop, FIREFOX);
    let phone = Visitor::new(&shop, PHONE);
    for visitor in [&phone, &laptop] {
        visitor.sign_in("ann", "monstera").await;
    }
    laptop.add("fern").await.assert_shows("16.50 €");

    tokio::task::block_in_place(|| leave(&mut server));
    for page in [laptop.get("/").await, laptop.get("/devices").await, laptop.add("cactus").await] {
        assert_is_outage(&page);
    }
    // Pages without a session still work, and signing in does not.
    let stranger = Visitor::new(&shop, PHONE);
    assert_eq!(stranger.get("/sign-in").await.status, StatusCode::OK);
    assert_eq!(stranger.sign_in("bob", "calathea").await.status, StatusCode::SERVICE_UNAVAILABLE);

    tokio::task::block_in_place(|| come_back(&mut server));
    laptop.get_until("/", is_back).await.assert_shows("Hello, Ann").assert_shows("16.50 €");
    let devices = laptop.get_until("/devices", is_back).await;
    assert_eq!(devices.devices().len(), 2);
    let id = devices.device_id("Safari on iPhone");
    laptop.post(&format!("/devices/{id}/sign-out"), &[]).await.assert_shows("The device is signed out.");
    assert_eq!(phone.get("/devices").await.path, "/sign-in?next=/devices&notice=sign-in");
}

/// Asserts a 503 that keeps the cookie, because the session may still be live.
#[track_caller]
fn assert_is_outage(page: &Page) {
    assert_eq!((page.status, page.headers.get(SET_COOKIE)), (StatusCode::SERVICE_UNAVAILABLE, None));
    assert_eq!(page.headers[RETRY_AFTER], "5");
    page.assert_shows("One moment, please").assert_shows("You are still signed in");
}

/// Returns true if the page works again. Until then it must be an outage page.
fn is_back(page: &Page) -> bool {
    let is_back = page.status == StatusCode::OK;
    if !is_back {
        assert_is_outage(page);
    }
    is_back
}

async fn story_of_a_crash(kind: Kind) {
    story(kind, |server| server.kill().unwrap(), |server| server.start_again().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_signed_in_when_redis_crashes() {
    story_of_a_crash(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_signed_in_when_redis_hangs() {
    story(Kind::Redis, |server| server.pause().unwrap(), |server| server.resume().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_signed_in_when_postgres_crashes() {
    story_of_a_crash(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_signed_in_when_mysql_crashes() {
    story_of_a_crash(Kind::Mysql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_signed_in_when_mongodb_crashes() {
    story_of_a_crash(Kind::Mongodb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_signed_in_when_mongodb_hangs() {
    story(Kind::Mongodb, |server| server.pause().unwrap(), |server| server.resume().unwrap()).await;
}
