//! Sessions outlive the program, however it is stopped, if it is started again on the same store.
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

use std::path::Path;
use std::time::{Duration, SystemTime};

use program::Program;
use rustix::process::Signal;
use session_servers::{Kind, is_required};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use visitor::{FIREFOX, PHONE, Visitor};

const TABLET: &str = "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) Safari/604.1";

/// Two users on three devices before and after a restart. One device is signed out before it.
async fn story(store: &str, name: &str, signal: Signal) {
    let shop = Program::on(store, name).await;
    let mut laptop = Visitor::new(&shop, FIREFOX);
    let mut phone = Visitor::new(&shop, PHONE);
    let mut lost = Visitor::new(&shop, TABLET);
    let mut bob = Visitor::new(&shop, FIREFOX);
    laptop.add("monstera").await;
    for visitor in [&lost, &phone, &laptop] {
        visitor.sign_in("ann", "monstera").await;
    }
    bob.sign_in("bob", "calathea").await;
    laptop.add("fern").await.assert_shows("50.50 €");
    let devices = laptop.get("/devices").await;
    assert_eq!(devices.devices().len(), 3);
    let id = devices.device_id("Safari on iPhone");
    laptop.post(&format!("/devices/{id}/rename"), &[("label", "Ann's phone")]).await;
    let id = devices.device_id("iPad");
    let after = laptop.post(&format!("/devices/{id}/sign-out"), &[]).await;
    after.assert_shows("The device is signed out.");

    let status = shop.end_by(signal).await;
    assert_eq!(status.success(), signal != Signal::KILL, "{status}");
    let shop = Program::on(store, name).await;
    for visitor in [&mut laptop, &mut phone, &mut lost, &mut bob] {
        visitor.go_to(&shop);
    }

    laptop.get("/").await.assert_shows("Hello, Ann").assert_shows("50.50 €");
    bob.get("/").await.assert_shows("Hello, Bob").assert_shows("Nothing yet.");
    let devices = laptop.get("/devices").await;
    assert_eq!(devices.devices().len(), 2);
    devices.assert_shows("Ann's phone").assert_shows("Signed out from another device");
    assert!(devices.devices()[0].contains("This device") && devices.devices()[0].contains("Firefox"));
    // The tablet still has the cookie of the session that was ended before.
    assert_eq!(lost.get("/devices").await.path, "/sign-in?next=/devices&notice=sign-in");
    lost.get("/").await.assert_hides("Hello, Ann");

    // The sessions are fully usable: other devices can still be signed out.
    phone.get("/devices").await.assert_shows("Ann's phone");
    laptop.post("/devices/others/sign-out", &[]).await.assert_shows("Your other devices are signed out.");
    assert!(phone.get("/devices").await.path.starts_with("/sign-in"));
    assert_eq!(bob.get("/devices").await.devices().len(), 1);
}

async fn story_on_a_file(signal: Signal) {
    let folder = TempDir::new().unwrap();
    story(&url(&folder.path().join("shop.db")), "sessions", signal).await;
}

fn url(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

/// Returns the URL of a server for tests, or prints one line if there is none.
fn server(kind: Kind, variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    assert!(
        url.is_some() || !is_required(kind),
        "SESSION_TEST_REQUIRE asks for {kind}, and {variable} is not set"
    );
    if url.is_none() {
        println!("skipped: {variable} is not set");
    }
    url
}

/// Returns an unused name for a table, a collection or a key prefix, because tests share a server.
fn fresh_name(name: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("shop_{name}_{}_{}", std::process::id(), now.as_nanos())
}

#[tokio::test]
async fn sessions_survive_a_kill() {
    story_on_a_file(Signal::KILL).await;
}

#[tokio::test]
async fn sessions_survive_sigterm() {
    story_on_a_file(Signal::TERM).await;
}

#[tokio::test]
async fn sessions_survive_ctrl_c() {
    story_on_a_file(Signal::INT).await;
}

#[tokio::test]
async fn sessions_survive_a_restart_on_postgres() {
    let Some(url) = server(Kind::Postgres, "SESSION_TEST_POSTGRES_URL") else { return };
    story(&url, &fresh_name("kill"), Signal::KILL).await;
    story(&url, &fresh_name("term"), Signal::TERM).await;
}

#[tokio::test]
async fn sessions_survive_a_restart_on_mysql() {
    let Some(url) = server(Kind::Mysql, "SESSION_TEST_MYSQL_URL") else { return };
    story(&url, &fresh_name("kill"), Signal::KILL).await;
    story(&url, &fresh_name("term"), Signal::TERM).await;
}

#[tokio::test]
async fn sessions_survive_a_restart_on_mongodb() {
    let Some(url) = server(Kind::Mongodb, "SESSION_TEST_MONGODB_URL") else { return };
    story(&url, &fresh_name("kill"), Signal::KILL).await;
    story(&url, &fresh_name("term"), Signal::TERM).await;
}

#[tokio::test]
async fn sessions_survive_a_restart_on_redis() {
    let Some(url) = server(Kind::Redis, "SESSION_TEST_REDIS_URL") else { return };
    story(&url, &fresh_name("kill"), Signal::KILL).await;
    story(&url, &fresh_name("term"), Signal::TERM).await;
}

#[tokio::test]
async fn two_programs_on_one_file_share_sessions() {
    let folder = TempDir::new().unwrap();
    two_programs(&url(&folder.path().join("shop.db")), "sessions").await;
}

#[tokio::test]
async fn two_programs_on_one_redis_share_sessions() {
    let Some(url) = server(Kind::Redis, "SESSION_TEST_REDIS_URL") else { return };
    two_programs(&url, &fresh_name("two")).await;
}

#[tokio::test]
async fn two_programs_on_one_mongodb_share_sessions() {
    let Some(url) = server(Kind::Mongodb, "SESSION_TEST_MONGODB_URL") else { return };
    two_programs(&url, &fresh_name("two")).await;
}

async fn two_programs(store: &str, name: &str) {
    let first = Program::on(store, name).await;
    let second = Program::on(store, name).await;
    let mut laptop = Visitor::new(&first, FIREFOX);
    let phone = Visitor::new(&second, PHONE);
    laptop.sign_in("ann", "monstera").await;
    assert_eq!(phone.sign_in("ann", "monstera").await.devices().len(), 2);
    laptop.go_to(&second);
    laptop.add("fern").await.assert_shows("Hello, Ann");
    laptop.go_to(&first);
    laptop.get("/").await.assert_shows("16.50 €");
    laptop.post("/devices/others/sign-out", &[]).await;
    assert!(phone.get("/devices").await.path.starts_with("/sign-in"));
}

#[tokio::test]
async fn pending_touches_are_written_at_shutdown() {
    // A last-seen update is written once the previous one is older than a tenth of this.
    const IDLE: Duration = Duration::from_secs(10);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("shop.db");
    let mut command = program::command();
    command.env("STORE_URL", url(&file)).args(["--idle", "10s"]);
    let shop = Program::start(command).await;
    let visitor = Visitor::new(&shop, FIREFOX);
    visitor.sign_in("ann", "monstera").await;
    tokio::time::sleep(IDLE / 10 + Duration::from_millis(100)).await;
    visitor.get("/").await.assert_shows("Hello, Ann");
    assert!(shop.end_by(Signal::TERM).await.success());

    let mut connection = SqliteConnection::connect(&url(&file)).await.unwrap();
    let question = "SELECT last_seen_at - created_at FROM sessions";
    let seen_after: i64 = sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap();
    assert!(seen_after >= 1_000, "last seen {seen_after} ms after its creation");
}

#[tokio::test]
async fn unfinished_request_does_not_block_shutdown() {
    let folder = TempDir::new().unwrap();
    let shop = Program::on(url(&folder.path().join("shop.db")), "sessions").await;
    let _idle = TcpStream::connect(shop.address()).await.unwrap();
    let mut slow = TcpStream::connect(shop.address()).await.unwrap();
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nname=",
        shop.address()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    Visitor::new(&shop, FIREFOX).get("/").await.assert_shows("Plants for people with windows");
    assert!(shop.end_by(Signal::TERM).await.success());
}

#[tokio::test]
async fn default_store_is_a_file_in_the_current_folder() {
    let folder = TempDir::new().unwrap();
    let mut command = program::command();
    command.current_dir(folder.path());
    let shop = Program::start(command).await;
    let file = folder.path().canonicalize().unwrap().join("axum-devices.db");
    assert!(file.is_file());
    assert!(shop.printed.contains(&format!("Sessions are in {}", file.display())), "{:?}", shop.printed);
}

#[tokio::test]
async fn store_option_takes_precedence_over_variables() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().canonicalize().unwrap().join(name);
    for (option, variables, named) in [
        (Some("--store"), ["a", "b"], "option"),
        (Some("--database"), ["a", "b"], "option"),
        (None, ["a", "b"], "a"),
        (None, ["", "b"], "b"),
    ] {
        let mut command = program::command();
        command.args(option.map(|name| format!("{name}={}", url(&file("option")))));
        for (variable, value) in ["STORE_URL", "DATABASE_URL"].into_iter().zip(variables) {
            if !value.is_empty() {
                command.env(variable, url(&file(value)));
            }
        }
        let printed = Program::start(command).await.printed.clone();
        assert!(
            printed.contains(&format!("Sessions are in {}", file(named).display())),
            "{named}: {printed:?}"
        );
    }
}

#[tokio::test]
async fn unusable_store_ends_the_program_with_advice() {
    for (url, advice) in [
        ("cassandra://ann:secret@localhost", "begins with postgres://"),
        ("mongodb://ann:secret@localhost", "names no database"),
        ("mongodb://ann:secret@127.0.0.1:1/shop", "cargo xtask serve mongodb"),
        ("redis://ann:secret@127.0.0.1:1/", "cargo xtask serve redis"),
        ("rediss://ann:secret@127.0.0.1:1/", "without TLS"),
        ("postgres://ann:secret@127.0.0.1:1/shop", "Start the server"),
        ("mysql://ann:secret@127.0.0.1:1/shop", "Start the server"),
        ("sqlite:missing-folder/shop.db", "a folder that exists"),
        ("sqlite:", "names no file"),
        ("", "begins with postgres://"),
    ] {
        let mut command = program::command();
        command.env("STORE_URL", url);
        let output = program::output(command).await;
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{url}: {message}");
        assert!(message.starts_with("error: ") && message.contains(advice), "{url}: {message}");
        assert!(!message.contains("secret") && output.stdout.is_empty(), "{url}: {message}");
    }
}
