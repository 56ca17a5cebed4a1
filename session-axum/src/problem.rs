//! Machine-readable error responses: `application/problem+json`.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// An error response as specified by [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
///
/// The body has the members `type`, `title`, `status` and `detail`. Unless
/// [`with_type`](Self::with_type) sets them, the type is `about:blank` and the title is the phrase
/// of the status code (section 4.2.1). The detail is a fixed text, so it cannot leak the request or
/// an internal error.
///
/// # Examples
/// ```
/// use axum::http::StatusCode;
/// use axum::response::IntoResponse;
/// use session_axum::Problem;
///
/// let detail = "Another request changed this. Load it again.";
/// let problem = Problem::new(StatusCode::CONFLICT, detail);
/// assert_eq!(problem.into_response().headers()["content-type"], "application/problem+json");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Problem {
    status: StatusCode,
    detail: &'static str,
    /// Type and title.
    kind: Option<(&'static str, &'static str)>,
}

impl Problem {
    /// Creates an error from its status and one fixed sentence with the client's next step.
    pub const fn new(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail, kind: None }
    }

    /// Sets the type, a URI by which API clients identify the problem, and its title.
    pub const fn with_type(mut self, uri: &'static str, title: &'static str) -> Self {
        self.kind = Some((uri, title));
        self
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the sentence.
    #[must_use]
    pub const fn detail(&self) -> &'static str {
        self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let phrase = || self.status.canonical_reason().unwrap_or("Error");
        let (r#type, title) = self.kind.unwrap_or_else(|| ("about:blank", phrase()));
        let body = Body { r#type, title, status: self.status.as_u16(), detail: self.detail };
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        // Three strings and a number always serialize.
        (self.status, headers, serde_json::to_vec(&body).unwrap_or_default()).into_response()
    }
}

/// RFC 9457 section 3.1.
#[derive(Serialize)]
struct Body {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
}
