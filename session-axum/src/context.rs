//! Beginning and ending sessions from a handler.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Serialize;
use session_manager::core::{ClientInfo, Error, SessionData, SessionKind, SessionToken};
use session_manager::{Created, NewSession, SessionInfo, SessionManager};

use crate::error::SessionError;
use crate::extract::Session;
use crate::state::{Decision, RequestState};

/// Begins, finds and ends the session of a request. An extractor that never fails and asks nothing by itself.
///
/// ```
/// use axum::response::Redirect;
/// use session_axum::{NewSession, SessionContext, SessionError};
///
/// # async fn password_is_right() -> bool { true }
/// async fn sign_in(context: SessionContext) -> Result<Redirect, SessionError> {
///     if !password_is_right().await {
///         return Ok(Redirect::to("/sign-in?wrong"));
///     }
///     context.sign_in(NewSession::for_user("ann".parse()?).with_username("Ann")).await?;
///     Ok(Redirect::to("/"))
/// }
///
/// async fn sign_out(context: SessionContext) -> Result<Redirect, SessionError> {
///     context.sign_out().await?;
///     Ok(Redirect::to("/"))
/// }
/// ```
///
/// # One outcome per request
/// Signing out wins: whatever else a request asks for, before or after, a request that signed out leaves no session behind.
/// What was created before is ended, and what comes after is refused with [`SessionError::SignedOut`].
///
/// Creating and ending happen when they are called, not after the handler: when [`sign_in`](Self::sign_in) returns, the store
/// has the session, and the cookie goes out even if the handler fails later.
#[derive(Debug, Clone)]
pub struct SessionContext {
    state: Result<Arc<RequestState>, SessionError>,
}

/// What [`SessionContext::sign_in`] made.
#[derive(Debug)]
#[non_exhaustive]
pub struct SignedIn {
    /// The new session.
    pub session: Session,
    /// The token, if it does not travel in a cookie: for sessions of the kind [`Api`](SessionKind::Api), and under
    /// [`Transport::Bearer`](crate::Transport::Bearer). It cannot be asked for again.
    pub token: Option<SessionToken>,
    /// The user's sessions that ended because of the limit.
    pub ended: Vec<SessionInfo>,
}

impl SessionContext {
    /// Returns the session, `None` if the request has none or a rejected one.
    ///
    /// # Errors
    /// [`SessionError::Unavailable`] when the store cannot be asked.
    pub async fn session(&self) -> Result<Option<Session>, SessionError> {
        Ok(self.state()?.session().await?.map(Session::new))
    }

    /// Creates a session for a user who has just proved who they are, and hands its token over.
    ///
    /// An anonymous session of the request is replaced, and its data carried over: a cart filled before signing in stays. A
    /// session that was signed in already, whoever's, is signed out and leaves nothing behind.
    ///
    /// The [client](NewSession::with_client) of the new session is the one of this request, see [`client`](Self::client).
    ///
    /// # Errors
    /// [`SessionError::SignedOut`] after a [`sign_out`](Self::sign_out) in the same request; [`SessionError::Unavailable`] when
    /// the present session cannot be told; [`SessionError::Failed`] as
    /// [`SessionManager::create`](session_manager::SessionManager::create) answers.
    ///
    /// # Security
    /// The new session has a new id and a new token, so a token that somebody planted before is worth nothing (session fixation).
    ///
    /// # Cancellation
    /// Once begun, it is done, even if the client goes away. It does not learn its token then.
    pub async fn sign_in(&self, new: NewSession) -> Result<SignedIn, SessionError> {
        let state = self.state()?;
        let mut decision = state.decision.lock().await;
        if matches!(*decision, Decision::SignedOut) {
            return Err(SessionError::SignedOut);
        }
        let mut new = new.with_client(state.client());
        if let Some(old) = state.session_under(&decision).await? {
            match old.user_id() {
                None => new = new.replacing(&old),
                // Somebody else may sit at the keyboard now: nothing of the old session may show up in the new one.
                Some(_) => {
                    state.config.manager.logout(&old).await?;
                    *decision = Decision::Ended;
                }
            }
        }
        create(state, &mut decision, new).await
    }

    /// Returns the session, or creates an anonymous one if there is none.
    ///
    /// The new session is written at once: call this when there is something to keep. [`insert`](Self::insert) does both in one
    /// write.
    ///
    /// # Errors
    /// As [`sign_in`](Self::sign_in); and [`Unsupported`](session_manager::core::ErrorKind::Unsupported) under
    /// [`Transport::Bearer`](crate::Transport::Bearer), where nobody would learn the token.
    pub async fn get_or_create(&self) -> Result<Session, SessionError> {
        Ok(self.find_or_create(SessionData::default()).await?.0)
    }

    /// Sets a key of the session's data, creating an anonymous session for it if there is none.
    ///
    /// # Errors
    /// As [`get_or_create`](Self::get_or_create).
    pub async fn insert<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<Session, SessionError> {
        let mut data = SessionData::default();
        data.insert(key, value)?;
        let (session, created) = self.find_or_create(data).await?;
        if !created {
            session.insert(key, value)?;
        }
        Ok(session)
    }

    async fn find_or_create(&self, data: SessionData) -> Result<(Session, bool), SessionError> {
        let state = self.state()?;
        let mut decision = state.decision.lock().await;
        if matches!(*decision, Decision::SignedOut) {
            return Err(SessionError::SignedOut);
        }
        if let Some(session) = state.session_under(&decision).await? {
            return Ok((Session::new(session), false));
        }
        if !state.config.transport.reads_cookie() {
            let error = Error::unsupported("axum", "create");
            return Err(error.with_detail("an anonymous session needs a cookie to come back").into());
        }
        let new = NewSession::anonymous().with_client(state.client()).with_data(data);
        Ok((create(state, &mut decision, new).await?.session, true))
    }

    /// Ends the session of the request, if it has one, and removes the cookie.
    ///
    /// # Errors
    /// When the store cannot be asked. The session is still there then, and so is the cookie.
    ///
    /// # Cancellation
    /// Once begun, it is done, even if the client goes away.
    pub async fn sign_out(&self) -> Result<(), SessionError> {
        let state = self.state()?;
        let mut decision = state.decision.lock().await;
        if let Some(session) = state.session_under(&decision).await? {
            state.config.manager.logout(&session).await?;
        }
        *decision = Decision::SignedOut;
        Ok(())
    }

    /// Takes the token that replaced the one of this request, if it came without a cookie: the program has to be told then.
    ///
    /// The secret of a session is replaced on the manager's timer, and at once by
    /// [`rotate`](SessionManager::rotate) and its relatives. A request with a cookie gets the new token in the cookie, without any
    /// doing. Return this one to a program before it sends the next request.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub async fn token_in_hand(&self) -> Result<Option<SessionToken>, SessionError> {
        let state = self.state()?;
        let session = state.session().await?.filter(|_| !state.has_cookie());
        Ok(session.and_then(|session| session.take_token()))
    }

    /// Describes the client of this request: the address of the connection (with
    /// [`ConnectInfo`](axum::extract::ConnectInfo)) and the user agent.
    #[must_use]
    pub fn client(&self) -> ClientInfo {
        self.state.as_ref().map(|state| state.client()).unwrap_or_default()
    }

    /// Returns the manager of the layer.
    ///
    /// # Errors
    /// [`SessionError::LayerMissing`].
    pub fn manager(&self) -> Result<&SessionManager, SessionError> {
        Ok(&self.state()?.config.manager)
    }

    fn state(&self) -> Result<&Arc<RequestState>, SessionError> {
        self.state.as_ref().map_err(Clone::clone)
    }
}

async fn create(
    state: &RequestState,
    decision: &mut Decision,
    new: NewSession,
) -> Result<SignedIn, SessionError> {
    let config = &state.config;
    let Created { session, token, ended, .. } = config.manager.create(new).await?;
    let in_cookie = config.transport.reads_cookie() && session.record().kind == SessionKind::Web;
    let cookie = in_cookie.then(|| config.cookie_for(&session, &token)).flatten();
    *decision = Decision::Created { session: session.clone(), cookie };
    Ok(SignedIn { session: Session::new(session), token: (!in_cookie).then_some(token), ended })
}

impl<S: Send + Sync> FromRequestParts<S> for SessionContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { state: RequestState::of(parts) })
    }
}
