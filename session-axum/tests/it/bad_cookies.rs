use std::time::Duration;

use session_manager::core::Actor;

use crate::support::{Backend, COOKIE, Client};

/// Asserts that a request with this cookie has no session and causes no error. Returns the answer
/// and the number of store calls.
async fn visit_with(backend: &Backend, cookie: &str) -> (crate::support::Answer, u64) {
    backend.faults.reset_calls();
    let mut client = Client::new(backend.app()).with_cookie(cookie);
    let answer = client.clone().get("/maybe").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "no session"), "{cookie:?}");
    let calls = backend.faults.all_calls();
    let required = client.get("/me").await;
    required.assert_problem(401, "Sign in to continue.");
    assert_eq!(required.set_cookies(), answer.set_cookies(), "{cookie:?}");
    (answer, calls)
}

#[tokio::test]
async fn malformed_cookie_is_removed_without_a_store_call() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let (id, secret) = token.split_once('.').unwrap();
    for value in [
        "",
        ".",
        "garbage",
        "null",
        "\"\"",
        id,
        secret,
        &token[1..],
        &token[..token.len() - 1],
        &format!("{token}x"),
        &format!("{token}="),
        &format!("\"{token}\""),
        &format!("{id}.{secret}.{secret}"),
        &token.replace('.', "%2E"),
        &token.to_uppercase(),
        &"a".repeat(67),
        &"a".repeat(7_000),
        &"%00".repeat(20),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
        "s%3AXXXXXXXXXXXX.YYYYYYYYYYYY",
        "../../etc/passwd",
        "' OR 1=1 --",
        "ünïcödé",
    ] {
        let (answer, calls) = visit_with(&backend, &format!("{COOKIE}={value}")).await;
        assert_eq!(calls, 0, "{value:?}");
        answer.assert_cookie_removed();
    }
    assert_eq!(backend.stored().await, 1);
}

#[tokio::test]
async fn token_of_another_site_is_unknown_and_removed() {
    let (backend, elsewhere) = (Backend::new(), Backend::new());
    let (_, foreign) = elsewhere.session("ann").await;
    let (answer, calls) = visit_with(&backend, &format!("{COOKIE}={foreign}")).await;
    assert_eq!(calls, 1);
    answer.assert_cookie_removed();
}

#[tokio::test]
async fn wrong_secret_ends_no_session_and_keeps_the_cookie() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let (_, other) = backend.session("bob").await;
    let forged = format!("{}.{}", token.split_once('.').unwrap().0, other.split_once('.').unwrap().1);
    // It may be the old secret of a request that a rotation overtook: the browser has the new one
    // by now.
    let (answer, _) = visit_with(&backend, &format!("{COOKIE}={forged}")).await;
    assert_eq!(answer.set_cookies(), Vec::<&str>::new());
    assert_eq!(Client::new(backend.app()).with_token(&token).get("/maybe").await.body, "ann");
}

#[tokio::test]
async fn cookie_of_an_ended_session_is_removed() {
    let backend = Backend::new();
    let (session, token) = backend.session("ann").await;
    backend.manager.revoke(session.id(), &Actor::System).await.unwrap();
    visit_with(&backend, &format!("{COOKIE}={token}")).await.0.assert_cookie_removed();
}

#[tokio::test]
async fn cookie_of_an_expired_session_is_removed() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    backend.clock.advance(Duration::from_secs(3600));
    visit_with(&backend, &format!("{COOKIE}={token}")).await.0.assert_cookie_removed();
}

/// Removing one of two cookies would leave the other, which an attacker may have planted.
#[tokio::test]
async fn two_different_cookies_are_anonymous_and_kept() {
    let backend = Backend::new();
    let (_, ann) = backend.session("ann").await;
    let (_, bob) = backend.session("bob").await;
    for (first, second) in [(ann.as_str(), bob.as_str()), (&ann, "garbage"), (&ann, "")] {
        let cookie = format!("{COOKIE}={first}; {COOKIE}={second}");
        let (answer, calls) = visit_with(&backend, &cookie).await;
        assert_eq!((calls, answer.set_cookies().len()), (0, 0), "{cookie}");
    }
}

#[tokio::test]
async fn same_cookie_twice_counts_once() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let twice = format!("{COOKIE}={token}; theme=dark; {COOKIE}={token}");
    assert_eq!(Client::new(backend.app()).with_cookie(&twice).get("/maybe").await.body, "ann");
    // HTTP/2 splits the header.
    let split = Client::new(backend.app()).with_token(&token).with_header("cookie", "theme=dark");
    assert_eq!(split.clone().get("/maybe").await.body, "ann");
}

#[tokio::test]
async fn cookie_name_in_another_case_is_ignored() {
    let backend = Backend::new();
    let (_, ann) = backend.session("ann").await;
    let (_, bob) = backend.session("bob").await;
    let cookie = format!("__host-session={bob}; {COOKIE}={ann}");
    assert_eq!(Client::new(backend.app()).with_cookie(&cookie).get("/maybe").await.body, "ann");
    let only = format!("__HOST-SESSION={bob}");
    assert_eq!(Client::new(backend.app()).with_cookie(&only).get("/maybe").await.body, "no session");
}

#[tokio::test]
async fn bad_cookie_is_kept_if_no_handler_asks() {
    let backend = Backend::new();
    let answer = Client::new(backend.app()).with_token("garbage").get("/static").await;
    assert_eq!(answer.set_cookies(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_thousand_invented_tokens_store_nothing() {
    let backend = Backend::new();
    let elsewhere = Backend::new();
    for _ in 0..1_000 {
        let (_, token) = elsewhere.session("mallory").await;
        let mut client = Client::new(backend.app()).with_token(&token);
        assert_eq!(client.clone().get("/maybe").await.body, "no session");
        assert_eq!(client.post("/sign-out").await.status, 204);
    }
    assert_eq!(backend.faults.calls("create") + backend.faults.calls("end"), 0);
    assert_eq!(backend.stored().await, 0);
}
