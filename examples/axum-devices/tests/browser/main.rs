//! The shop in a real browser: its behaviour and its looks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod cdp;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum_devices::{CONFIRM_AFTER, Lifetimes, app, manager};
use cdp::Browser;
use session_manager::core::{ClientInfo, ExpiryPolicy, Lifetime, ManualClock};
use session_manager::{NewSession, SessionManager};
use session_memory::MemoryStore;
use support::Shop;

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                     Version/18.5 Mobile/15E148 Safari/604.1";

/// Starts a browser, or prints one line if none is installed.
async fn browser() -> Option<Browser> {
    if let Some(program) = cdp::installed() {
        return Some(Browser::start(&program).await);
    }
    let required = std::env::var("SESSION_TEST_REQUIRE").unwrap_or_default();
    let is_required = required.split([',', ' ']).any(|name| name == "chromium");
    assert!(!is_required, "SESSION_TEST_REQUIRE names chromium, and none is installed");
    println!("skipped: no Chromium is installed");
    None
}

/// Returns the folder for screenshots, in the system's temporary folder.
fn pictures() -> PathBuf {
    let folder = std::env::temp_dir().join("axum-devices");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

async fn sign_in(browser: &mut Browser, shop: &Shop, user: &str, password: &str) {
    browser.open(&format!("{}/sign-in", shop.url)).await;
    browser.type_into("[name=name]", user).await;
    browser.type_into("[name=password]", password).await;
    browser.enter().await;
}

/// Creates a session of Ann on a phone.
async fn phone(manager: &SessionManager) {
    let client = ClientInfo::new(Some("203.0.113.24".parse().unwrap()), Some(PHONE));
    let new = NewSession::for_user("ann".parse().unwrap()).with_username("Ann").with_client(client);
    manager.create(new.with_remember(true)).await.unwrap();
}

#[tokio::test]
async fn browser_signs_in_and_signs_the_other_device_out() {
    let Some(mut browser) = browser().await else { return };
    let manager = manager(MemoryStore::default(), Lifetimes::default(), None).unwrap();
    let shop = Shop::open(manager.clone()).await;
    phone(&manager).await;

    browser.open(&shop.url).await;
    browser.follow(".product:nth-child(1) button").await;
    browser.follow(".product:nth-child(3) button").await;
    assert_eq!(browser.eval("document.querySelector('.count').innerText").await, "2");
    browser.picture(&pictures().join("shop.png")).await;

    sign_in(&mut browser, &shop, "ann", "wrong").await;
    assert!(browser.text().await.contains("do not belong together"));
    browser.picture(&pictures().join("sign-in.png")).await;
    sign_in(&mut browser, &shop, "ann", "monstera").await;
    let text = browser.text().await;
    assert!(text.contains("Hello, Ann") && text.contains("45.90 €"), "{text}");
    // No script can read the token.
    assert_eq!(browser.eval("document.cookie").await, "");

    browser.follow("nav a[href='/devices']").await;
    assert_eq!(browser.eval("document.querySelectorAll('.device').length").await, 2);
    let current = browser.eval("document.querySelector('.device.current').innerText").await.to_string();
    assert!(current.contains("This device") && current.contains("HeadlessChrome"), "{current}");
    assert_eq!(browser.eval("document.querySelector('#expiry').checkVisibility()").await, false);

    browser.click(".device:not(.current) summary").await;
    browser.picture(&pictures().join("rename.png")).await;
    browser.type_into(".device:not(.current) [name=label]", "Ann's phone").await;
    browser.enter().await;
    assert!(browser.text().await.contains("The device has its new name."));
    for (name, width, dark) in [
        ("devices", 1200, false),
        ("devices-dark", 1200, true),
        ("devices-phone", 390, false),
        ("devices-phone-dark", 390, true),
    ] {
        browser.look(width, dark).await;
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth").await, true, "{name}");
        browser.picture(&pictures().join(format!("{name}.png"))).await;
    }
    browser.look(1200, false).await;

    browser.follow(".device:not(.current) button[aria-label^='Sign out']").await;
    assert_eq!(browser.eval("document.querySelectorAll('.device').length").await, 1);
    assert!(browser.text().await.contains("Signed out from another device"));
    browser.picture(&pictures().join("history.png")).await;
    browser.open(&format!("{}/nowhere", shop.url)).await;
    browser.picture(&pictures().join("not-found.png")).await;
    let live = manager.list(&"ann".parse().unwrap(), Default::default()).await.unwrap();
    assert_eq!(live.sessions.len(), 1);

    browser.look(390, true).await;
    browser.follow(".brand").await;
    assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth").await, true);
    browser.picture(&pictures().join("shop-phone-dark.png")).await;
    browser.follow(".who button").await;
    assert!(browser.text().await.contains("You are signed out."));
    browser.close().await;
}

/// Advances the time of the shop, and of the page, which uses its own clock.
async fn pass(browser: &mut Browser, clock: &ManualClock, time: Duration) {
    clock.advance(time);
    let later = format!("now() + {}", time.as_millis());
    browser.eval(&format!("(() => {{ const now = Date.now; Date.now = () => {later}; }})()")).await;
}

#[tokio::test]
async fn browser_is_warned_before_the_session_expires() {
    let Some(mut browser) = browser().await else { return };
    let clock = Arc::new(ManualClock::default());
    let minute = Duration::from_secs(60);
    let lifetime = Lifetime::new(Some(10 * minute), 60 * minute).unwrap();
    let manager = SessionManager::builder(MemoryStore::default())
        .with_clock(Arc::clone(&clock))
        .with_expiry(ExpiryPolicy::default().with_standard(lifetime))
        .build()
        .unwrap();
    let shop = Shop::open(manager).await;
    sign_in(&mut browser, &shop, "ann", "monstera").await;
    browser.open(&format!("{}/devices", shop.url)).await;
    assert_eq!(browser.eval("document.querySelector('#expiry').checkVisibility()").await, false);

    pass(&mut browser, &clock, 5 * minute).await;
    browser.until("document.querySelector('#expiry').checkVisibility()").await;
    let text = browser.text().await;
    assert!(text.contains("Your session is about to expire"), "{text}");
    browser.picture(&pictures().join("warning.png")).await;

    // A click counts as use.
    browser.follow("#expiry .button").await;
    assert_eq!(browser.eval("document.querySelector('#expiry').checkVisibility()").await, false);
    assert!(browser.text().await.contains("Your devices"));

    pass(&mut browser, &clock, 11 * minute).await;
    browser.until("document.body.innerText.includes('Your session has expired')").await;
    browser.follow("#expiry .button").await;
    assert!(browser.text().await.contains("Two people you can be"));
    browser.close().await;
}

/// Saves a page in all sizes and colour schemes. No page may be wider than the window.
async fn look_around(browser: &mut Browser, page: &str) {
    for (suffix, width, dark) in
        [("", 1200, false), ("-dark", 1200, true), ("-phone", 390, false), ("-phone-dark", 390, true)]
    {
        browser.look(width, dark).await;
        let name = format!("{page}{suffix}");
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth").await, true, "{name}");
        browser.picture(&pictures().join(format!("{name}.png"))).await;
    }
    browser.look(1200, false).await;
}

#[tokio::test]
async fn browser_confirms_the_password() {
    let Some(mut browser) = browser().await else { return };
    let clock = Arc::new(ManualClock::default());
    let manager =
        SessionManager::builder(MemoryStore::default()).with_clock(Arc::clone(&clock)).build().unwrap();
    let shop = Shop::serve(app(manager, CONFIRM_AFTER)).await;
    sign_in(&mut browser, &shop, "ann", "monstera").await;
    browser.follow("nav a[href='/account']").await;
    browser.type_into("[name=address]", "ann@example.com").await;
    browser.enter().await;
    assert!(browser.text().await.contains("The recovery address is saved."));
    look_around(&mut browser, "account").await;

    clock.advance(CONFIRM_AFTER);
    browser.follow("nav a[href='/account']").await;
    assert!(browser.text().await.contains("Confirm it’s you"));
    // The browser sets the focus when it draws the page, which may be after loading it.
    browser.until("document.activeElement.name === 'password'").await;
    look_around(&mut browser, "confirm").await;
    browser.type_into("[name=password]", "wrong").await;
    browser.enter().await;
    assert!(browser.text().await.contains("That is not your password."));
    browser.picture(&pictures().join("confirm-wrong.png")).await;
    browser.type_into("[name=password]", "monstera").await;
    browser.enter().await;
    let text = browser.text().await;
    assert!(text.contains("Thank you, it is you.") && text.contains("Recovery address"), "{text}");
    browser.close().await;
}

#[tokio::test]
async fn browser_shows_a_code_and_another_one_types_it() {
    let Some(mut desk) = browser().await else { return };
    let Some(mut phone) = browser().await else { return };
    let shop = Shop::open(manager(MemoryStore::default(), Lifetimes::default(), None).unwrap()).await;
    sign_in(&mut desk, &shop, "ann", "monstera").await;
    desk.follow(".product:nth-child(1) button").await;
    desk.follow("nav a[href='/devices']").await;
    desk.click(".move [type=checkbox]").await;
    desk.follow(".move button").await;
    let code = desk.eval("document.querySelector('.code').innerText").await.as_str().unwrap().to_owned();
    assert_eq!(code.len(), 14, "{code}");
    desk.until("document.querySelector('[data-code-clock]').innerText.startsWith('1:')").await;
    look_around(&mut desk, "code").await;

    phone.look(390, false).await;
    phone.open(&format!("{}/sign-in", shop.url)).await;
    phone.follow(".stack a[href='/redeem']").await;
    phone.type_into("[name=code]", "0000-0000-0000").await;
    phone.enter().await;
    assert!(phone.text().await.contains("That code is mistyped"));
    phone.picture(&pictures().join("redeem-wrong.png")).await;
    phone.open(&format!("{}/redeem", shop.url)).await;
    look_around(&mut phone, "redeem").await;
    phone.type_into("[name=code]", &code.to_lowercase()).await;
    phone.enter().await;
    let text = phone.text().await;
    assert!(text.contains("Hello, Ann") && text.contains("your cart came along"), "{text}");
    phone.picture(&pictures().join("moved.png")).await;

    desk.follow(".brand").await;
    assert!(desk.text().await.contains("Plants for people with windows"));
    desk.close().await;
    phone.close().await;
}

#[tokio::test]
async fn browser_shows_when_a_code_is_too_old() {
    let Some(mut browser) = browser().await else { return };
    let shop = Shop::open(manager(MemoryStore::default(), Lifetimes::default(), None).unwrap()).await;
    sign_in(&mut browser, &shop, "ann", "monstera").await;
    browser.open(&format!("{}/devices", shop.url)).await;
    browser.follow(".move button").await;
    // The page uses its own clock.
    browser.eval("(() => { const now = Date.now; Date.now = () => now() + 120000; })()").await;
    browser.until("document.querySelector('.over') !== null").await;
    assert!(browser.text().await.contains("This code is too old now."));
    browser.picture(&pictures().join("code-over.png")).await;
    browser.follow("#transfer button").await;
    assert_eq!(browser.eval("document.querySelector('.over')").await, serde_json::Value::Null);
    browser.close().await;
}
