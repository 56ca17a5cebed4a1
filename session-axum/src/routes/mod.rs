//! The session routes: what a page or an app needs to show a user their devices and to sign them out.

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

/// Largest accepted request body. They are labels of at most 100 characters, and tokens.
const MAX_BODY: usize = 4 * 1024;

/// Returns all session routes, to be merged or nested into a router that has a [`SessionLayer`](crate::SessionLayer).
///
/// [`SessionRoutes`] picks and configures them.
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
    /// `GET /sessions/current`: this session.
    Current,
    /// `DELETE /sessions/{id}` and `DELETE /sessions?sessionId=<id>`: signs one of the user's sessions out.
    End,
    /// `DELETE /sessions?revokeAll=true`: signs the user's other sessions out.
    EndOthers,
    /// `GET /sessions?after=<cursor>&limit=<n>`: the user's live sessions, newest first.
    List,
    /// `DELETE /sessions/current`: signs this session out.
    LogOut,
    /// `POST /sessions/refresh` with `{"refreshToken": "..."}`: a new pair of tokens, for programs.
    Refresh,
    /// `PATCH /sessions/{id}` with `{"label": "..."}`: names a device; `null` takes the name away.
    Rename,
}

impl SessionRoute {
    const ALL: [Self; 7] =
        [Self::Current, Self::End, Self::EndOthers, Self::List, Self::LogOut, Self::Refresh, Self::Rename];
}

/// Picks session routes.
///
/// | request | answer |
/// |---|---|
/// | `GET /sessions?after=&limit=` | 200 `{"sessions": [...], "next": "..."}`, the session of the request with `"current": true` |
/// | `GET /sessions/current` | 200 with one session |
/// | `PATCH /sessions/{id}` | 200 with the session |
/// | `DELETE /sessions/{id}`, `DELETE /sessions?sessionId=<id>` | 204; again 204 if it had ended before |
/// | `DELETE /sessions?revokeAll=true` | 200 `{"ended": 2}`; this session gets a new token, in its cookie or as `"token"` (with `"refreshToken"` for a pair) for bearers |
/// | `DELETE /sessions/current` | 204, and the cookie is removed |
/// | `POST /sessions/refresh` | 200 `{"token": "...", "refreshToken": "...", "expiresIn": 900}`, in seconds |
/// | `POST /sessions/ensure`, [if set up](Self::with_ensure) | 200 `{"created": true}` or `{"exists": true}` |
///
/// Sessions are [`SessionInfo`](session_manager::SessionInfo) as JSON. Errors are [problem+json](crate::Problem): 401 without a
/// session (and, except on the two `current` routes, for an anonymous one), 404 for an id that is unknown or somebody else's,
/// which look the same, 400 for a query that makes no sense, 413, 415 and 422 for a body that is no label, 503 when the store
/// cannot be asked.
///
/// # Security
/// State-changing requests pass a [same-origin check](SameOrigin) first, except refreshing: its credential is in the body, where no
/// other site can put it. A user reaches their own sessions only.
///
/// Refreshing and ensuring stay out of the request's own session: they ask for none, so no cookie is validated, set or removed.
///
/// # Examples
/// ```
/// use axum::Router;
/// use session_axum::{SameOrigin, SessionRoute, SessionRoutes};
///
/// let read_only: Router = SessionRoutes::only([SessionRoute::List, SessionRoute::Current]).into_router();
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
    /// Begins with all of them.
    fn default() -> Self {
        Self::only(SessionRoute::ALL)
    }
}

impl SessionRoutes {
    /// Begins with some of them.
    pub fn only(routes: impl IntoIterator<Item = SessionRoute>) -> Self {
        Self { picked: routes.into_iter().collect(), same_origin: SameOrigin::default(), verifier: None }
    }

    /// Leaves one out.
    pub fn without(mut self, route: SessionRoute) -> Self {
        self.picked.remove(&route);
        self
    }

    /// Replaces the check that state-changing requests pass, to trust other origins.
    pub fn with_same_origin(mut self, check: SameOrigin) -> Self {
        self.same_origin = check;
        self
    }

    /// Adds `POST /sessions/ensure`: finds or creates the session of an identity that another system vouches for, see
    /// [`SessionManager::ensure`](session_manager::SessionManager::ensure).
    ///
    /// The verifier says whose request it is, from its headers and extensions, or answers
    /// [`SessionError::Required`] for the 401 of a request that nobody vouches for. The session's client is that of the request.
    ///
    /// # Security
    /// The verifier must check the signature of whatever it reads: whoever can choose the name can open the session.
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
    ///     let claims = verified(request.headers.get("x-id-token")).await.ok_or(SessionError::Required)?;
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

    /// Makes the router.
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
