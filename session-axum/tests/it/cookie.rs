use std::time::Duration;

use session_axum::{Persistence, SessionCookie};

use crate::support::{Backend, Client, site, strict_cookie};

const DAY: u64 = 86_400;

fn attributes(header: &str) -> (&str, &str) {
    let (pair, attributes) = header.split_once("; ").unwrap();
    (pair.split_once('=').unwrap().0, attributes)
}

#[tokio::test]
async fn sign_in_sets_a_strict_cookie_for_the_session_lifetime() {
    let backend = Backend::new();
    let answer = Client::new(backend.app()).post("/sign-in/ann").await;
    let [header] = answer.set_cookies()[..] else { panic!("{answer:?}") };
    let expected = ("__Host-session", "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=86400");
    assert_eq!(attributes(header), expected);
    assert_eq!(header.split_once('=').unwrap().1.split_once(';').unwrap().0.len(), 66);
    assert!(answer.headers["set-cookie"].is_sensitive());
}

#[tokio::test]
async fn a_remembered_session_has_a_longer_cookie() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app()).with_header("x-remember", "1");
    let answer = client.post("/sign-in/ann").await;
    let max_age = format!("Max-Age={}", 30 * DAY);
    assert!(answer.set_cookies()[0].ends_with(&max_age), "{answer:?}");
}

#[tokio::test]
async fn only_remembered_cookies_persist_if_so_configured() {
    let backend = Backend::new();
    let cookie = SessionCookie::builder().with_persistence(Persistence::Remembered).build().unwrap();
    let app = site().layer(backend.layer().with_cookie(cookie));
    let answer = Client::new(app.clone()).post("/sign-in/ann").await;
    assert_eq!(attributes(answer.set_cookies()[0]).1, "HttpOnly; SameSite=Lax; Secure; Path=/");
    let mut remembering = Client::new(app).with_header("x-remember", "1");
    assert!(remembering.post("/sign-in/ann").await.set_cookies()[0].ends_with("; Max-Age=2592000"));
}

#[tokio::test]
async fn the_removal_has_the_attributes_of_the_cookie() {
    let backend = Backend::new();
    let partitioned = SessionCookie::builder().with_partitioned(true).build().unwrap();
    let shared = SessionCookie::builder()
        .with_name("__Secure-s")
        .with_domain("a.example")
        .with_path("/x")
        .build()
        .unwrap();
    for cookie in
        [SessionCookie::default(), strict_cookie(), partitioned, shared, SessionCookie::insecure_dev()]
    {
        let app = site().layer(backend.layer().with_cookie(cookie.clone()));
        let mut client = Client::new(app);
        let set = client.post("/sign-in/ann").await;
        let removed = client.post("/sign-out").await;
        let (set, removed) = (set.set_cookies()[0], removed.set_cookies()[0]);
        let (name, all) = attributes(set);
        assert_eq!(name, cookie.name());
        assert_eq!(removed, format!("{name}=; {}", all.replace("Max-Age=86400", "Max-Age=0")));
        assert_eq!(client.cookie, None);
    }
}

#[tokio::test]
async fn the_development_cookie_has_no_secure() {
    let backend = Backend::new();
    let app = site().layer(backend.layer().with_cookie(SessionCookie::insecure_dev()));
    let answer = Client::new(app).post("/sign-in/ann").await;
    let expected = ("session", "HttpOnly; SameSite=Lax; Path=/; Max-Age=86400");
    assert_eq!(attributes(answer.set_cookies()[0]), expected);
}

#[tokio::test]
async fn token_is_sent_only_in_the_cookie() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app());
    let signed_in = client.post("/sign-in/ann").await;
    let token = client.cookie.clone().unwrap().split_once('=').unwrap().1.to_owned();
    let (_, secret) = token.split_once('.').unwrap();
    for answer in [
        signed_in,
        client.get("/me").await,
        client.get("/sessions").await,
        client.get("/sessions/current").await,
    ] {
        assert!(!answer.body.contains(secret));
        let elsewhere = answer.headers.iter().filter(|(name, _)| *name != "set-cookie");
        assert!(elsewhere.into_iter().all(|(_, value)| !value.to_str().unwrap().contains(secret)));
    }
}

#[tokio::test]
async fn a_live_session_keeps_its_cookie_without_another_header() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app());
    client.post("/sign-in/ann").await;
    for _ in 0..3 {
        backend.clock.advance(Duration::from_secs(600));
        let answer = client.get("/maybe").await;
        assert_eq!((answer.body.as_str(), answer.set_cookies().len()), ("ann", 0));
    }
}
