//! Completion of the response: writes changed data and sets the session headers.

use std::pin::Pin;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, SET_COOKIE, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use session_manager::core::{EndReason, Error, ErrorKind};
use session_manager::{Rejection, Session};
use tracing::Instrument;

use crate::credentials::Transport;
use crate::error::SessionError;
use crate::state::{Decision, RequestState, Verdict};

/// The rest of a response that waits for the store.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Response> + Send>>;

pub(crate) enum Finished {
    Pending(Pending),
    Ready(Response),
}

/// The state of a request after its handler.
struct Outcome {
    session: Option<Session>,
    cookie: CookieChange,
}

/// The change that the response makes to the cookie.
#[derive(Debug, Clone)]
enum CookieChange {
    Keep,
    Remove,
    Set(HeaderValue),
}

/// Completes a response, immediately unless data has to be written.
pub(crate) fn finish(state: Arc<RequestState>, response: Response) -> Finished {
    if state.was_asked() {
        let outcome = state.decision.try_lock().map(|decision| Outcome::of(&state, &decision, &response));
        return match outcome {
            Ok(outcome) => outcome.apply(state, response),
            // A task that the handler spawned is still signing in or out.
            Err(_) => Finished::Pending(Box::pin(finish_later(state, response))),
        };
    }
    if state.config.validate_every_request {
        return Finished::Pending(Box::pin(async move {
            let renewed = match state.judge().await {
                Verdict::Live(session) if state.has_cookie() => renewed(&state, session),
                _ => None,
            };
            match renewed {
                Some(cookie) => with_headers(&state, response, CookieChange::Set(cookie)),
                None => response,
            }
        }));
    }
    Finished::Ready(response)
}

async fn finish_later(state: Arc<RequestState>, response: Response) -> Response {
    let outcome = Outcome::of(&state, &*state.decision.lock().await, &response);
    match outcome.apply(state, response) {
        Finished::Pending(pending) => pending.await,
        Finished::Ready(response) => response,
    }
}

impl Outcome {
    fn of(state: &RequestState, decision: &Decision, response: &Response) -> Self {
        let (session, cookie) = match (decision, state.verdict()) {
            (Decision::Created { session, cookie }, _) => {
                (Some(session), cookie.clone().map_or(CookieChange::Keep, CookieChange::Set))
            }
            (Decision::Ended | Decision::SignedOut, _) => (None, CookieChange::Remove),
            (Decision::Unchanged, Some(Verdict::Live(session))) => (Some(session), CookieChange::Keep),
            (Decision::Unchanged, Some(Verdict::Rejected(rejection)))
                if is_final(rejection) && !response.status().is_server_error() =>
            {
                (None, CookieChange::Remove)
            }
            (Decision::Unchanged, _) => (None, CookieChange::Keep),
        };
        let in_cookie = match decision {
            Decision::Created { cookie, .. } => cookie.is_some(),
            _ => state.has_cookie(),
        };
        let renewed = session.filter(|_| in_cookie).and_then(|session| renewed(state, session));
        let cookie = renewed.map_or(cookie, CookieChange::Set);
        // A handler that failed half-way must not leave half of its data.
        let session = session.filter(|session| session.is_modified() && !response.status().is_server_error());
        Self { session: session.cloned(), cookie }
    }

    fn apply(self, state: Arc<RequestState>, response: Response) -> Finished {
        let Self { session, cookie } = self;
        let Some(session) = session else {
            return Finished::Ready(with_headers(&state, response, cookie));
        };
        // In its own task: a client that disconnects now drops this response, but not the write.
        let task = tokio::spawn(async move { session.save().await }.in_current_span());
        Finished::Pending(Box::pin(async move {
            let saved = task.await.unwrap_or_else(|panic| Err(Error::other("axum", "commit", panic)));
            let (response, cookie) = match saved {
                Ok(()) => (response, cookie),
                // The browser may hold the cookie of the sign-in that ended this session, so none
                // is removed.
                Err(error) if matches!(error.kind(), ErrorKind::Ended | ErrorKind::NotFound) => {
                    (SessionError::Required.into_response(), CookieChange::Keep)
                }
                Err(error) => (SessionError::from(error).into_response(), cookie),
            };
            with_headers(&state, response, cookie)
        }))
    }
}

/// Returns the cookie of a token that replaced the presented one. It is sent whatever else fails,
/// because the old token may already be invalid.
fn renewed(state: &RequestState, session: &Session) -> Option<HeaderValue> {
    session.take_token().and_then(|token| state.config.cookie_for(session, &token))
}

/// Returns true if the cookie is worthless from now on and the browser cannot hold a newer one.
///
/// A session that a rule denied to this request is still live elsewhere, and the session of a
/// disabled user is live again when the user is enabled. If the secret was replaced during this
/// request, or a sign-in or a transfer replaced the session, the browser already received the new
/// cookie, and a removal would delete it.
fn is_final(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::Ended(ended) => !matches!(ended.reason, EndReason::Superseded | EndReason::Transferred),
        Rejection::Expired(_) | Rejection::Malformed | Rejection::TokenExpired | Rejection::Unknown => true,
        _ => false,
    }
}

/// Sets the headers of a response that depends on the session, for caches, browsers and API
/// clients.
fn with_headers(state: &RequestState, mut response: Response, cookie: CookieChange) -> Response {
    let config = &state.config;
    let cookie = match cookie {
        CookieChange::Keep => None,
        CookieChange::Remove if !state.has_cookie() => None,
        CookieChange::Remove => config.cookie.removal(),
        CookieChange::Set(header) => Some(header),
    };
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if let Some(cookie) = cookie {
        set_cookie(headers, cookie, |header| config.cookie.is_set_by(header));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    vary(headers, config.transport);
    // RFC 9110 section 15.5.2 requires a challenge with every 401; there is no scheme for cookies.
    if is_unauthorized && config.transport.reads_bearer() && !headers.contains_key(WWW_AUTHENTICATE) {
        headers.insert(WWW_AUTHENTICATE, challenge(state));
    }
    response
}

/// RFC 6750 section 3: the challenge has no error code if the request contained no token.
fn challenge(state: &RequestState) -> HeaderValue {
    HeaderValue::from_static(match state.verdict() {
        Some(Verdict::Rejected(Rejection::TokenExpired)) => {
            r#"Bearer error="invalid_token", error_description="The token expired""#
        }
        _ => "Bearer",
    })
}

/// RFC 6265bis section 4.1.1: at most one `Set-Cookie` per name and response.
fn set_cookie(headers: &mut HeaderMap, cookie: HeaderValue, is_own: impl Fn(&HeaderValue) -> bool) {
    if headers.get_all(SET_COOKIE).iter().any(&is_own) {
        let others: Vec<_> =
            headers.get_all(SET_COOKIE).iter().filter(|header| !is_own(header)).cloned().collect();
        headers.remove(SET_COOKIE);
        for other in others {
            headers.append(SET_COOKIE, other);
        }
    }
    headers.append(SET_COOKIE, cookie);
}

/// Adds the request headers that carry the session to `Vary`, unless the response lists them
/// already.
fn vary(headers: &mut HeaderMap, transport: Transport) {
    let wanted = [
        transport.reads_cookie().then_some(("cookie", HeaderValue::from_static("Cookie"))),
        transport.reads_bearer().then_some(("authorization", HeaderValue::from_static("Authorization"))),
    ];
    for (name, value) in wanted.into_iter().flatten() {
        let names = headers.get_all(VARY).iter().filter_map(|header| header.to_str().ok());
        let is_named = names
            .flat_map(|names| names.split(','))
            .map(str::trim)
            .any(|known| known == "*" || known.eq_ignore_ascii_case(name));
        if !is_named {
            headers.append(VARY, value);
        }
    }
}
