//! Refuses state-changing requests that another site caused a browser to send.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::problem::Problem;

/// A check against cross-site request forgery, as a value and as a tower layer.
///
/// A browser sends cookies with requests that *other* sites cause: a hidden form on one page can
/// post to another site. Since 2023 all browsers send the origin of each request, so a server can
/// refuse forged ones without tokens in forms:
///
/// 1. `GET`, `HEAD`, `OPTIONS` and `TRACE` pass: they must not change state.
/// 2. An `Origin` that you [trust](Self::with_trusted_origin) passes.
/// 3. [`Sec-Fetch-Site`](https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header) decides if it
///    is present: `same-origin` and `none` (the user typed the address) pass. `same-site` does not:
///    a sibling host is another origin.
/// 4. Otherwise [`Origin`](https://fetch.spec.whatwg.org/#origin-header) must name the host that
///    the request was sent to. Older browsers, and all browsers on plain http, send it with every
///    such request.
/// 5. Without both headers the request passes: no browser sent it, so it was not forged.
///
/// A request that authenticates with `Authorization: Bearer` and has no cookie passes as well:
/// browsers never add that header by themselves.
///
/// The [`routes`](crate::routes()) contain this check. Add it to your own forms too, including the
/// sign-in form:
///
/// ```
/// use axum::{Router, routing::post};
/// use session_axum::SameOrigin;
///
/// let app: Router = Router::new()
///     .route("/cart", post(|| async { "added" }))
///     .layer(SameOrigin::default());
/// ```
///
/// # Security
/// Protects only requests that change state by a method other than `GET`. It does not replace
/// `SameSite` on the cookie: both are cheap.
///
/// Behind a proxy that rewrites `Host`, add the public origin with
/// [`with_trusted_origin`](Self::with_trusted_origin).
#[derive(Debug, Clone, Default)]
pub struct SameOrigin {
    trusted: Arc<[Box<str>]>,
}

/// The error for a text that is not an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an origin must be `https://host` or `http://host`, in lower case, with the port if it is not the scheme's default, without a path"
)]
#[non_exhaustive]
pub struct InvalidOrigin;

impl SameOrigin {
    /// Accepts requests from another origin, such as `https://admin.example.com`.
    ///
    /// # Errors
    /// [`InvalidOrigin`] unless the text is what a browser sends.
    pub fn with_trusted_origin(mut self, origin: &str) -> Result<Self, InvalidOrigin> {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_host_byte = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        let host =
            host.filter(|host| host.bytes().all(|byte| is_host_byte(byte) && !b"/?#@".contains(&byte)));
        // Browsers omit the scheme's default port, see
        // https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin.
        let default_port = if origin.starts_with("https") { ":443" } else { ":80" };
        if host.is_none_or(|host| host.is_empty() || host.ends_with(default_port)) {
            return Err(InvalidOrigin);
        }
        self.trusted = self.trusted.iter().cloned().chain([origin.into()]).collect();
        Ok(self)
    }

    /// Checks a request.
    ///
    /// # Errors
    /// The 403 response to return.
    pub fn check(&self, request: &Parts) -> Result<(), Problem> {
        self.judge(&request.method, &request.uri, &request.headers)
    }

    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        // RFC 9110 section 9.2.1.
        if method.is_safe() || is_bearer_only(headers) {
            return Ok(());
        }
        let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
        let is_trusted = origin.is_some_and(|origin| self.trusted.iter().any(|trusted| **trusted == *origin));
        let site = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or_default());
        let is_same = match (site, origin) {
            (Some(site), _) => site == "same-origin" || site == "none",
            (None, Some(origin)) => is_own_host(origin, uri, headers),
            (None, None) => true,
        };
        if is_trusted || is_same { Ok(()) } else { Err(refusal()) }
    }
}

/// RFC 6750: a token that the API client added itself, and nothing that a browser adds.
fn is_bearer_only(headers: &HeaderMap) -> bool {
    let is_bearer = |value: &[u8]| value.get(..7).is_some_and(|head| head.eq_ignore_ascii_case(b"bearer "));
    !headers.contains_key(COOKIE) && headers.get(AUTHORIZATION).is_some_and(|it| is_bearer(it.as_bytes()))
}

/// Returns true if the origin has the host and port of the request. Ignores the scheme, which is
/// unknown behind a proxy that terminates TLS.
fn is_own_host(origin: &str, uri: &Uri, headers: &HeaderMap) -> bool {
    let Some((scheme, origin_host)) = origin.split_once("://") else { return false };
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| headers.get(HOST)?.to_str().ok());
    let default_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let without_port = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_ascii_lowercase();
    !origin_host.is_empty() && host.is_some_and(|host| without_port(host) == without_port(origin_host))
}

fn refusal() -> Problem {
    tracing::warn!("a state-changing request came from another site and was refused");
    Problem::new(
        StatusCode::FORBIDDEN,
        "This request came from another site. Open the page itself and try again.",
    )
}

impl<S> Layer<S> for SameOrigin {
    type Service = SameOriginService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SameOriginService { inner, check: self.clone() }
    }
}

/// The service of [`SameOrigin`].
#[derive(Debug, Clone)]
pub struct SameOriginService<S> {
    inner: S,
    check: SameOrigin,
}

impl<S, B> Service<Request<B>> for SameOriginService<S>
where
    S: Service<Request<B>>,
    S::Response: IntoResponse,
{
    type Response = Response;
    type Error = S::Error;
    type Future = SameOriginFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let kind = match self.check.judge(request.method(), request.uri(), request.headers()) {
            Ok(()) => Kind::Passed { future: self.inner.call(request) },
            Err(problem) => Kind::Refused { problem },
        };
        SameOriginFuture { kind }
    }
}

pin_project! {
    /// The response future of [`SameOriginService`].
    #[derive(Debug)]
    pub struct SameOriginFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<F> {
        Passed { #[pin] future: F },
        Refused { problem: Problem },
    }
}

impl<F, R, E> Future for SameOriginFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Passed { future } => future.poll(cx).map_ok(IntoResponse::into_response),
            KindProjection::Refused { problem } => Poll::Ready(Ok(problem.into_response())),
        }
    }
}

#[cfg(test)]
mod tests;
