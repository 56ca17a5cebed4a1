use session_conformance::faults::Fault;

use crate::support::{Backend, COOKIE, Client, OUTAGES};

#[tokio::test]
async fn a_stopped_store_is_503_and_keeps_the_cookie() {
    for kind in OUTAGES {
        let backend = Backend::new();
        let (_, token) = backend.session("ann").await;
        backend.faults.arm(Fault::error(kind));
        let mut client = Client::new(backend.app()).with_token(&token);
        client.get("/me").await.assert_unavailable();
        client.get("/maybe").await.assert_unavailable();
        client.post("/visit").await.assert_unavailable();
        client.post("/sign-in/bob").await.assert_unavailable();
        client.post("/sign-out").await.assert_unavailable();
        client.post("/add/apple").await.assert_unavailable();
        client.get("/sessions").await.assert_unavailable();
        client.get("/sessions/current").await.assert_unavailable();
        client.delete("/sessions/current").await.assert_unavailable();
        client.delete("/sessions?revokeAll=true").await.assert_unavailable();

        backend.faults.disarm();
        assert_eq!(client.cookie, Some(format!("{COOKIE}={token}")));
        assert_eq!(client.get("/maybe").await.body, "ann");
    }
}

#[tokio::test]
async fn stopped_store_does_not_affect_handlers_that_do_not_ask() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    backend.faults.arm(Fault::error(OUTAGES[0]));
    let mut client = Client::new(backend.app()).with_token(&token);
    assert_eq!(client.get("/static").await.status, 200);
    // A request without a token, or with a malformed one, needs no store call.
    assert_eq!(Client::new(backend.app()).get("/maybe").await.body, "no session");
    let garbled = Client::new(backend.app()).with_token("garbage").get("/maybe").await;
    garbled.assert_cookie_removed();
    let validated = crate::support::site().layer(backend.layer().validate_every_request(true));
    assert_eq!(Client::new(validated).with_token(&token).get("/static").await.status, 200);
}

#[tokio::test]
async fn failed_validation_is_not_repeated_within_a_request() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    backend.faults.arm(Fault::error(OUTAGES[0]).on("load"));
    backend.faults.reset_calls();
    let handler = async |context: session_axum::SessionContext| {
        assert!(context.session().await.is_err());
        assert!(context.session().await.is_err());
        assert!(context.sign_out().await.is_err());
    };
    let app = axum::Router::new().route("/", axum::routing::get(handler)).layer(backend.layer());
    let answer = Client::new(app).with_token(&token).get("/").await;
    assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (200, 0));
    assert_eq!(backend.faults.calls("load"), 1);
}

#[tokio::test]
async fn unreadable_row_is_503_and_keeps_the_cookie() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    backend.faults.arm(Fault::error(session_manager::core::ErrorKind::Corrupt).on("load"));
    Client::new(backend.app()).with_token(&token).get("/maybe").await.assert_unavailable();
}

#[tokio::test]
async fn a_hanging_store_is_503_after_the_deadline() {
    let backend = Backend::with(|builder| builder.with_store_deadline(std::time::Duration::from_millis(20)));
    let (_, token) = backend.session("ann").await;
    backend.faults.arm(Fault::hang().on("load"));
    Client::new(backend.app()).with_token(&token).get("/me").await.assert_unavailable();
}

#[tokio::test]
async fn failed_sign_in_keeps_the_anonymous_session() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app());
    client.post("/add/apple").await;
    let before = client.cookie.clone();
    backend.faults.arm(Fault::error(OUTAGES[0]).on("create"));
    client.post("/sign-in/ann").await.assert_unavailable();
    backend.faults.disarm();
    assert_eq!(client.cookie, before);
    assert_eq!(client.get("/cart").await.body, r#"["apple"]"#);
}

#[tokio::test]
async fn failed_sign_out_keeps_the_session_and_the_cookie() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let mut client = Client::new(backend.app()).with_token(&token);
    backend.faults.arm(Fault::error(OUTAGES[0]).on("end"));
    client.post("/sign-out").await.assert_unavailable();
    backend.faults.disarm();
    assert_eq!(client.get("/maybe").await.body, "ann");
}
