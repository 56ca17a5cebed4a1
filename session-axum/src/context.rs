//! Creating and ending sessions from a handler.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Serialize;
use session_manager::core::{ClientInfo, Error, RefreshToken, SessionData, SessionKind, SessionToken};
use session_manager::{
    Created, Ensured, ExternalSession, NewSession, Refreshed, SessionInfo, SessionManager,
};

use crate::error::SessionError;
use crate::extract::Session;
use crate::state::{Decision, RequestState};

/// Creates, finds and ends the session of a request. An extractor that never fails and does not
/// validate the token by itself.
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
/// Signing out wins. A request that signed out leaves no session behind, whatever it does before or
/// after: a session that it created is ended, and later calls return [`SessionError::SignedOut`].
///
/// Methods take effect when they are called, not after the handler. When [`sign_in`](Self::sign_in)
/// returns, the store contains the session, and the cookie is set even if the handler fails later.
#[derive(Debug, Clone)]
pub struct SessionContext {
    state: Result<Arc<RequestState>, SessionError>,
}

/// The result of [`SessionContext::sign_in`] and the other methods that create a session.
#[derive(Debug)]
#[non_exhaustive]
pub struct SignedIn {
    /// The new session.
    pub session: Session,
    /// The token, unless it is sent in a cookie: for sessions of the kind
    /// [`Api`](SessionKind::Api), and under [`Transport::Bearer`](crate::Transport::Bearer). It
    /// cannot be retrieved again.
    pub token: Option<SessionToken>,
    /// The refresh token, if [one was requested](NewSession::with_refresh). It is never sent in a
    /// cookie and cannot be retrieved again.
    pub refresh: Option<RefreshToken>,
    /// The user's sessions that were ended because of the limit.
    pub ended: Vec<SessionInfo>,
}

impl SessionContext {
    /// Returns the session, or `None` if the request has none or a rejected one.
    ///
    /// # Errors
    /// [`SessionError::Unavailable`] if the store is unavailable.
    pub async fn session(&self) -> Result<Option<Session>, SessionError> {
        Ok(self.state()?.session().await?.map(Session::new))
    }

    /// Creates a session for a user who has just authenticated, and issues its token.
    ///
    /// Replaces an anonymous session of the request and carries its data over: a cart filled before
    /// signing in is kept. A session that is already signed in, of the same or another user, is
    /// signed out, and none of its data is carried over.
    ///
    /// The [client](NewSession::with_client) of the new session is the client of this request, see
    /// [`client`](Self::client), unless `new` sets another one.
    ///
    /// # Errors
    /// [`SessionError::SignedOut`] after a [`sign_out`](Self::sign_out) in the same request;
    /// [`SessionError::Unavailable`] if the current session cannot be determined;
    /// [`SessionError::Failed`] with the errors of
    /// [`SessionManager::create`](session_manager::SessionManager::create).
    ///
    /// # Security
    /// The new session has a new id and a new token, so a token that an attacker planted before is
    /// worthless (session fixation).
    ///
    /// # Cancellation
    /// Once begun, the operation completes even if the client disconnects. The client does not
    /// receive the token then.
    pub async fn sign_in(&self, new: NewSession) -> Result<SignedIn, SessionError> {
        let state = self.state()?;
        let mut decision = state.decision.lock().await;
        if matches!(*decision, Decision::SignedOut) {
            return Err(SessionError::SignedOut);
        }
        let mut new = new.with_default_client(|| state.client());
        if let Some(old) = state.session_under(&decision).await? {
            match old.user_id() {
                None => new = new.replacing(&old),
                // Another person may use the browser now: nothing of the old session may show up in
                // the new one.
                Some(_) => {
                    state.config.manager.logout(&old).await?;
                    *decision = Decision::Ended;
                }
            }
        }
        create(state, &mut decision, new).await
    }

    /// Redeems the code of a [transfer](SessionManager::begin_transfer): creates a session of the
    /// same user for this request, with the data of the session that displayed the code.
    ///
    /// A correct code replaces the session of the request as [`sign_in`](Self::sign_in) does; a
    /// wrong code changes nothing. If an anonymous session and the transferred session both contain
    /// a key, the value of the transferred session is kept.
    ///
    /// # Errors
    /// [`SessionError::WrongCode`]; [`SessionError::TooManyAttempts`]; otherwise those of
    /// [`sign_in`](Self::sign_in). The code is not used up if the current session cannot be
    /// determined.
    ///
    /// # Security
    /// Add [`SameOrigin`](crate::SameOrigin) to the form: otherwise another site can make a browser
    /// send a code, which signs its user in to another account.
    ///
    /// # Cancellation
    /// As [`sign_in`](Self::sign_in).
    pub async fn redeem_transfer(&self, code: &str, new: NewSession) -> Result<SignedIn, SessionError> {
        let state = self.state()?;
        let mut decision = state.decision.lock().await;
        if matches!(*decision, Decision::SignedOut) {
            return Err(SessionError::SignedOut);
        }
        let mut new = new.with_default_client(|| state.client());
        let old = state.session_under(&decision).await?;
        if let Some(anonymous) = old.as_ref().filter(|old| old.user_id().is_none()) {
            new = new.replacing(anonymous);
        }
        let created = state.config.manager.redeem_transfer(code, new).await?;
        let signed_in = settle(state, &mut decision, created);
        if let Some(old) = old.filter(|old| old.user_id().is_some()) {
            end_replaced(state, &old).await;
        }
        Ok(signed_in)
    }

    /// Makes `created` the session of this request and issues its token.
    ///
    /// Use it for flows of the [manager](Self::manager) with several steps, such as
    /// [`complete_sign_in`](SessionManager::complete_sign_in). The previous session of the request
    /// is signed out. To carry an anonymous session's data over, create the session with
    /// [`replacing`](NewSession::replacing). Create it with this request's
    /// [`client`](Self::client).
    ///
    /// ```
    /// use session_axum::{NewSession, Session, SessionContext, SessionError};
    ///
    /// async fn second_step(pending: Session, context: SessionContext) -> Result<(), SessionError> {
    ///     let manager = context.manager()?;
    ///     let user = manager.pending_user(&pending)?.ok_or(SessionError::Required)?;
    ///     // ... check the code of the user's app here ...
    ///     let new = NewSession::for_user(user).with_client(context.client());
    ///     context.adopt(manager.complete_sign_in(&pending, new).await?).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`SessionError::SignedOut`] after a [`sign_out`](Self::sign_out) in the same request;
    /// [`SessionError::Unavailable`] if the current session cannot be determined. `created` is
    /// ended in both cases.
    pub async fn adopt(&self, created: Created) -> Result<SignedIn, SessionError> {
        let state = self.state()?;
        let mut decision = state.decision.lock().await;
        let old = match state.session_under(&decision).await {
            Ok(old) if !matches!(*decision, Decision::SignedOut) => old,
            other => {
                end_replaced(state, &created.session).await;
                return Err(other.err().unwrap_or(SessionError::SignedOut));
            }
        };
        let signed_in = settle(state, &mut decision, created);
        if let Some(old) = old.filter(|old| old.id() != signed_in.session.id()) {
            end_replaced(state, &old).await;
        }
        Ok(signed_in)
    }

    /// Exchanges a refresh token, which is not the credential of this request, for a new pair.
    /// Neither validates the session of the request nor sets a cookie.
    ///
    /// `POST /sessions/refresh` of the [routes](crate::SessionRoutes) calls this.
    ///
    /// # Errors
    /// [`SessionError::Required`] for an invalid, used or expired token;
    /// [`SessionError::Unavailable`] if the token cannot be checked. Retry with the same token
    /// then.
    pub async fn refresh(&self, token: &str) -> Result<Refreshed, SessionError> {
        let state = self.state()?;
        Ok(state.config.manager.refresh(token, &state.request_client()).await?)
    }

    /// Returns the session, or creates an anonymous one if there is none.
    ///
    /// Writes the new session immediately: call this when there is data to keep.
    /// [`insert`](Self::insert) does both in one write.
    ///
    /// # Errors
    /// Those of [`sign_in`](Self::sign_in), and
    /// [`Unsupported`](session_manager::core::ErrorKind::Unsupported) under
    /// [`Transport::Bearer`](crate::Transport::Bearer), which has no way to send the token to the
    /// client.
    pub async fn get_or_create(&self) -> Result<Session, SessionError> {
        Ok(self.find_or_create(SessionData::default()).await?.0)
    }

    /// Sets a key of the session's data. Creates an anonymous session if there is none.
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
        let new = NewSession::anonymous().with_default_client(|| state.client()).with_data(data);
        Ok((create(state, &mut decision, new).await?.session, true))
    }

    /// Ends the session of the request, if it has one, and removes the cookie.
    ///
    /// # Errors
    /// An error of the store. The session and the cookie are unchanged then.
    ///
    /// # Cancellation
    /// Once begun, the operation completes even if the client disconnects.
    pub async fn sign_out(&self) -> Result<(), SessionError> {
        let state = self.state()?;
        let mut decision = state.decision.lock().await;
        if let Some(session) = state.session_under(&decision).await? {
            state.config.manager.logout(&session).await?;
        }
        *decision = Decision::SignedOut;
        Ok(())
    }

    /// Finds or creates the session of an external identity, with the client of this request: see
    /// [`SessionManager::ensure`](session_manager::SessionManager::ensure). Does not affect the
    /// session of the request.
    ///
    /// # Errors
    /// As [`SessionManager::ensure`](session_manager::SessionManager::ensure).
    pub async fn ensure(&self, external: ExternalSession) -> Result<Ensured, SessionError> {
        let state = self.state()?;
        Ok(state.config.manager.ensure(external, &state.request_client()).await?)
    }

    /// Takes the token that replaced the token of this request, if the request has no cookie.
    ///
    /// The secret of a session is replaced on the manager's timer, and immediately by
    /// [`rotate`](SessionManager::rotate) and related methods. A request with a cookie receives the
    /// new token in the cookie automatically. Send a token returned here to the API client before
    /// it sends its next request.
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

    pub(crate) fn state(&self) -> Result<&Arc<RequestState>, SessionError> {
        self.state.as_ref().map_err(Clone::clone)
    }
}

async fn create(
    state: &RequestState,
    decision: &mut Decision,
    new: NewSession,
) -> Result<SignedIn, SessionError> {
    Ok(settle(state, decision, state.config.manager.create(new).await?))
}

/// Makes a session that is already stored the session of this request.
fn settle(state: &RequestState, decision: &mut Decision, created: Created) -> SignedIn {
    let config = &state.config;
    let Created { session, token, refresh, ended, .. } = created;
    let in_cookie = config.transport.reads_cookie() && session.record().kind == SessionKind::Web;
    let cookie = in_cookie.then(|| config.cookie_for(&session, &token)).flatten();
    *decision = Decision::Created { session: session.clone(), cookie };
    SignedIn { session: Session::new(session), token: (!in_cookie).then_some(token), refresh, ended }
}

/// Ends a replaced session. A failure does not fail the request: the response replaces the client's
/// token, and the manager retries the end.
async fn end_replaced(state: &RequestState, session: &session_manager::Session) {
    if let Err(error) = state.config.manager.logout(session).await {
        tracing::warn!(kind = error.kind().as_str(), "a replaced session could not be ended yet");
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SessionContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { state: RequestState::of(parts) })
    }
}
