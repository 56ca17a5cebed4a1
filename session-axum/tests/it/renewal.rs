use std::time::Duration;

use axum::Router;
use axum::routing::post;
use http::StatusCode;
use session_axum::{Session, SessionContext, SessionError, Transport};

use crate::support::{Backend, Client, site};

const INTERVAL: Duration = Duration::from_secs(600);

fn rotating() -> Backend {
    Backend::with(|builder| builder.with_rotation(INTERVAL))
}

#[tokio::test]
async fn due_token_is_replaced_in_the_cookie() {
    let backend = rotating();
    let mut client = Client::new(backend.app());
    let signed_in = client.post("/sign-in/ann").await;
    let old = client.cookie.clone();
    assert_eq!(client.get("/maybe").await.set_cookies(), Vec::<&str>::new());

    backend.clock.advance(INTERVAL);
    let answer = client.get("/maybe").await;
    assert_eq!(answer.body, "ann");
    assert_ne!(client.cookie, old);
    let attributes =
        |header: &str| header.split_once("; ").unwrap().1.split_once("; Max-Age").unwrap().0.to_owned();
    let [renewed] = answer.set_cookies()[..] else { panic!("{answer:?}") };
    assert_eq!(attributes(renewed), attributes(signed_in.set_cookies()[0]));
    // The rest of the session's lifetime, not a new one.
    assert!(renewed.ends_with(&format!("Max-Age={}", 86_400 - INTERVAL.as_secs())));

    // A concurrent request of another tab gets the same token again, for a while.
    let mut tab = Client::new(backend.app()).with_cookie(&old.clone().unwrap());
    assert_eq!(tab.get("/maybe").await.body, "ann");
    assert_eq!(tab.cookie, client.cookie);
    // The grace period begins when the new token is presented first.
    assert_eq!(client.get("/maybe").await.body, "ann");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    backend.clock.advance(Duration::from_secs(31));
    let mut late = Client::new(backend.app()).with_cookie(&old.unwrap());
    assert_eq!(late.get("/maybe").await.body, "no session");
    assert_eq!(client.get("/maybe").await.body, "ann");
}

#[tokio::test]
async fn validating_every_request_also_sends_a_renewed_cookie() {
    let backend = rotating();
    let app = site().layer(backend.layer().validate_every_request(true));
    let mut client = Client::new(app);
    client.post("/sign-in/ann").await;
    backend.clock.advance(INTERVAL);
    let answer = client.get("/static").await;
    assert_eq!((answer.set_cookies().len(), answer.header("cache-control")), (1, Some("no-store")));
    assert_eq!(client.get("/maybe").await.body, "ann");
}

#[tokio::test]
async fn signing_out_other_sessions_invalidates_token_copies() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app());
    client.post("/sign-in/ann").await;
    let mut copy = client.clone();
    let answer = client.delete("/sessions?revokeAll=true").await;
    assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (200, 1));
    assert_eq!(answer.json(), serde_json::json!({"ended": 0}));
    assert_eq!(client.get("/maybe").await.body, "ann");
    assert_eq!(copy.get("/maybe").await.body, "no session");
}

#[tokio::test]
async fn api_client_receives_the_renewed_token_in_the_body() {
    let backend = Backend::new();
    for (user, transport) in [("ann", Transport::Bearer), ("bob", Transport::Either)] {
        let (_, token) = backend.session(user).await;
        let app = site().layer(backend.layer().with_transport(transport));
        let bearing =
            |token: &str| Client::new(app.clone()).with_header("authorization", &format!("Bearer {token}"));
        let answer = bearing(&token).delete("/sessions?revokeAll=true").await;
        assert_eq!((answer.status.as_u16(), answer.set_cookies().len()), (200, 0));
        let renewed = answer.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(bearing(&renewed).get("/me").await.status, 200);
        assert_eq!(bearing(&token).get("/me").await.status, 401);
    }
}

#[tokio::test]
async fn renewed_token_is_sent_even_if_the_handler_fails() {
    let backend = Backend::new();
    let handler = async |session: Session, context: SessionContext| -> Result<StatusCode, SessionError> {
        context.manager()?.rotate(&session).await?;
        Ok(StatusCode::INTERNAL_SERVER_ERROR)
    };
    let app = site().merge(Router::new().route("/rotate", post(handler))).layer(backend.layer());
    let mut client = Client::new(app);
    client.post("/sign-in/ann").await;
    let mut old = client.clone();
    assert_eq!(client.post("/rotate").await.set_cookies().len(), 1);
    assert_eq!(client.get("/maybe").await.body, "ann");
    assert_eq!(old.get("/maybe").await.body, "no session");
}

#[tokio::test]
async fn session_created_and_renewed_at_once_sets_one_cookie() {
    let backend = Backend::new();
    let handler = async |context: SessionContext| -> Result<(), SessionError> {
        let signed_in = context.sign_in(session_axum::NewSession::for_user("ann".parse()?)).await?;
        Ok(context.manager()?.rotate(&signed_in.session).await?)
    };
    let app = site().merge(Router::new().route("/both", post(handler))).layer(backend.layer());
    let mut client = Client::new(app);
    assert_eq!(client.post("/both").await.set_cookies().len(), 1);
    assert_eq!(client.get("/maybe").await.body, "ann");
}
