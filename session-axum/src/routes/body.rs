//! Request and response bodies of the routes.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_manager::SessionInfo;
use session_manager::core::{Error, SessionId};

use crate::error::SessionError;
use crate::problem::Problem;

/// A session, and whether it is the session of the request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(flatten)]
    session: SessionInfo,
    current: bool,
}

impl Entry {
    pub(super) fn new(session: SessionInfo, current: SessionId) -> Self {
        Self { current: session.id == current, session }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Listing {
    pub(super) sessions: Vec<Entry>,
    /// The cursor of the next page.
    pub(super) next: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct EndedOthers {
    pub(super) ended: usize,
    /// The new token of this session, for API clients without a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// The refresh token of the new pair, if the session has one.
    #[serde(skip_serializing_if = "Option::is_none", rename = "refreshToken")]
    pub(super) refresh_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndQuery {
    pub(super) session_id: Option<String>,
    #[serde(default)]
    pub(super) revoke_all: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rename {
    /// Required, because a body without it would otherwise remove the name.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) label: Option<String>,
}

/// No `Debug`: the token is a secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Refresh {
    pub(super) refresh_token: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pair {
    pub(super) token: String,
    pub(super) refresh_token: String,
    /// Whole seconds until the token expires.
    pub(super) expires_in: u64,
}

/// The error of a route.
#[derive(Debug)]
pub(super) enum RouteError {
    Problem(Problem),
    Session(SessionError),
}

impl From<SessionError> for RouteError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<Error> for RouteError {
    fn from(error: Error) -> Self {
        Self::Session(error.into())
    }
}

impl From<Problem> for RouteError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl IntoResponse for RouteError {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Session(error) => error.into_response(),
        }
    }
}

pub(super) const BAD_QUERY: Problem = Problem::new(
    StatusCode::BAD_REQUEST,
    "The query is not understood. See the documentation of this address.",
);

/// Parses a body. Replaces the parser's message, which quotes the body, with a fixed text.
pub(super) fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(body)| body).map_err(|rejection| {
        let detail = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "The body is too large.",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "Send JSON, with `Content-Type: application/json`.",
            _ => "The body is not what this address takes. See its documentation.",
        };
        Problem::new(rejection.status(), detail)
    })
}
