//! Every feature of the shop, with two browsers side by side over real connections with real
//! cookies.
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

use axum_devices::{DEMO_USERS, Lifetimes, manager};
use reqwest::header::{ACCEPT, COOKIE, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE};
use reqwest::{Client, Response, StatusCode, redirect};
use session_conformance::faults::{Fault, FaultyStore};
use session_manager::SessionManager;
use session_manager::core::{ErrorKind, ExpiryPolicy, Lifetime, ManualClock};
use session_memory::MemoryStore;
use support::Shop;
use visitor::{FIREFOX, HTML, PHONE, Page, Visitor};

#[tokio::test]
async fn two_browsers_walk_through_the_shop() {
    let shop = Shop::open(manager(MemoryStore::default(), Lifetimes::default(), None).unwrap()).await;
    let laptop = Visitor::new(&shop, FIREFOX);
    let phone = Visitor::new(&shop, PHONE);
    let [ann, bob] = DEMO_USERS;

    // Browsing creates no session.
    let first = laptop.get("/").await;
    assert_eq!((first.status, first.headers.get(SET_COOKIE)), (StatusCode::OK, None));
    first.assert_shows("Nothing yet.").assert_hides(r#"href="/devices""#);

    // A cart can be filled before signing in.
    laptop.add("monstera").await.assert_shows("Added to your cart.");
    laptop.add("monstera").await;
    laptop.add("fern").await.assert_shows("84.50 €");
    assert_eq!(laptop.post("/cart/remove", &[("product", "fern")]).await.path, "/?notice=removed");
    laptop.get("/").await.assert_shows("68.00 €").assert_shows("anonymous session");

    // The devices page requires a user. It is shown after signing in.
    let asked = laptop.get("/devices").await;
    assert_eq!(asked.path, "/sign-in?next=/devices&notice=sign-in");
    asked.assert_shows("Sign in to see this page.").assert_shows(ann.password).assert_shows(bob.password);

    // A wrong password and an unknown name look the same.
    for (name, password) in [(ann.id, bob.password), ("eve", "x"), (ann.id, "")] {
        let wrong = laptop.sign_in(name, password).await;
        assert_eq!(wrong.path, "/sign-in?next=/devices&notice=wrong");
        wrong.assert_shows("That name and password do not belong together.");
    }

    // The right password signs in and keeps the cart.
    let devices = laptop.sign_in(ann.id, ann.password).await;
    assert_eq!(devices.path, "/devices?notice=signed-in");
    assert_eq!(devices.devices().len(), 1);
    laptop.get("/").await.assert_shows("Hello, Ann").assert_shows("68.00 €");

    // The same user on the phone: each device sees both and marks itself.
    let on_phone = phone.sign_in(ann.id, ann.password).await;
    assert_eq!(on_phone.devices().len(), 2);
    let current = |page: &Page| {
        let marked: Vec<_> = page
            .devices()
            .into_iter()
            .filter(|entry| entry.contains("This device"))
            .map(str::to_owned)
            .collect();
        assert_eq!(marked.len(), 1);
        marked[0].clone()
    };
    assert!(current(&on_phone).contains("Safari on iPhone") && current(&on_phone).contains(PHONE));
    let on_laptop = laptop.get("/devices").await;
    assert!(current(&on_laptop).contains("Firefox on Linux") && current(&on_laptop).contains("127.0.0.1"));
    on_laptop.assert_shows("in 29 minutes");
    // Carts belong to sessions, not to users.
    phone.get("/").await.assert_shows("Nothing yet.");

    // The laptop names the phone, and invalid names are refused.
    let id = on_laptop.device_id("Safari on iPhone").to_owned();
    let rename = format!("/devices/{id}/rename");
    laptop
        .post(&rename, &[("label", "  Ann's <phone> 📱 ")])
        .await
        .assert_shows("The device has its new name.");
    phone.get("/devices").await.assert_shows("Ann's &lt;phone&gt; 📱").assert_hides("<phone>");
    for label in ["", "   ", &"x".repeat(101)] {
        laptop.post(&rename, &[("label", label)]).await.assert_shows("A name has 1 to 100 characters.");
    }

    // Another user cannot see, name or end it.
    let stranger = Visitor::new(&shop, FIREFOX);
    let theirs = stranger.sign_in(bob.id, bob.password).await;
    assert_eq!(theirs.devices().len(), 1);
    for action in ["rename", "sign-out"] {
        let refused = stranger.post(&format!("/devices/{id}/{action}"), &[("label", "mine")]).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
        refused.assert_shows("Nothing here");
    }

    // A form on another site changes nothing.
    let forged = laptop.post_from("https://evil.example", "/devices/others/sign-out", &[]).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
    forged.assert_shows("That came from somewhere else");
    assert_eq!(laptop.get("/devices").await.devices().len(), 2);

    // The laptop signs the phone out, which takes effect on the phone's next request.
    let after = laptop.post(&format!("/devices/{id}/sign-out"), &[]).await;
    after.assert_shows("The device is signed out.").assert_shows("Signed out from another device");
    assert_eq!(after.devices().len(), 1);
    assert_eq!(phone.get("/devices").await.path, "/sign-in?next=/devices&notice=sign-in");
    phone.get("/").await.assert_hides("Hello, Ann");

    // The phone and a tablet sign in, then the laptop signs out both at once.
    phone.sign_in(ann.id, ann.password).await;
    let tablet = Visitor::new(&shop, "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) Safari/604.1");
    assert_eq!(tablet.sign_in(ann.id, ann.password).await.devices().len(), 3);
    let alone = laptop.post("/devices/others/sign-out", &[]).await;
    alone.assert_shows("Your other devices are signed out.");
    assert_eq!(alone.devices().len(), 1);
    for out in [&phone, &tablet] {
        assert!(out.get("/devices").await.path.starts_with("/sign-in"));
    }
    assert_eq!(stranger.get("/devices").await.devices().len(), 1);

    // The laptop signs out and in again, and sees the history.
    laptop.post("/sign-out", &[]).await.assert_shows("You are signed out.").assert_shows("Nothing yet.");
    let history = laptop.sign_in(ann.id, ann.password).await;
    history.assert_shows("Signed out on the device").assert_shows("Signed out from another device");
    assert_eq!(history.html.matches("history-reason").count(), 4);
}

/// Sends a request without cookie jar and redirects, to inspect the headers.
async fn raw(shop: &Shop, request: impl FnOnce(Client) -> reqwest::RequestBuilder) -> Response {
    let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build().unwrap();
    request(client).header(ACCEPT, HTML).header(ORIGIN, &shop.url).send().await.unwrap()
}

#[tokio::test]
async fn remembered_session_has_a_long_lived_cookie() {
    let lifetimes = Lifetimes::new(Duration::from_secs(600), Duration::from_secs(3_600));
    let shop = Shop::open(manager(MemoryStore::default(), lifetimes, None).unwrap()).await;
    let url = format!("{}/sign-in", shop.url);
    for (remember, max_age) in [(None, "Max-Age=3600"), (Some("yes"), "Max-Age=2592000")] {
        let mut form = vec![("name", "ann"), ("password", "monstera")];
        form.extend(remember.map(|yes| ("remember", yes)));
        let answer = raw(&shop, |client| client.post(&url).form(&form)).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        assert!(cookie.starts_with("session=") && cookie.ends_with(max_age), "{cookie}");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    }
    let remembered = Visitor::new(&shop, FIREFOX);
    let form = [("name", "ann"), ("password", "monstera"), ("remember", "yes"), ("next", "/devices")];
    remembered.post("/sign-in", &form).await.assert_shows("Remembered").assert_shows("in 29 days");
}

#[tokio::test]
async fn invalid_cookie_shows_the_anonymous_page() {
    let shop = Shop::open(manager(MemoryStore::default(), Lifetimes::default(), None).unwrap()).await;
    let long = "x".repeat(7_000);
    for value in ["", "garbage", "a.b", "%00%ff", "\"quoted\"", &long, "AZtjmqt-cAGiuLZ8RVPSBQ.mKYk"] {
        let cookie = format!("session={value}");
        let page = raw(&shop, |client| client.get(&shop.url).header(COOKIE, &cookie)).await;
        assert_eq!(page.status(), StatusCode::OK, "{value:?}");
        assert!(page.headers()[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"), "{value:?}");
        assert!(page.text().await.unwrap().contains("Plants for people with windows"));
    }
    let twice = raw(&shop, |client| client.get(&shop.url).header(COOKIE, "session=a; session=b")).await;
    assert_eq!((twice.status(), twice.headers().get(SET_COOKIE)), (StatusCode::OK, None));
}

#[tokio::test]
async fn stopped_store_is_a_503_page_and_keeps_users_signed_in() {
    let store = FaultyStore::new(MemoryStore::default());
    let faults = store.faults();
    let shop = Shop::open(SessionManager::builder(store).with_sweep_interval(None).build().unwrap()).await;
    let visitor = Visitor::new(&shop, FIREFOX);
    visitor.sign_in("ann", "monstera").await;
    visitor.add("fern").await;

    faults.arm(Fault::error(ErrorKind::Unavailable));
    for page in [visitor.get("/").await, visitor.get("/devices").await, visitor.add("fern").await] {
        assert_eq!((page.status, page.headers.get(SET_COOKIE)), (StatusCode::SERVICE_UNAVAILABLE, None));
        assert_eq!(page.headers[RETRY_AFTER], "5");
        page.assert_shows("One moment, please").assert_shows("You are still signed in");
    }
    faults.disarm();
    visitor.get("/").await.assert_shows("Hello, Ann").assert_shows("16.50 €");
}

#[tokio::test]
async fn concurrent_additions_to_the_cart_are_all_kept() {
    let store = FaultyStore::new(MemoryStore::default());
    let faults = store.faults();
    let deadline = Duration::from_secs(20);
    let builder = SessionManager::builder(store).with_sweep_interval(None).with_store_deadline(deadline);
    let shop = Shop::open(builder.build().unwrap()).await;
    let visitor = Visitor::new(&shop, FIREFOX);
    visitor.add("fern").await;
    // The first window is slow to write, and the second one writes in between.
    faults.reset_calls();
    faults.arm(Fault::delay(Duration::from_secs(3)).on("update").at_call(1));
    let second = async {
        while faults.calls("update") == 0 {
            tokio::task::yield_now().await;
        }
        visitor.add("cactus").await
    };
    let (first, second) = tokio::join!(visitor.add("fern"), second);
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    visitor.get("/").await.assert_shows("44.90 €");
}

#[tokio::test]
async fn change_that_keeps_conflicting_is_reported() {
    let store = FaultyStore::new(MemoryStore::default());
    let faults = store.faults();
    let deadline = Duration::from_secs(1);
    let builder = SessionManager::builder(store).with_sweep_interval(None).with_store_deadline(deadline);
    let shop = Shop::open(builder.build().unwrap()).await;
    let visitor = Visitor::new(&shop, FIREFOX);
    visitor.add("fern").await;
    faults.arm(Fault::error(ErrorKind::Conflict).on("update"));
    let overtaken = visitor.add("fern").await;
    assert_eq!(overtaken.status, StatusCode::CONFLICT);
    overtaken.assert_shows("Two changes at once");
    faults.disarm();
    visitor.get("/").await.assert_shows("16.50 €");
}

#[tokio::test]
async fn an_idle_session_ends_and_shows_in_the_history() {
    let minute = Duration::from_secs(60);
    let clock = Arc::new(ManualClock::default());
    let lifetime = Lifetime::new(Some(2 * minute), 60 * minute).unwrap();
    let manager = SessionManager::builder(MemoryStore::default())
        .with_clock(Arc::clone(&clock))
        .with_expiry(ExpiryPolicy::default().with_standard(lifetime))
        .with_sweep_interval(None)
        .build()
        .unwrap();
    let shop = Shop::open(manager.clone()).await;
    let visitor = Visitor::new(&shop, FIREFOX);
    let devices = visitor.sign_in("ann", "monstera").await;
    // 12 seconds of the two minutes may have passed, because not every view is written.
    devices
        .assert_shows("in 1 minute")
        .assert_shows(r#"hidden data-left="108" data-grace="13" data-warn="60""#);

    clock.advance(2 * minute);
    assert!(visitor.get("/devices").await.path.starts_with("/sign-in"));
    manager.sweep().await.unwrap();
    clock.advance(minute);
    let devices = visitor.sign_in("ann", "monstera").await;
    devices.assert_shows("Not used for too long").assert_shows("1 minute ago");
    assert_eq!(devices.devices().len(), 1);
}

#[tokio::test]
async fn api_clients_get_json_and_browsers_get_pages() {
    let shop = Shop::open(manager(MemoryStore::default(), Lifetimes::default(), None).unwrap()).await;
    let client = Client::builder().cookie_store(true).no_proxy().build().unwrap();
    let refused = client.get(format!("{}/api/sessions", shop.url)).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let form = [("name", "ann"), ("password", "monstera")];
    client.post(format!("{}/sign-in", shop.url)).form(&form).send().await.unwrap();
    let listing: serde_json::Value =
        client.get(format!("{}/api/sessions", shop.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(listing["sessions"][0]["current"], true);
}

#[tokio::test]
async fn sign_in_redirects_only_to_known_pages() {
    let shop = Shop::open(manager(MemoryStore::default(), Lifetimes::default(), None).unwrap()).await;
    for next in
        ["https://evil.example", "//evil.example", "/\\evil.example", "/sign-out", "javascript:alert(1)"]
    {
        let form = [("name", "ann"), ("password", "monstera"), ("next", next)];
        let answer = raw(&shop, |client| client.post(format!("{}/sign-in", shop.url)).form(&form)).await;
        assert_eq!(answer.headers()[LOCATION], "/?notice=signed-in", "{next}");
    }
    let page = raw(&shop, |client| {
        client.get(format!("{}/sign-in?next=%22%3E%3Cscript%3E&notice=%3Cb%3E", shop.url))
    })
    .await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(!page.text().await.unwrap().contains("\"><script>"));
}
