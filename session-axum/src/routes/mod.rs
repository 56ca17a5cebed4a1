//! The session routes: what a page or an app needs to list a user's devices and to sign them out.

mod body;
mod ensure;
mod handlers;

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, patch, post};
use http::request::Parts;
use session_manager::ExternalSession;

use crate::error::SessionError;
use crate::origin::SameOrigin;
use ensure::Verifier;

/// Largest accepted request body. Bodies are labels of at most 100 characters, and tokens.
const MAX_BODY: usize = 4 * 1024;

/// Returns all session routes, to merge or nest into a router that has a
/// [`SessionLayer`](crate::SessionLayer).
///
/// [`SessionRoutes`] selects and configures them.
///
/// ```
/// use axum::Router;
/// use session_axum::{SessionLayer, routes};
/// # use session_manager::SessionManager;
///
/// # fn app(manager: SessionManager) -> Router {
/// Router::new().nest("/api", routes()).layer(SessionLayer::new(manager))
/// # }
/// ```
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    SessionRoutes::default().into_router()
}

/// One of the session routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SessionRoute {
    /// `GET /sessions/current`: the session of the request.
    Current,
    /// `DELETE /sessions/{id}` and `DELETE /sessions?sessionId=<id>`: signs out one of the user's
    /// sessions.
    End,
    /// `DELETE /sessions?revokeAll=true`: signs out the user's other sessions.
    EndOthers,
    /// `GET /sessions?after=<cursor>&limit=<n>`: the user's live sessions, newest first.
    List,
    /// `DELETE /sessions/current`: signs out the session of the request.
    LogOut,
    /// `POST /sessions/refresh` with `{"refreshToken": "..."}`: a new pair of tokens, for API
    /// clients.
    Refresh,
    /// `PATCH /sessions/{id}` with `{"label": "..."}`: names a device; `null` removes the name.
    Rename,
}

impl SessionRoute {
    const ALL: [Self; 7] =
        [Self::Current, Self::End, Self::EndOthers, Self::List, Self::LogOut, Self::Refresh, Self::Rename];
}

/// A selection of session routes, with their configuration.
///
/// | request | response |
/// |---|---|
/// | `GET /sessions?after=&limit=` | 200 `{"sessions": [...], "next": "..."}`, the session of the request with `"current": true` |
/// | `GET /sessions/current` | 200 with one session |
/// | `PATCH /sessions/{id}` | 200 with the session |
/// | `DELETE /sessions/{id}`, `DELETE /sessions?sessionId=<id>` | 204, also if it had already ended |
/// | `DELETE /sessions?revokeAll=true` | 200 `{"ended": 2}`; this session gets a new token, in its cookie or, for bearer tokens, as `"token"` (with `"refreshToken"` for a pair) |
/// | `DELETE /sessions/current` | 204, and the cookie is removed |
/// | `POST /sessions/refresh` | 200 `{"token": "...", "refreshToken": "...", "expiresIn": 900}`, in seconds |
/// | `POST /sessions/ensure`, [if configured](Self::with_ensure) | 200 `{"created": true}` or `{"exists": true}` |
///
/// Sessions are [`SessionInfo`](session_manager::SessionInfo) as JSON. Errors are
/// [problem+json](crate::Problem): 401 without a session (and for an anonymous one, except on the
/// two `current` routes), 404 for an unknown id or one of another user, which are
/// indistinguishable, 400 for an invalid query, 413, 415 and 422 for an invalid body, 503 if the
/// store is unavailable.
///
/// # Security
/// State-changing requests must pass a [same-origin check](SameOrigin), except refreshing: its
/// credential is in the body, where another site cannot put it. Users can only access their own
/// sessions.
///
/// Refreshing and ensuring do not use the session of the request, so no cookie is validated, set or
/// removed.
///
/// # Examples
/// ```
/// use axum::Router;
/// use session_axum::{SameOrigin, SessionRoute, SessionRoutes};
///
/// let read_only = SessionRoutes::only([SessionRoute::List, SessionRoute::Current]);
/// let read_only: Router = read_only.into_router();
/// let from_the_app: Router = SessionRoutes::default()
///     .without(SessionRoute::Rename)
///     .with_same_origin(SameOrigin::default().with_trusted_origin("https://app.example.com")?)
///     .into_router();
/// # Ok::<(), session_axum::InvalidOrigin>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SessionRoutes {
    picked: BTreeSet<SessionRoute>,
    same_origin: SameOrigin,
    verifier: Option<Verifier>,
}

impl Default for SessionRoutes {
    /// Selects all routes.
    fn default() -> Self {
        Self::only(SessionRoute::ALL)
    }
}

impl SessionRoutes {
    /// Selects only the given routes.
    pub fn only(routes: impl IntoIterator<Item = SessionRoute>) -> Self {
        Self { picked: routes.into_iter().collect(), same_origin: SameOrigin::default(), verifier: None }
    }

    /// Removes a route.
    pub fn without(mut self, route: SessionRoute) -> Self {
        self.picked.remove(&route);
        self
    }

    /// Replaces the check for state-changing requests, to trust other origins.
    pub fn with_same_origin(mut self, check: SameOrigin) -> Self {
        self.same_origin = check;
        self
    }

    /// Adds `POST /sessions/ensure`: finds or creates the session of an identity that another
    /// system asserts, see [`SessionManager::ensure`](session_manager::SessionManager::ensure).
    ///
    /// The verifier identifies the user from the request's headers and extensions, or returns
    /// [`SessionError::Required`] for a 401 if no system asserts an identity. The session's client
    /// is the client of the request.
    ///
    /// # Security
    /// The verifier must check the signature of the assertion that it reads: anyone who can choose
    /// the name can open the session.
    ///
    /// # Examples
    /// ```
    /// use axum::Router;
    /// use axum::http::request::Parts;
    /// use session_axum::{SessionError, SessionRoutes};
    /// use session_manager::ExternalSession;
    ///
    /// # struct Claims { sid: String, sub: String }
    /// # async fn verified(_token: Option<&axum::http::HeaderValue>) -> Option<Claims> { None }
    /// async fn identity(request: Parts) -> Result<ExternalSession, SessionError> {
    ///     let token = request.headers.get("x-id-token");
    ///     let claims = verified(token).await.ok_or(SessionError::Required)?;
    ///     Ok(ExternalSession::new(format!("https://id.example {}", claims.sid), claims.sub.parse()?)?)
    /// }
    ///
    /// let routes: Router = SessionRoutes::default().with_ensure(identity).into_router();
    /// ```
    pub fn with_ensure<F, R>(mut self, verifier: F) -> Self
    where
        F: Fn(Parts) -> R + Send + Sync + 'static,
        R: Future<Output = Result<ExternalSession, SessionError>> + Send + 'static,
    {
        self.verifier = Some(Verifier::new(verifier));
        self
    }

    /// Builds the router.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let has = |route| self.picked.contains(&route);
        let mut router = Router::new();
        if has(SessionRoute::List) {
            router = router.route("/sessions", get(handlers::list));
        }
        let (end, end_others) = (has(SessionRoute::End), has(SessionRoute::EndOthers));
        if end || end_others {
            let handler = move |query, session, context| {
                handlers::end_by_query(handlers::Allowed { end, end_others }, query, session, context)
            };
            router = router.route("/sessions", delete(handler));
        }
        if has(SessionRoute::Current) {
            router = router.route("/sessions/current", get(handlers::current));
        }
        if has(SessionRoute::LogOut) {
            router = router.route("/sessions/current", delete(handlers::log_out));
        }
        if has(SessionRoute::Rename) {
            router = router.route("/sessions/{id}", patch(handlers::rename));
        }
        if end {
            router = router.route("/sessions/{id}", delete(handlers::end));
        }
        if let Some(verifier) = self.verifier {
            router = router.route(
                "/sessions/ensure",
                post(move |context, parts| handlers::ensure(verifier, context, parts)),
            );
        }
        router = router.layer(self.same_origin);
        if self.picked.contains(&SessionRoute::Refresh) {
            router = router.route("/sessions/refresh", post(handlers::refresh));
        }
        router.layer(DefaultBodyLimit::max(MAX_BODY))
    }
}
