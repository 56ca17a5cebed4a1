//! Two programs on one store, with a Redis cache and bus between them.
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
use session_servers::{Kind, Options, Server};
use tokio::task::block_in_place;
use visitor::{FIREFOX, PHONE, Visitor};

/// Reloads a page until it shows a text.
async fn until_shown(visitor: &Visitor, path: &str, text: &str) {
    visitor.get_until(path, |page| page.html.contains(text)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_reaches_the_other_program_with_and_without_redis() {
    let started = block_in_place(|| Server::for_test(Kind::Redis, &Options::default()));
    let Some(mut redis) = started.unwrap() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("shop.db").display());
    let (here, there) =
        (Program::behind(&redis.url(), &store).await, Program::behind(&redis.url(), &store).await);
    let laptop = Visitor::new(&here, FIREFOX);
    let (mut phone, mut tablet) = (Visitor::new(&here, PHONE), Visitor::new(&here, "Tablet"));
    for visitor in [&laptop, &phone, &tablet] {
        visitor.sign_in("ann", "monstera").await;
    }
    for visitor in [&mut phone, &mut tablet] {
        visitor.go_to(&there);
        until_shown(visitor, "/devices", "This program remembered you").await;
    }
    until_shown(&laptop, "/devices", "News of other programs</dt><dd>arrive").await;

    let phones = laptop.get("/devices").await.device_id("Safari on iPhone").to_owned();
    laptop.post(&format!("/devices/{phones}/sign-out"), &[]).await;
    until_shown(&phone, "/devices", "Sign in to see this page.").await;

    block_in_place(|| redis.kill().unwrap());
    // The breaker opens after five failed calls, and a session in memory causes none.
    for _ in 0..5 {
        Visitor::new(&here, PHONE).sign_in("bob", "calathea").await;
    }
    until_shown(&laptop, "/devices", "away").await;
    let tablets = laptop.get("/devices").await.device_id("Tablet").to_owned();
    laptop.post(&format!("/devices/{tablets}/sign-out"), &[]).await;
    // Without the bus this takes at most the lifetime of a copy.
    until_shown(&tablet, "/devices", "Sign in to see this page.").await;

    block_in_place(|| redis.start_again().unwrap());
    until_shown(&laptop, "/devices", "works").await;
}
