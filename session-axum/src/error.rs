//! The errors of extractors and contexts, as responses.

use std::error::Error as StdError;

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use session_manager::ValidateError;
use session_manager::core::{Error, ErrorKind};

use crate::problem::Problem;

/// Seconds after which a client may retry when the store is unavailable. Shorter than a failover,
/// so that most clients retry once or twice, and long enough not to add to the load of a starting
/// store.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Seconds after which a client may try another code: the manager allows ten attempts per second.
const RETRY_ATTEMPT_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The problem type that makes an API client refresh its token, with the address of its
/// documentation.
const TOKEN_EXPIRED_TYPE: &str =
    "https://docs.rs/session-axum/latest/session_axum/enum.SessionError.html#variant.TokenExpired";

/// The reason why there is no session, as a response.
///
/// The body is [problem+json](Problem) with one fixed text per class. Internal causes are logged.
///
/// | variant, kind | status |
/// |---|---|
/// | [`Required`](Self::Required), [`SignedOut`](Self::SignedOut), `Ended` | 401 |
/// | [`TokenExpired`](Self::TokenExpired) | 401 with a `type` of its own |
/// | [`WrongCode`](Self::WrongCode), `NotFound` | 404 |
/// | `AlreadyExists`, `Conflict`, `LimitExceeded` | 409 |
/// | `Invalid` | 413 if the session's data is too large, else 422 |
/// | [`TooManyAttempts`](Self::TooManyAttempts) | 429 with `Retry-After` |
/// | [`Unavailable`](Self::Unavailable), `Timeout`, `Unavailable` | 503 with `Retry-After` |
/// | [`LayerMissing`](Self::LayerMissing), all others | 500 |
///
/// Handlers can return it too: `?` converts an error of the manager.
///
/// ```
/// use axum::Json;
/// use session_axum::{Session, SessionError};
///
/// async fn cart(session: Session) -> Result<Json<Vec<String>>, SessionError> {
///     Ok(Json(session.get("cart")?.unwrap_or_default()))
/// }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The manager or its store returned an error.
    #[error(transparent)]
    Failed(Error),
    /// No [`SessionLayer`](crate::SessionLayer) is around this route.
    #[error(
        "no SessionLayer is around this route: add `.layer(SessionLayer::new(manager))` to the router, after its routes"
    )]
    LayerMissing,
    /// The request has no live session.
    #[error("the request has no live session")]
    Required,
    /// The request was signed out, which takes precedence over anything else that it does.
    #[error("the session was signed out earlier in this request")]
    SignedOut,
    /// The session is live, but the short-lived token of its pair has expired:
    /// [refresh](crate::SessionContext::refresh) it and repeat the request. Only returned for
    /// tokens that came without a cookie, to API clients.
    ///
    /// The `type` of the problem is
    /// `https://docs.rs/session-axum/latest/session_axum/enum.SessionError.html#variant.TokenExpired`.
    #[error("the token expired and must be refreshed")]
    TokenExpired,
    /// Too many codes were tried in a short time, by this or by other clients.
    #[error("too many codes were tried")]
    TooManyAttempts,
    /// The session cannot be validated now, so the request may or may not have one.
    #[error("the session cannot be validated now")]
    Unavailable(#[source] Error),
    /// The code of a transfer is mistyped, already used or too old.
    #[error("the code of a transfer is wrong, used or too old")]
    WrongCode,
}

impl SessionError {
    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.problem().status()
    }

    /// Returns the body of the response.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Failed(error) => problem_of(error),
            Self::LayerMissing => INTERNAL,
            Self::Required | Self::SignedOut => SIGN_IN,
            Self::TokenExpired => REFRESH,
            Self::TooManyAttempts => SLOW_DOWN,
            Self::Unavailable(_) => TRY_AGAIN,
            Self::WrongCode => WRONG_CODE,
        }
    }

    fn log(&self) {
        let status = self.status().as_u16();
        match self {
            Self::Failed(error) | Self::Unavailable(error) if status >= 500 => {
                let source = error.source().map(tracing::field::display);
                // An outage affects every request, and the store reports it as an error itself.
                match status {
                    503 => tracing::warn!(%error, source, status, "sessions are not reachable"),
                    _ => tracing::error!(%error, source, status, "session request failed"),
                }
            }
            Self::LayerMissing => tracing::error!("{self}"),
            _ => tracing::debug!(status, "session request refused: {self}"),
        }
    }
}

const SIGN_IN: Problem = Problem::new(StatusCode::UNAUTHORIZED, "Sign in to continue.");
const REFRESH: Problem =
    Problem::new(StatusCode::UNAUTHORIZED, "The token expired. Refresh it and repeat the request.")
        .with_type(TOKEN_EXPIRED_TYPE, "Token expired");
const SLOW_DOWN: Problem = Problem::new(
    StatusCode::TOO_MANY_REQUESTS,
    "Too many codes were tried. Wait a moment and type the code again.",
);
const WRONG_CODE: Problem = Problem::new(
    StatusCode::NOT_FOUND,
    "That code is mistyped, was used already, or is too old. Ask for a new one.",
);
const TRY_AGAIN: Problem = Problem::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "Sessions are not reachable right now. You are still signed in; try again in a moment.",
);
const INTERNAL: Problem =
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side. Try again later.");

fn problem_of(error: &Error) -> Problem {
    match error.kind() {
        ErrorKind::Ended => SIGN_IN,
        ErrorKind::NotFound => Problem::new(StatusCode::NOT_FOUND, "There is no such session."),
        ErrorKind::AlreadyExists | ErrorKind::Conflict => Problem::new(
            StatusCode::CONFLICT,
            "The session was changed by another request at the same time. Load the page again and repeat the change.",
        ),
        ErrorKind::LimitExceeded => Problem::new(
            StatusCode::CONFLICT,
            "You are signed in on too many devices. Sign out on one of them first.",
        ),
        // `encode` refuses data only because of its limits.
        ErrorKind::Invalid if error.operation() == "encode" => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The session cannot hold that much. Remove something first.",
        ),
        ErrorKind::Invalid => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "A value is empty, too long or not allowed.")
        }
        ErrorKind::Timeout | ErrorKind::Unavailable => TRY_AGAIN,
        _ => INTERNAL,
    }
}

impl From<Error> for SessionError {
    fn from(error: Error) -> Self {
        match (error.operation(), error.kind()) {
            ("redeem", ErrorKind::LimitExceeded) => Self::TooManyAttempts,
            ("redeem", ErrorKind::NotFound) => Self::WrongCode,
            _ => Self::Failed(error),
        }
    }
}

impl From<ValidateError> for SessionError {
    fn from(error: ValidateError) -> Self {
        match error {
            ValidateError::Rejected(_) => Self::Required,
            // The request is refused: a retry gives the same result.
            ValidateError::Unavailable(error)
                if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::LimitExceeded) =>
            {
                Self::Failed(error)
            }
            ValidateError::Unavailable(error) => Self::Unavailable(error),
            // A variant added in a later version must not sign users out either.
            error => Self::Unavailable(Error::other("manager", "validate", error)),
        }
    }
}

impl IntoResponse for SessionError {
    fn into_response(self) -> Response {
        self.log();
        let problem = self.problem();
        let mut response = problem.into_response();
        let retry = match problem.status() {
            StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_SECONDS),
            StatusCode::TOO_MANY_REQUESTS => Some(RETRY_ATTEMPT_SECONDS),
            _ => None,
        };
        response.headers_mut().extend(retry.map(|retry| (RETRY_AFTER, retry)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        for (kind, status) in [
            (ErrorKind::AlreadyExists, 409),
            (ErrorKind::Conflict, 409),
            (ErrorKind::Corrupt, 500),
            (ErrorKind::Ended, 401),
            (ErrorKind::Invalid, 422),
            (ErrorKind::LimitExceeded, 409),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Other, 500),
            (ErrorKind::Timeout, 503),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Unsupported, 500),
        ] {
            let error = SessionError::from(Error::new(kind, "memory", "load"));
            assert_eq!(error.status().as_u16(), status, "{kind:?}");
            let retry = error.into_response().headers().contains_key(RETRY_AFTER);
            assert_eq!(retry, status == 503, "{kind:?}");
        }
        let too_large = Error::invalid("encode", "session data is larger than its limit");
        assert_eq!(SessionError::from(too_large).status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn codes_have_errors_of_their_own() {
        let wrong = SessionError::from(Error::not_found("manager", "redeem"));
        assert!(matches!(wrong, SessionError::WrongCode));
        assert_eq!(wrong.status(), StatusCode::NOT_FOUND);
        let often = SessionError::from(Error::limit_exceeded("manager", "redeem", Vec::new()));
        assert!(matches!(often, SessionError::TooManyAttempts));
        let response = often.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }

    #[test]
    fn rejection_is_401_and_refusal_is_not_503() {
        let of = |error| SessionError::from(ValidateError::Unavailable(error)).status().as_u16();
        assert_eq!(of(Error::unavailable("memory", "load")), 503);
        assert_eq!(of(Error::corrupt("memory", "load", "damaged")), 503);
        assert_eq!(of(Error::limit_exceeded("memory", "create", Vec::new())), 409);
        assert_eq!(of(Error::invalid("create", "too long")), 422);
        let rejected = ValidateError::Rejected(session_manager::Rejection::Unknown);
        assert_eq!(SessionError::from(rejected).status(), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn missing_session_is_401_and_unavailable_store_is_503() {
        assert_eq!(SessionError::Required.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(SessionError::SignedOut.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(SessionError::LayerMissing.status(), StatusCode::INTERNAL_SERVER_ERROR);
        // A record that cannot be read counts as an unavailable store: it must not sign users out.
        let corrupt = Error::corrupt("memory", "load", "damaged");
        assert_eq!(SessionError::Unavailable(corrupt).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
