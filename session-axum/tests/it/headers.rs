use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use session_axum::{NewSession, Session, SessionContext, SessionError, Transport};

use crate::support::{Backend, Client, site};

#[tokio::test]
async fn responses_that_depend_on_the_session_are_not_cached() {
    let backend = Backend::new();
    let mut client = Client::new(backend.app());
    let answers = [
        ("anonymous", client.get("/maybe").await),
        ("refused", client.get("/me").await),
        ("set", client.post("/sign-in/ann").await),
        ("read", client.get("/me").await),
        ("written", client.post("/visit").await),
        ("removed", client.post("/sign-out").await),
    ];
    for (what, answer) in answers {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(answer.header("vary"), Some("Cookie"), "{what}");
    }
}

#[tokio::test]
async fn cache_headers_of_the_application_are_kept() {
    let backend = Backend::new();
    let private = async |_: Option<Session>| {
        [("cache-control", "private, max-age=60"), ("vary", "Accept-Language, cookie")].into_response()
    };
    let any = async |_: Option<Session>| [("vary", "*")];
    let app = Router::new().route("/private", get(private)).route("/any", get(any)).layer(backend.layer());
    let mut client = Client::new(app);
    let answer = client.get("/private").await;
    assert_eq!(answer.header("cache-control"), Some("private, max-age=60"));
    assert_eq!(answer.headers.get_all("vary").iter().collect::<Vec<_>>(), ["Accept-Language, cookie"]);
    assert_eq!(client.get("/any").await.headers.get_all("vary").iter().collect::<Vec<_>>(), ["*"]);
}

#[tokio::test]
async fn the_response_varies_by_every_header_that_is_read() {
    let backend = Backend::new();
    for (transport, expected) in [
        (Transport::Cookie, vec!["Cookie"]),
        (Transport::Bearer, vec!["Authorization"]),
        (Transport::Either, vec!["Cookie", "Authorization"]),
    ] {
        let app = site().layer(backend.layer().with_transport(transport));
        let answer = Client::new(app).get("/maybe").await;
        assert_eq!(answer.headers.get_all("vary").iter().collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn nested_layers_make_one_session_and_one_cookie() {
    let backend = Backend::new();
    let inner = Router::new()
        .route(
            "/sign-in",
            post(async |context: SessionContext| -> Result<(), SessionError> {
                context.sign_in(NewSession::for_user("ann".parse()?)).await.map(drop)
            }),
        )
        .route("/me", get(async |session: Session| session.user_id().unwrap().to_string()))
        .layer(backend.layer());
    let app = Router::new().nest("/inner", inner).layer(backend.layer()).layer(backend.layer());
    let mut client = Client::new(app);
    let answer = client.post("/inner/sign-in").await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert_eq!(answer.headers.get_all("vary").iter().count(), 1);
    assert_eq!(backend.stored().await, 1);
    backend.faults.reset_calls();
    assert_eq!(client.get("/inner/me").await.body, "ann");
    assert_eq!(backend.faults.calls("load"), 1);
}

#[tokio::test]
async fn layers_with_different_cookies_are_independent() {
    let (shop, staff) = (Backend::new(), Backend::new());
    let named = |name: &str| session_axum::SessionCookie::builder().with_name(name).build().unwrap();
    let app = site()
        .layer(staff.layer().with_cookie(named("__Host-staff")))
        .layer(shop.layer().with_cookie(named("__Host-shop")));
    let answer = Client::new(app).post("/sign-in/ann").await;
    assert_eq!(answer.set_cookies().len(), 1);
    assert!(answer.set_cookies()[0].starts_with("__Host-staff="));
    assert_eq!((shop.stored().await, staff.stored().await), (0, 1));
}

#[tokio::test]
async fn session_cookie_replaces_one_set_by_the_handler() {
    let backend = Backend::new();
    let handler = async |context: SessionContext| -> Result<_, SessionError> {
        context.sign_in(NewSession::for_user("ann".parse()?)).await?;
        let headers = axum::response::AppendHeaders([
            ("set-cookie", "__Host-session=mine; Path=/"),
            ("set-cookie", "theme=dark"),
            ("set-cookie", "__Host-session2=other"),
        ]);
        Ok(headers)
    };
    let app = Router::new().route("/", post(handler)).layer(backend.layer());
    let answer = Client::new(app).post("/").await;
    let names: Vec<_> =
        answer.set_cookies().iter().map(|header| header.split_once('=').unwrap().0.to_owned()).collect();
    assert_eq!(names, ["theme", "__Host-session2", "__Host-session"]);
    assert!(!answer.set_cookies()[2].contains("mine"));
}
