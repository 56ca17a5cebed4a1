//! The tower layer: adds the state to each request and completes the response.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::response::{IntoResponse, Response};
use http::Request;
use pin_project_lite::pin_project;
use session_manager::SessionManager;
use tower_layer::Layer;
use tower_service::Service;

use crate::cookie::SessionCookie;
use crate::credentials::Transport;
use crate::finish::{self, Finished, Pending};
use crate::state::{Config, RequestState};

/// A tower layer that adds sessions to a router.
///
/// It does nothing until a handler asks for the session: it reads no header, calls no store,
/// validates nothing and leaves the response unchanged. See the [crate documentation](crate) for
/// the behaviour after that.
///
/// Add it after the routes that need it, because a router's layer wraps only the routes added
/// before:
///
/// ```
/// use axum::{Router, routing::get};
/// use session_axum::{Session, SessionLayer};
/// # use session_manager::SessionManager;
///
/// # fn app(manager: SessionManager) -> Router {
/// Router::new()
///     .route("/me", get(|session: Session| async move { session.id().to_string() }))
///     .layer(SessionLayer::new(manager))
/// # }
/// ```
///
/// Of two nested layers with the same cookie, the inner one does nothing.
#[derive(Clone)]
pub struct SessionLayer {
    config: Arc<Config>,
}

impl SessionLayer {
    /// Creates a layer with the default cookie, which browsers accept over https and on localhost
    /// only.
    #[must_use]
    pub fn new(manager: SessionManager) -> Self {
        let config = Config {
            manager,
            cookie: SessionCookie::default(),
            transport: Transport::default(),
            validate_every_request: false,
        };
        Self { config: Arc::new(config) }
    }

    /// Sets the cookie.
    #[must_use]
    pub fn with_cookie(self, cookie: SessionCookie) -> Self {
        if !cookie.is_secure() {
            tracing::warn!(
                cookie = cookie.name(),
                "the session cookie is not Secure: for development on localhost only"
            );
        }
        self.with(|config| config.cookie = cookie)
    }

    /// Sets where requests carry the token. [`Transport::Cookie`] by default.
    #[must_use]
    pub fn with_transport(self, transport: Transport) -> Self {
        self.with(|config| config.transport = transport)
    }

    /// Makes every request that presents a token update the last-seen time of its session, whether
    /// its handler asks for the session or not. Off by default.
    ///
    /// If the handler does not ask, the token is validated after it. This does not change the
    /// response, except that it may set the cookie of a replaced token.
    #[must_use]
    pub fn validate_every_request(self, validate: bool) -> Self {
        self.with(|config| config.validate_every_request = validate)
    }

    fn with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Config { manager, cookie, transport, validate_every_request } = &*self.config;
        let mut config = Config {
            manager: manager.clone(),
            cookie: cookie.clone(),
            transport: *transport,
            validate_every_request: *validate_every_request,
        };
        change(&mut config);
        Self { config: Arc::new(config) }
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("cookie", &self.config.cookie)
            .field("transport", &self.config.transport)
            .field("validate_every_request", &self.config.validate_every_request)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionService { inner, config: Arc::clone(&self.config) }
    }
}

/// The service of [`SessionLayer`].
#[derive(Debug, Clone)]
pub struct SessionService<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S, B> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>>,
    S::Response: IntoResponse,
{
    type Response = Response;
    type Error = S::Error;
    type Future = SessionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let outer = request.extensions().get::<Arc<RequestState>>();
        let is_nested = outer.is_some_and(|outer| outer.config.cookie.name() == self.config.cookie.name());
        let state = (!is_nested).then(|| Arc::new(RequestState::new(Arc::clone(&self.config))));
        if let Some(state) = &state {
            if self.config.validate_every_request {
                state.take_claims(request.headers(), request.extensions());
            }
            request.extensions_mut().insert(Arc::clone(state));
        }
        SessionFuture { step: Step::Handling { handler: self.inner.call(request), state } }
    }
}

pin_project! {
    /// The response future of [`SessionService`].
    pub struct SessionFuture<F> {
        #[pin]
        step: Step<F>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F> {
        Handling { #[pin] handler: F, state: Option<Arc<RequestState>> },
        Finishing { pending: Pending },
    }
}

impl<F> fmt::Debug for SessionFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFuture").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for SessionFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.step.as_mut().project() {
                StepProjection::Handling { handler, state } => {
                    let response = ready!(handler.poll(cx))?.into_response();
                    let Some(state) = state.take() else { return Poll::Ready(Ok(response)) };
                    match finish::finish(state, response) {
                        Finished::Ready(response) => return Poll::Ready(Ok(response)),
                        Finished::Pending(pending) => this.step.set(Step::Finishing { pending }),
                    }
                }
                StepProjection::Finishing { pending } => return pending.as_mut().poll(cx).map(Ok),
            }
        }
    }
}
