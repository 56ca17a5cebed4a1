use axum::Router;
use axum::routing::post;
use session_axum::SameOrigin;

use crate::support::{Backend, Client};

const REFUSAL: &str = "This request came from another site. Open the page itself and try again.";

#[tokio::test]
async fn a_forged_request_does_not_reach_the_handler() {
    let app =
        Router::new().route("/", post(async || "changed").get(async || "shown")).layer(SameOrigin::default());
    let mut foreign = Client::new(app.clone())
        .with_header("host", "shop.example")
        .with_header("origin", "https://evil.example");
    foreign.post("/").await.assert_problem(403, REFUSAL);
    assert_eq!(foreign.get("/").await.body, "shown");
    let mut own =
        Client::new(app).with_header("host", "shop.example").with_header("origin", "https://shop.example");
    assert_eq!(own.post("/").await.body, "changed");
}

#[tokio::test]
async fn a_forged_request_to_the_session_routes_ends_nothing() {
    let backend = Backend::new();
    let (session, token) = backend.session("ann").await;
    backend.session("ann").await;
    backend.faults.reset_calls();
    let mut forged =
        Client::new(backend.app()).with_token(&token).with_header("sec-fetch-site", "cross-site");
    for path in ["/sessions/current", "/sessions?revokeAll=true", &format!("/sessions/{}", session.id())] {
        forged.delete(path).await.assert_problem(403, REFUSAL);
    }
    assert_eq!(backend.faults.all_calls(), 0);
    assert_eq!(forged.get("/sessions").await.status, 200);
    assert_eq!(backend.stored().await, 2);
}
