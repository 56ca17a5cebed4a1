//! A site on a store that counts its calls and fails on command, and a client that keeps its
//! cookie.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::connect_info::MockConnectInfo;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use serde_json::Value;
use session_axum::{
    NewSession, SameSite, Session, SessionContext, SessionCookie, SessionError, SessionLayer, routes,
};
use session_conformance::faults::{Faults, FaultyStore};
use session_manager::core::{ErrorKind, ExpiryPolicy, Lifetime, ManualClock};
use session_manager::{SessionManager, SessionManagerBuilder};
use session_memory::MemoryStore;
use tower::ServiceExt;

pub(crate) const COOKIE: &str = "__Host-session";

/// A manager on a store with injectable faults, and the clock that both use.
pub(crate) struct Backend {
    pub(crate) manager: SessionManager,
    pub(crate) faults: Faults,
    pub(crate) clock: Arc<ManualClock>,
}

impl Backend {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(configure: impl FnOnce(SessionManagerBuilder) -> SessionManagerBuilder) -> Self {
        let store = FaultyStore::new(MemoryStore::default());
        let faults = store.faults();
        let clock = Arc::new(ManualClock::default());
        let hour = Duration::from_secs(3600);
        let expiry = ExpiryPolicy::default()
            .with_standard(Lifetime::new(Some(hour), 24 * hour).unwrap())
            .with_remembered(Lifetime::new(None, 30 * 24 * hour).unwrap());
        let builder = SessionManager::builder(store)
            .with_clock(Arc::clone(&clock))
            .with_expiry(expiry)
            .with_sweep_interval(None)
            .with_store_deadline(Duration::from_secs(1));
        Self { manager: configure(builder).build().unwrap(), faults, clock }
    }

    pub(crate) fn layer(&self) -> SessionLayer {
        SessionLayer::new(self.manager.clone())
    }

    /// The small site that most tests use.
    pub(crate) fn app(&self) -> Router {
        site().layer(self.layer()).layer(MockConnectInfo(SocketAddr::from(([192, 0, 2, 7], 4711))))
    }

    /// Creates a session directly in the store. Returns it with its token.
    pub(crate) async fn session(&self, user: &str) -> (session_manager::Session, String) {
        let created = self.manager.create(NewSession::for_user(user.parse().unwrap())).await.unwrap();
        (created.session, created.token.expose().to_string())
    }

    pub(crate) async fn stored(&self) -> usize {
        let stats = self.manager.stats().await.unwrap();
        usize::try_from(stats.live).unwrap()
    }
}

pub(crate) fn site() -> Router {
    Router::new()
        .route("/static", get(async || "no session here"))
        .route("/idle", get(async |_: SessionContext| "asks nothing"))
        .route("/me", get(async |session: Session| format!("{:?}", session.user_id())))
        .route("/maybe", get(maybe))
        .route("/sign-in/{user}", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/visit", post(visit))
        .route("/add/{item}", post(add))
        .route("/cart", get(cart))
        .route("/half", post(half))
        .merge(routes())
}

async fn maybe(session: Option<Session>) -> String {
    match session.map(|session| session.user_id()) {
        None => "no session".to_owned(),
        Some(None) => "anonymous".to_owned(),
        Some(Some(user)) => user.to_string(),
    }
}

async fn sign_in(
    axum::extract::Path(user): axum::extract::Path<String>,
    context: SessionContext,
    headers: HeaderMap,
) -> Result<String, SessionError> {
    let new = NewSession::for_user(user.parse()?).with_remember(headers.contains_key("x-remember"));
    Ok(context.sign_in(new).await?.session.id().to_string())
}

async fn sign_out(context: SessionContext) -> Result<StatusCode, SessionError> {
    context.sign_out().await.map(|()| StatusCode::NO_CONTENT)
}

async fn visit(session: Session) -> Result<String, SessionError> {
    let visits = session.get::<u32>("visits")?.unwrap_or_default() + 1;
    session.insert("visits", &visits)?;
    Ok(visits.to_string())
}

async fn add(
    axum::extract::Path(item): axum::extract::Path<String>,
    context: SessionContext,
) -> Result<(), SessionError> {
    let mut items: Vec<String> = match context.session().await? {
        Some(session) => session.get("cart")?.unwrap_or_default(),
        None => Vec::new(),
    };
    items.push(item);
    context.insert("cart", &items).await.map(drop)
}

async fn cart(session: Option<Session>) -> Result<Json<Vec<String>>, SessionError> {
    let items = session.map(|session| session.get("cart")).transpose()?.flatten();
    Ok(Json(items.unwrap_or_default()))
}

/// Changes the session and then fails.
async fn half(session: Session) -> Result<StatusCode, SessionError> {
    session.insert("half", &true)?;
    Ok(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A minimal browser: keeps one cookie, as `Set-Cookie` demands.
#[derive(Clone)]
pub(crate) struct Client {
    app: Router,
    pub(crate) cookie: Option<String>,
    headers: HeaderMap,
}

impl Client {
    pub(crate) fn new(app: Router) -> Self {
        Self { app, cookie: None, headers: HeaderMap::new() }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.cookie = Some(format!("{COOKIE}={token}"));
        self
    }

    /// Sends this text as the cookie header.
    pub(crate) fn with_cookie(mut self, header: &str) -> Self {
        self.cookie = Some(header.to_owned());
        self
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn headers_for_json(&mut self) {
        self.headers.insert("content-type", HeaderValue::from_static("application/json"));
    }

    pub(crate) fn headers_without_type(&mut self) {
        self.headers.remove("content-type");
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, Body::empty()).await
    }

    pub(crate) async fn post(&mut self, path: &str) -> Answer {
        self.send("POST", path, Body::empty()).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Answer {
        self.send("DELETE", path, Body::empty()).await
    }

    pub(crate) async fn post_body(&mut self, path: &str, body: impl Into<Body>) -> Answer {
        self.send("POST", path, body.into()).await
    }

    pub(crate) async fn patch(&mut self, path: &str, body: &str) -> Answer {
        self.send("PATCH", path, Body::from(body.to_owned())).await
    }

    pub(crate) fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
        request.headers_mut().extend(self.headers.clone());
        if let Some(cookie) = &self.cookie {
            request.headers_mut().append("cookie", HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
        }
        request
    }

    async fn send(&mut self, method: &str, path: &str, body: Body) -> Answer {
        let request = self.request(method, path, body);
        let answer = Answer::read(self.app.clone().oneshot(request).await.unwrap()).await;
        for header in answer.set_cookies() {
            let (pair, attributes) = header.split_once(';').unwrap_or((header, ""));
            self.cookie = (!attributes.contains("Max-Age=0")).then(|| pair.to_owned());
        }
        answer
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1024 * 1024).await.unwrap();
        Self { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Asserts that the answer is exactly the problem with this status and detail.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, detail: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let title = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap();
        let expected =
            serde_json::json!({"type": "about:blank", "title": title, "status": status, "detail": detail});
        assert_eq!(self.json(), expected);
    }

    /// Asserts that the answer makes an API client refresh its token.
    #[track_caller]
    pub(crate) fn assert_token_expired(&self) {
        let detail = "The token expired. Refresh it and repeat the request.";
        let uri =
            "https://docs.rs/session-axum/latest/session_axum/enum.SessionError.html#variant.TokenExpired";
        let expected =
            serde_json::json!({"type": uri, "title": "Token expired", "status": 401, "detail": detail});
        assert_eq!((self.status.as_u16(), self.json()), (401, expected));
        let challenge = r#"Bearer error="invalid_token", error_description="The token expired""#;
        assert_eq!(self.header("www-authenticate"), Some(challenge));
    }

    /// Asserts a 503 that leaves the cookie unchanged.
    #[track_caller]
    pub(crate) fn assert_unavailable(&self) {
        self.assert_problem(
            503,
            "Sessions are not reachable right now. You are still signed in; try again in a moment.",
        );
        assert_eq!(self.header("retry-after"), Some("5"));
        assert_eq!(self.set_cookies(), Vec::<&str>::new());
    }

    #[track_caller]
    pub(crate) fn assert_cookie_removed(&self) {
        let removal = "__Host-session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0";
        assert_eq!(self.set_cookies(), [removal]);
    }
}

/// The kinds of error after which a client may retry.
pub(crate) const OUTAGES: [ErrorKind; 2] = [ErrorKind::Unavailable, ErrorKind::Timeout];

pub(crate) fn strict_cookie() -> SessionCookie {
    SessionCookie::builder().with_same_site(SameSite::Strict).build().unwrap()
}
