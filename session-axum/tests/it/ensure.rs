use std::num::NonZeroU32;

use axum::Router;
use http::request::Parts;
use serde_json::json;
use session_axum::{SessionError, SessionRoutes, routes};
use session_conformance::faults::Fault;
use session_manager::core::OnExceed;
use session_manager::{ExternalSession, Paging, UserLimit};

use crate::support::{Backend, COOKIE, Client, OUTAGES};

/// Trusts a header, which a real verifier must not do.
async fn identity(parts: Parts) -> Result<ExternalSession, SessionError> {
    tokio::task::yield_now().await;
    let claims = parts.headers.get("x-claims").ok_or(SessionError::Required)?;
    let (name, user) = claims.to_str().unwrap().split_once('/').unwrap();
    Ok(ExternalSession::new(name, user.parse()?)?.with_username("Ann"))
}

fn app(backend: &Backend) -> Router {
    let routes: Router = SessionRoutes::default().with_ensure(identity).into_router();
    routes.layer(backend.layer())
}

fn claiming(app: &Router, claims: &str) -> Client {
    Client::new(app.clone()).with_header("x-claims", claims).with_header("user-agent", "job")
}

#[tokio::test]
async fn ensure_creates_a_session_once() {
    let backend = Backend::new();
    let app = app(&backend);
    let first = claiming(&app, "issuer 1/ann").post("/sessions/ensure").await;
    assert_eq!((first.status.as_u16(), first.body.as_str()), (200, r#"{"created":true}"#));
    assert_eq!((first.header("cache-control"), first.set_cookies().len()), (Some("no-store"), 0));
    for _ in 0..2 {
        let again = claiming(&app, "issuer 1/ann").post("/sessions/ensure").await;
        assert_eq!((again.status.as_u16(), again.body.as_str()), (200, r#"{"exists":true}"#));
    }
    let other = claiming(&app, "issuer 2/ann").post("/sessions/ensure").await;
    assert_eq!(other.json(), json!({"created": true}));
    let sessions = backend.manager.list(&"ann".parse().unwrap(), Paging::default()).await.unwrap().sessions;
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0].client.user_agent.as_deref(), Some("job"));
}

#[tokio::test]
async fn fifty_concurrent_ensures_create_one_session() {
    let backend = Backend::new();
    let app = app(&backend);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut client = claiming(&app, "issuer 1/ann");
        tasks.spawn(async move { client.post("/sessions/ensure").await.body });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|body| *body == r#"{"created":true}"#).count(), 1);
    assert_eq!(backend.stored().await, 1);
}

#[tokio::test]
async fn unverified_or_signed_out_identity_is_401() {
    let backend = Backend::new();
    let app = app(&backend);
    let mut visitor = Client::new(app.clone()).with_cookie(&format!("{COOKIE}=garbage"));
    let refused = visitor.post("/sessions/ensure").await;
    refused.assert_problem(401, "Sign in to continue.");
    assert_eq!((refused.set_cookies().len(), backend.faults.calls("load")), (0, 0));

    let mut client = claiming(&app, "issuer 1/ann");
    client.post("/sessions/ensure").await;
    let id = ExternalSession::new("issuer 1", "ann".parse().unwrap()).unwrap().id();
    backend.manager.revoke(id, &session_manager::core::Actor::System).await.unwrap();
    client.post("/sessions/ensure").await.assert_problem(401, "Sign in to continue.");
    let forged = claiming(&app, "issuer 3/ann").with_header("sec-fetch-site", "cross-site");
    assert_eq!({ forged }.post("/sessions/ensure").await.status, 403);
}

#[tokio::test]
async fn refusals_and_outages_have_different_statuses() {
    let one = UserLimit::new(NonZeroU32::MIN, OnExceed::Refuse);
    let backend = Backend::with(|builder| builder.with_limit(one));
    let app = app(&backend);
    claiming(&app, "issuer 1/ann").post("/sessions/ensure").await;
    let full = claiming(&app, "issuer 2/ann").post("/sessions/ensure").await;
    full.assert_problem(409, "You are signed in on too many devices. Sign out on one of them first.");
    let unfit = "A value is empty, too long or not allowed.";
    claiming(&app, "/ann").post("/sessions/ensure").await.assert_problem(422, unfit);
    for kind in OUTAGES {
        backend.faults.arm(Fault::error(kind));
        claiming(&app, "issuer 1/ann").post("/sessions/ensure").await.assert_unavailable();
        backend.faults.disarm();
    }
}

#[tokio::test]
async fn ensure_route_needs_a_verifier() {
    let backend = Backend::new();
    let app: Router = routes().layer(backend.layer());
    assert_eq!(claiming(&app, "issuer 1/ann").post("/sessions/ensure").await.status, 405);
}
