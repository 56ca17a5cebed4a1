//! The session as a handler argument.

use std::ops::Deref;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::error::SessionError;
use crate::state::RequestState;

/// The live session of the request, as an extractor.
///
/// | argument | no session, or a rejected one | store unavailable |
/// |---|---|---|
/// | `Session` | 401 | 503 |
/// | `Option<Session>` | `None` | 503 |
///
/// All extractors of one request share one session. The first one validates it, and each sees the
/// changes made through the others. Changes are written after the handler, see the [crate
/// documentation](crate#when-data-is-written).
///
/// The session may be anonymous: check [`user_id`](session_manager::Session::user_id).
///
/// ```
/// use session_axum::{Session, SessionError};
///
/// async fn visit(session: Session) -> Result<String, SessionError> {
///     let visits = session.get::<u32>("visits")?.unwrap_or_default() + 1;
///     session.insert("visits", &visits)?;
///     Ok(format!("visit number {visits}"))
/// }
///
/// async fn greeting(session: Option<Session>) -> &'static str {
///     if session.is_some() { "welcome back" } else { "hello" }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Session(session_manager::Session);

impl Session {
    pub(crate) const fn new(session: session_manager::Session) -> Self {
        Self(session)
    }

    /// Returns the manager's handle.
    #[must_use]
    pub fn into_inner(self) -> session_manager::Session {
        self.0
    }
}

impl Deref for Session {
    type Target = session_manager::Session;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = SessionError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let state = RequestState::of(parts)?;
        match state.session().await? {
            Some(session) => Ok(Self(session)),
            None => Err(state.missing().await),
        }
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = SessionError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(RequestState::of(parts)?.session().await?.map(Self))
    }
}
