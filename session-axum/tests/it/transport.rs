use axum::Router;
use axum::routing::post;
use session_axum::{NewSession, SessionContext, SessionError, Transport};
use session_manager::core::SessionKind;

use crate::support::{Backend, COOKIE, Client, site};

fn app(backend: &Backend, transport: Transport) -> Router {
    let issue = async |context: SessionContext| -> Result<String, SessionError> {
        let new = NewSession::for_user("ann".parse()?).with_kind(SessionKind::Api);
        let token = context.sign_in(new).await?.token;
        Ok(token.map(|token| token.expose().to_string()).unwrap_or_default())
    };
    site().route("/tokens", post(issue)).layer(backend.layer().with_transport(transport))
}

fn bearing(client: Client, token: &str) -> Client {
    client.with_header("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn bearer_token_is_read_only_if_enabled() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    for (transport, cookie, bearer) in [
        (Transport::Cookie, "ann", "no session"),
        (Transport::Bearer, "no session", "ann"),
        (Transport::Either, "ann", "ann"),
    ] {
        let app = app(&backend, transport);
        assert_eq!(Client::new(app.clone()).with_token(&token).get("/maybe").await.body, cookie);
        assert_eq!(bearing(Client::new(app), &token).get("/maybe").await.body, bearer);
    }
}

#[tokio::test]
async fn two_different_credentials_are_anonymous() {
    let backend = Backend::new();
    let (_, ann) = backend.session("ann").await;
    let (_, bob) = backend.session("bob").await;
    let app = app(&backend, Transport::Either);
    let mut both = bearing(Client::new(app.clone()).with_token(&ann), &bob);
    let answer = both.get("/maybe").await;
    assert_eq!((answer.body.as_str(), answer.set_cookies().len()), ("no session", 0));
    let mut same = bearing(Client::new(app).with_token(&ann), &ann);
    assert_eq!(same.get("/maybe").await.body, "ann");
}

#[tokio::test]
async fn api_client_receives_its_token_in_the_body_without_cookie() {
    let backend = Backend::new();
    for transport in [Transport::Bearer, Transport::Either] {
        let app = app(&backend, transport);
        let answer = Client::new(app.clone()).post("/tokens").await;
        assert_eq!((answer.body.len(), answer.set_cookies().len()), (66, 0));
        assert_eq!(bearing(Client::new(app), &answer.body).get("/maybe").await.body, "ann");
    }
}

#[tokio::test]
async fn bearer_responses_never_set_or_remove_a_cookie() {
    let backend = Backend::new();
    let app = app(&backend, Transport::Bearer);
    let mut stale = bearing(Client::new(app.clone()).with_cookie(&format!("{COOKIE}=old")), "garbage");
    for answer in [stale.get("/maybe").await, stale.post("/sign-in/ann").await, stale.post("/sign-out").await]
    {
        assert_eq!(answer.set_cookies(), Vec::<&str>::new());
    }
    let anonymous = Client::new(app).post("/add/apple").await;
    anonymous.assert_problem(500, "Something went wrong on our side. Try again later.");
    assert_eq!(backend.faults.calls("create"), 1);
}

#[tokio::test]
async fn refused_bearer_request_gets_a_challenge() {
    let backend = Backend::new();
    for (transport, challenge) in
        [(Transport::Cookie, None), (Transport::Bearer, Some("Bearer")), (Transport::Either, Some("Bearer"))]
    {
        let answer = Client::new(app(&backend, transport)).get("/me").await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, challenge));
    }
}

#[tokio::test]
async fn bearer_token_passes_the_same_origin_check() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let app = app(&backend, Transport::Either);
    let mut program = bearing(Client::new(app), &token).with_header("origin", "https://app.example");
    assert_eq!(program.delete("/sessions/current").await.status, 204);
}
