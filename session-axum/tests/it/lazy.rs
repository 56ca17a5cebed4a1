use axum::Router;
use axum::routing::get;
use session_axum::{Session, SessionContext, SessionLayer};
use session_manager::core::SessionStore;

use crate::support::{Backend, Client};

#[tokio::test]
async fn handler_that_does_not_ask_costs_no_call_and_no_header() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    backend.faults.reset_calls();
    for path in ["/static", "/idle", "/nowhere"] {
        let answer = Client::new(backend.app()).with_token(&token).get(path).await;
        assert_eq!(backend.faults.all_calls(), 0, "{path}");
        for name in ["set-cookie", "cache-control", "vary"] {
            assert_eq!(answer.header(name), None, "{path} {name}");
        }
    }
}

#[tokio::test]
async fn a_visitor_without_a_cookie_costs_no_call() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app());
    assert_eq!(client.get("/maybe").await.body, "no session");
    assert_eq!(client.get("/me").await.status, 401);
    assert_eq!(client.post("/sign-out").await.status, 204);
    assert_eq!(client.get("/cart").await.body, "[]");
    assert_eq!(client.cookie, None);
    assert_eq!(backend.faults.all_calls(), 0);
}

#[tokio::test]
async fn all_extractors_of_a_request_share_one_validation() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let handler = async |first: Session, second: Option<Session>, context: SessionContext| {
        first.insert("seen", &true).unwrap();
        assert_eq!(second.unwrap().get("seen").unwrap(), Some(true));
        assert_eq!(context.session().await.unwrap().unwrap().get("seen").unwrap(), Some(true));
        first.save().await.unwrap();
    };
    let app = Router::new().route("/", get(handler)).layer(backend.layer());
    backend.faults.reset_calls();
    assert_eq!(Client::new(app).with_token(&token).get("/").await.status, 200);
    assert_eq!(backend.faults.calls("load"), 1);
}

#[tokio::test]
async fn an_untouched_session_is_not_written() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    backend.faults.reset_calls();
    let answer = Client::new(backend.app()).with_token(&token).get("/me").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.set_cookies(), Vec::<&str>::new());
    assert_eq!((backend.faults.calls("load"), backend.faults.all_calls()), (1, 1));
}

#[tokio::test]
async fn every_request_is_validated_only_if_so_configured() {
    for (validate_every_request, loads) in [(false, 0), (true, 1)] {
        let backend = Backend::new();
        let (_, token) = backend.session("ann").await;
        let app =
            crate::support::site().layer(backend.layer().validate_every_request(validate_every_request));
        backend.faults.reset_calls();
        let answer = Client::new(app).with_token(&token).get("/static").await;
        assert_eq!(backend.faults.calls("load"), loads);
        // The response does not depend on the session, so caches may keep it.
        assert_eq!((answer.header("cache-control"), answer.header("vary")), (None, None));
    }
}

#[tokio::test]
async fn validating_every_request_validates_no_request_twice() {
    let backend = Backend::new();
    let (_, token) = backend.session("ann").await;
    let app = crate::support::site().layer(backend.layer().validate_every_request(true));
    backend.faults.reset_calls();
    assert_eq!(Client::new(app).with_token(&token).get("/me").await.status, 200);
    assert_eq!(backend.faults.calls("load"), 1);
}

#[tokio::test]
async fn missing_layer_is_500_and_explained_only_in_the_log() {
    let app = Router::new()
        .route("/required", get(async |_: Session| ()))
        .route("/optional", get(async |_: Option<Session>| ()))
        .route("/context", get(async |context: SessionContext| context.session().await.map(drop)));
    for path in ["/required", "/optional", "/context"] {
        let answer = Client::new(app.clone()).get(path).await;
        answer.assert_problem(500, "Something went wrong on our side. Try again later.");
    }
}

#[tokio::test]
async fn the_layer_is_small_and_cheap_to_clone() {
    static_assertions::assert_impl_all!(SessionLayer: Clone, Send, Sync);
    static_assertions::assert_eq_size!(SessionLayer, usize);
    static_assertions::assert_obj_safe!(SessionStore);
}
