use std::time::Duration;

use axum::Router;
use axum::routing::post;
use serde_json::{Value, json};
use session_axum::{NewSession, SessionContext, SessionError, SessionRoute, SessionRoutes, Transport};
use session_conformance::faults::Fault;
use session_manager::core::SessionKind;

use crate::support::{Answer, Backend, COOKIE, Client, OUTAGES, site};

const ACCESS: Duration = Duration::from_secs(15 * 60);
const SIGN_IN: &str = "Sign in to continue.";

fn app(backend: &Backend, transport: Transport, kind: SessionKind) -> Router {
    let issue = async move |context: SessionContext| -> Result<String, SessionError> {
        let new = NewSession::for_user("ann".parse()?).with_kind(kind).with_refresh(true);
        let signed_in = context.sign_in(new).await?;
        let token = signed_in.token.map(|token| token.expose().to_string());
        let refresh = signed_in.refresh.map(|refresh| refresh.expose().to_string());
        Ok(json!({"token": token, "refreshToken": refresh}).to_string())
    };
    site().route("/tokens", post(issue)).layer(backend.layer().with_transport(transport))
}

fn program(app: &Router, token: &Value) -> Client {
    let header = format!("Bearer {}", token.as_str().unwrap());
    Client::new(app.clone()).with_header("authorization", &header)
}

async fn refresh(app: &Router, token: &Value) -> Answer {
    let mut client = Client::new(app.clone());
    client.headers_for_json();
    client.post_body("/sessions/refresh", json!({"refreshToken": token}).to_string()).await
}

#[tokio::test]
async fn api_client_refreshes_an_expired_token() {
    let backend = Backend::new();
    for transport in [Transport::Bearer, Transport::Either] {
        let app = app(&backend, transport, SessionKind::Api);
        let first = Client::new(app.clone()).post("/tokens").await.json();
        assert_eq!(program(&app, &first["token"]).get("/maybe").await.body, "ann");

        backend.clock.advance(ACCESS);
        program(&app, &first["token"]).get("/me").await.assert_token_expired();
        program(&app, &first["token"]).get("/sessions").await.assert_token_expired();
        assert_eq!(program(&app, &first["token"]).get("/maybe").await.body, "no session");

        let answer = refresh(&app, &first["refreshToken"]).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, Some("no-store")));
        assert_eq!(answer.set_cookies(), Vec::<&str>::new());
        let second = answer.json();
        assert_eq!(second["expiresIn"], ACCESS.as_secs());
        assert_eq!(second.as_object().unwrap().len(), 3);
        assert_eq!(program(&app, &second["token"]).get("/maybe").await.body, "ann");

        // A retry within the grace period, as after a lost response, returns the same pair and the
        // rest of its lifetime.
        backend.clock.advance(Duration::from_millis(9_500));
        let again = refresh(&app, &first["refreshToken"]).await.json();
        assert_eq!((&again["token"], &again["refreshToken"]), (&second["token"], &second["refreshToken"]));
        assert_eq!(again["expiresIn"], ACCESS.as_secs() - 10);

        // A spent token indicates a stolen copy: the session ends.
        backend.clock.advance(Duration::from_secs(60));
        let reused = refresh(&app, &first["refreshToken"]).await;
        reused.assert_problem(401, SIGN_IN);
        assert_eq!(reused.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
        refresh(&app, &second["refreshToken"]).await.assert_problem(401, SIGN_IN);
        program(&app, &second["token"]).get("/me").await.assert_problem(401, SIGN_IN);
    }
}

#[tokio::test]
async fn browser_with_an_expired_token_loses_its_cookie() {
    let backend = Backend::new();
    let app = app(&backend, Transport::Either, SessionKind::Web);
    let mut browser = Client::new(app.clone());
    let answer = browser.post("/tokens").await;
    assert_eq!((answer.set_cookies().len(), &answer.json()["token"]), (1, &Value::Null));
    assert_eq!(browser.get("/maybe").await.body, "ann");
    backend.clock.advance(ACCESS);
    let expired = browser.get("/me").await;
    expired.assert_problem(401, SIGN_IN);
    expired.assert_cookie_removed();
    // The session itself is live.
    let pair = refresh(&app, &answer.json()["refreshToken"]).await.json();
    let token = pair["token"].as_str().unwrap();
    assert_eq!(Client::new(app).with_token(token).get("/maybe").await.body, "ann");
}

#[tokio::test]
async fn invalid_tokens_and_bodies_are_refused() {
    let backend = Backend::new();
    let app = app(&backend, Transport::Either, SessionKind::Api);
    let pair = Client::new(app.clone()).post("/tokens").await.json();
    let (_, plain) = backend.session("ann").await;
    for wrong in ["", "x", "r.", "r.x", plain.as_str(), pair["token"].as_str().unwrap(), &"r".repeat(3_000)] {
        refresh(&app, &json!(wrong)).await.assert_problem(401, SIGN_IN);
    }
    let mut client = Client::new(app.clone());
    let body = "The body is not what this address takes. See its documentation.";
    let not_json = client.post_body("/sessions/refresh", "refreshToken=x").await;
    not_json.assert_problem(415, "Send JSON, with `Content-Type: application/json`.");
    client.headers_for_json();
    client.post_body("/sessions/refresh", "{").await.assert_problem(400, body);
    for wrong in
        ["{}", r#"{"refreshToken": 7}"#, r#"{"refreshToken": "x", "a": 1}"#, r#"{"refresh_token": ""}"#]
    {
        client.post_body("/sessions/refresh", wrong).await.assert_problem(422, body);
    }
    let huge = json!({"refreshToken": "x".repeat(5_000)}).to_string();
    client.post_body("/sessions/refresh", huge).await.assert_problem(413, "The body is too large.");
    assert_eq!(refresh(&app, &pair["refreshToken"]).await.status, 200);
}

#[tokio::test]
async fn refresh_ignores_the_session_cookie() {
    let backend = Backend::new();
    let app = app(&backend, Transport::Either, SessionKind::Api);
    let pair = Client::new(app.clone()).post("/tokens").await.json();
    backend.faults.reset_calls();
    let mut other = Client::new(app.clone())
        .with_cookie(&format!("{COOKIE}=garbage"))
        .with_header("origin", "https://app.example")
        .with_header("sec-fetch-site", "cross-site");
    other.headers_for_json();
    let body = json!({"refreshToken": pair["refreshToken"]}).to_string();
    let answer = other.post_body("/sessions/refresh", body).await;
    assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (200, 0));
    assert_eq!((backend.faults.calls("load"), backend.faults.calls("update")), (1, 1));
}

#[tokio::test]
async fn stopped_store_spends_no_refresh_token() {
    for kind in OUTAGES {
        let backend = Backend::new();
        let app = app(&backend, Transport::Bearer, SessionKind::Api);
        let pair = Client::new(app.clone()).post("/tokens").await.json();
        for fault in [Fault::error(kind), Fault::lost_reply(kind).on("update")] {
            backend.faults.arm(fault);
            refresh(&app, &pair["refreshToken"]).await.assert_unavailable();
            backend.faults.disarm();
        }
        let answer = refresh(&app, &pair["refreshToken"]).await;
        assert_eq!(program(&app, &answer.json()["token"]).get("/maybe").await.body, "ann");
    }
}

#[tokio::test]
async fn refresh_route_can_be_left_out() {
    let backend = Backend::new();
    let app: Router = SessionRoutes::default().without(SessionRoute::Refresh).into_router();
    let app = app.layer(backend.layer());
    assert_eq!(refresh(&app, &json!("x")).await.status, 405);
    let only: Router = SessionRoutes::only([SessionRoute::Refresh]).into_router();
    refresh(&only.layer(backend.layer()), &json!("x")).await.assert_problem(401, SIGN_IN);
}
