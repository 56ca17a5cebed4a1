//! Sensitive actions, with browsers side by side: confirming the password, and moving a session to
//! another device.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;
#[path = "support/visitor.rs"]
mod visitor;

use std::sync::Arc;
use std::time::Duration;

use axum_devices::{CONFIRM_AFTER, Lifetimes, app, manager};
use reqwest::StatusCode;
use reqwest::header::{RETRY_AFTER, SET_COOKIE};
use session_conformance::faults::{Fault, FaultyStore};
use session_manager::SessionManager;
use session_manager::core::{ErrorKind, ManualClock};
use session_memory::MemoryStore;
use support::Shop;
use visitor::{FIREFOX, PHONE, Page, Visitor};

const QUESTION: &str = "Confirm it’s you";

/// Opens a shop whose clock the test controls.
async fn shop(confirm_after: Duration) -> (Shop, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let manager = SessionManager::builder(MemoryStore::default())
        .with_clock(Arc::clone(&clock))
        .with_sweep_interval(None)
        .build()
        .unwrap();
    (Shop::serve(app(manager, confirm_after)).await, clock)
}

async fn ann(shop: &Shop, user_agent: &str) -> Visitor {
    let visitor = Visitor::new(shop, user_agent);
    visitor.sign_in("ann", "monstera").await;
    visitor
}

async fn confirm(visitor: &Visitor, password: &str) -> Page {
    visitor.post("/account/confirm", &[("password", password)]).await
}

async fn set_recovery(visitor: &Visitor, address: &str) -> Page {
    visitor.post("/account/recovery", &[("address", address)]).await
}

#[tokio::test]
async fn account_page_asks_again_for_the_password_after_a_while() {
    let (shop, clock) = shop(CONFIRM_AFTER).await;
    let asked = Visitor::new(&shop, FIREFOX).get("/account").await;
    assert_eq!(asked.path, "/sign-in?next=/account&notice=sign-in");

    let visitor = ann(&shop, FIREFOX).await;
    let account = visitor.get("/account").await;
    account.assert_shows("Recovery address").assert_shows("None yet.").assert_hides(QUESTION);
    account.assert_shows("in 5 minutes").assert_shows("One factor");
    set_recovery(&visitor, "ann@example.com").await.assert_shows("The recovery address is saved.");
    set_recovery(&visitor, "nonsense").await.assert_shows("That is no e-mail address.");
    visitor.get("/account").await.assert_shows(r#"value="ann@example.com""#);

    // Using the page does not extend the time: only a password does.
    clock.advance(CONFIRM_AFTER - Duration::from_secs(1));
    visitor.get("/account").await.assert_hides(QUESTION);
    clock.advance(Duration::from_secs(1));
    let question = visitor.get("/account").await;
    question.assert_shows(QUESTION).assert_shows("5 minutes ago").assert_hides("ann@example.com");
    // A form that was open for too long changes nothing either.
    assert_eq!(set_recovery(&visitor, "eve@example.com").await.path, "/account");

    for wrong in ["", "calathea", "Monstera"] {
        let page = confirm(&visitor, wrong).await;
        assert_eq!((page.status, page.path.as_str()), (StatusCode::OK, "/account?notice=wrong-password"));
        page.assert_shows("That is not your password. Try again.").assert_shows(QUESTION);
    }
    let confirmed = confirm(&visitor, "monstera").await;
    assert_eq!(confirmed.path, "/account?notice=confirmed");
    confirmed.assert_shows("ann@example.com").assert_hides(QUESTION);
    // The account belongs to the user, so every device shows it.
    ann(&shop, PHONE).await.get("/account").await.assert_shows("ann@example.com");
}

#[tokio::test]
async fn confirming_the_password_invalidates_the_old_token() {
    let (shop, clock) = shop(Duration::from_secs(1)).await;
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let post = |path: &str, cookie: &str, form: &[(&str, &str)]| {
        client.post(format!("{}{path}", shop.url)).header("cookie", cookie).form(form).send()
    };
    let cookie = |answer: &reqwest::Response| {
        let header = answer.headers()[SET_COOKIE].to_str().unwrap();
        header.split_once(';').unwrap().0.to_owned()
    };
    let old = cookie(&post("/sign-in", "", &[("name", "ann"), ("password", "monstera")]).await.unwrap());
    clock.advance(Duration::from_secs(1));
    let wrong = post("/account/confirm", &old, &[("password", "x")]).await.unwrap();
    assert_eq!(wrong.headers().get(SET_COOKIE), None);
    let new = cookie(&post("/account/confirm", &old, &[("password", "monstera")]).await.unwrap());
    assert_ne!(new, old);
    for (cookie, status) in [(&old, StatusCode::UNAUTHORIZED), (&new, StatusCode::OK)] {
        let url = format!("{}/api/sessions/current", shop.url);
        assert_eq!(client.get(url).header("cookie", cookie).send().await.unwrap().status(), status);
    }
}

/// Asks for a code and reads it from the page.
async fn code(desk: &Visitor, form: &[(&str, &str)]) -> String {
    let page = desk.post("/devices/transfer", form).await;
    assert_eq!((page.status, page.headers["cache-control"].to_str().unwrap()), (StatusCode::OK, "no-store"));
    let text = page.html.split_once(r#"<p class="code">"#).unwrap().1.split_once("</p>").unwrap().0;
    let code = text.replace("<wbr>", "").replace("<span>", "").replace("</span>", "");
    assert_eq!((code.len(), code.matches('-').count()), (14, 2), "{code}");
    code
}

async fn redeem(visitor: &Visitor, code: &str) -> Page {
    visitor.post("/redeem", &[("code", code)]).await
}

#[tokio::test]
async fn a_session_moves_from_the_desk_to_the_phone_with_its_cart() {
    let (shop, clock) = shop(CONFIRM_AFTER).await;
    let desk = ann(&shop, FIREFOX).await;
    desk.add("monstera").await;
    desk.get("/devices").await.assert_shows("Use this session on my phone");
    let phone = Visitor::new(&shop, PHONE);
    phone.get("/sign-in").await.assert_shows("Have a code?");
    phone.get("/redeem").await.assert_shows("XXXX-XXXX-XXXX").assert_hides("signs you out");

    // Both stay signed in.
    let first = code(&desk, &[]).await;
    let moved = redeem(&phone, &format!(" {} ", first.to_lowercase())).await;
    assert_eq!(moved.path, "/?notice=moved");
    moved.assert_shows("Hello, Ann").assert_shows("34.00 €");
    let devices = phone.get("/devices").await;
    assert_eq!(devices.devices().len(), 2);
    assert!(
        devices.devices()[0].contains("Safari on iPhone") && devices.devices()[0].contains("This device")
    );
    // The password was entered on the desk, and its age counts from then.
    phone.get("/account").await.assert_hides(QUESTION);
    clock.advance(CONFIRM_AFTER);
    phone.get("/account").await.assert_shows(QUESTION);

    // The code is used up for every client.
    for visitor in [&Visitor::new(&shop, PHONE), &phone] {
        let refused = redeem(visitor, &first).await;
        assert_eq!((refused.status, refused.path.as_str()), (StatusCode::OK, "/redeem?notice=wrong-code"));
        refused.assert_shows("That code is mistyped, was used already, or is older than 2 minutes.");
    }
    phone.get("/").await.assert_shows("Hello, Ann");

    // This time the desk is signed out, but only once the code is used.
    let second = code(&desk, &[("end", "yes")]).await;
    desk.get("/").await.assert_shows("Hello, Ann");
    let tablet = Visitor::new(&shop, "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) Safari/604.1");
    tablet.add("fern").await;
    redeem(&tablet, &second).await.assert_shows("34.00 €").assert_hides("50.50 €");
    assert!(desk.get("/devices").await.path.starts_with("/sign-in"));
    tablet.get("/devices").await.assert_shows("Moved to another device");
}

#[tokio::test]
async fn wrong_old_or_forged_codes_change_nothing() {
    let (shop, clock) = shop(CONFIRM_AFTER).await;
    let desk = ann(&shop, FIREFOX).await;
    let bob = Visitor::new(&shop, PHONE);
    bob.sign_in("bob", "calathea").await;
    bob.get("/redeem").await.assert_shows("You are signed in as Bob.");
    let code = code(&desk, &[]).await;
    for wrong in ["", "0000-0000-0000", "<b>", &code[..13], &"x".repeat(5_000)] {
        redeem(&bob, wrong).await.assert_shows("That code is mistyped").assert_hides("<b>");
    }
    let forged = bob.post_from("https://evil.example", "/redeem", &[("code", &code)]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    bob.get("/").await.assert_shows("Hello, Bob");
    clock.advance(Duration::from_secs(120));
    redeem(&bob, &code).await.assert_shows("That code is mistyped");
    bob.get("/").await.assert_shows("Hello, Bob");

    let asked = Visitor::new(&shop, PHONE).post("/devices/transfer", &[]).await;
    assert!(asked.path.starts_with("/sign-in"));
    let stranger = Visitor::new(&shop, PHONE);
    stranger.add("fern").await;
    assert!(stranger.post("/devices/transfer", &[]).await.path.starts_with("/sign-in"));
}

#[tokio::test]
async fn code_guessing_is_rate_limited() {
    let shop = Shop::open(manager(MemoryStore::default(), Lifetimes::default(), None).unwrap()).await;
    let guesser = Visitor::new(&shop, PHONE);
    for _ in 0..500 {
        let page = redeem(&guesser, "0000-0000-0000").await;
        if page.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(page.headers[RETRY_AFTER], "1");
            page.assert_shows("Slowly, please").assert_shows(r#"href="/redeem""#);
            return;
        }
    }
    panic!("500 guesses were allowed");
}

#[tokio::test]
async fn stopped_store_uses_up_neither_code_nor_password() {
    let store = FaultyStore::new(MemoryStore::default());
    let faults = store.faults();
    let manager = SessionManager::builder(store).with_sweep_interval(None).build().unwrap();
    let shop = Shop::serve(app(manager, Duration::ZERO)).await;
    let desk = ann(&shop, FIREFOX).await;
    let code = code(&desk, &[]).await;
    let phone = Visitor::new(&shop, PHONE);
    faults.arm(Fault::error(ErrorKind::Unavailable));
    for page in [redeem(&phone, &code).await, confirm(&desk, "monstera").await, desk.get("/account").await] {
        assert_eq!((page.status, page.headers.get(SET_COOKIE)), (StatusCode::SERVICE_UNAVAILABLE, None));
        page.assert_shows("One moment, please");
    }
    faults.disarm();
    redeem(&phone, &code).await.assert_shows("Hello, Ann");
    // No password is younger than zero: the page keeps asking, and the session is unchanged.
    confirm(&desk, "monstera").await.assert_shows(QUESTION);
    desk.get("/").await.assert_shows("Hello, Ann");
}
