//! Beginning and ending sessions from a handler.

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

/// What [`SessionContext::sign_in`] and its relatives made.
#[derive(Debug)]
#[non_exhaustive]
pub struct SignedIn {
    /// The new session.
    pub session: Session,
    /// The token, if it does not travel in a cookie: for sessions of the kind [`Api`](SessionKind::Api), and under
    /// [`Transport::Bearer`](crate::Transport::Bearer). It cannot be asked for again.
    pub token: Option<SessionToken>,
    /// The refresh token, if [one was asked for](NewSession::with_refresh). It never travels in a cookie, and cannot be asked for
    /// again.
    pub refresh: Option<RefreshToken>,
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
    /// The [client](NewSession::with_client) of the new session is the one of this request, see [`client`](Self::client), unless `new`
    /// says another.
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
        let mut new = new.with_default_client(|| state.client());
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

    /// Redeems the code of a [transfer](SessionManager::begin_transfer): this request gets a session of the same user, with the data
    /// of the session that the code was shown in.
    ///
    /// The session that the request came with gives way as in [`sign_in`](Self::sign_in), but only to a code that is right. What both
    /// an anonymous session and the transferred one hold is as in the transferred one.
    ///
    /// # Errors
    /// [`SessionError::WrongCode`]; [`SessionError::TooManyAttempts`]; else as [`sign_in`](Self::sign_in). The code is not used up if
    /// the present session cannot be told.
    ///
    /// # Security
    /// Put [`SameOrigin`](crate::SameOrigin) on the form: a code that another site made a browser send would sign its user in as somebody
    /// else.
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

    /// Makes a session that the [manager](Self::manager) created the one of this request, and hands its token over.
    ///
    /// For what the manager does in steps, such as [`complete_sign_in`](SessionManager::complete_sign_in). The session that the request
    /// came with is signed out; to carry an anonymous session's data over, create with [`replacing`](NewSession::replacing). And create
    /// with this request's [`client`](Self::client).
    ///
    /// ```
    /// use session_axum::{NewSession, Session, SessionContext, SessionError};
    ///
    /// async fn second_step(pending: Session, context: SessionContext) -> Result<(), SessionError> {
    ///     let manager = context.manager()?;
    ///     let Some(user) = manager.pending_user(&pending)? else { return Err(SessionError::Required) };
    ///     // ... check the code of the user's app here ...
    ///     let new = NewSession::for_user(user).with_client(context.client());
    ///     context.adopt(manager.complete_sign_in(&pending, new).await?).await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`SessionError::SignedOut`] after a [`sign_out`](Self::sign_out) in the same request; [`SessionError::Unavailable`] when the
    /// present session cannot be told. The session that was to be adopted is ended then.
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

    /// Exchanges a refresh token, which is not the credential of this request, for a new pair. The session of the request stays out of
    /// it: nothing is validated, and no cookie is set.
    ///
    /// `POST /sessions/refresh` of the [routes](crate::SessionRoutes) does this.
    ///
    /// # Errors
    /// [`SessionError::Required`] for a token that is not or no longer worth anything; [`SessionError::Unavailable`] when that cannot be
    /// told. Try again with the same token then.
    pub async fn refresh(&self, token: &str) -> Result<Refreshed, SessionError> {
        let state = self.state()?;
        Ok(state.config.manager.refresh(token, &state.request_client()).await?)
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
        let new = NewSession::anonymous().with_default_client(|| state.client()).with_data(data);
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

    /// Finds the session of an external identity, or creates it, as this request's client: see
    /// [`SessionManager::ensure`](session_manager::SessionManager::ensure). The session of the request itself stays out of it.
    ///
    /// # Errors
    /// As [`SessionManager::ensure`](session_manager::SessionManager::ensure).
    pub async fn ensure(&self, external: ExternalSession) -> Result<Ensured, SessionError> {
        let state = self.state()?;
        Ok(state.config.manager.ensure(external, &state.request_client()).await?)
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

/// Decides that a session which the store has is the one of this request.
fn settle(state: &RequestState, decision: &mut Decision, created: Created) -> SignedIn {
    let config = &state.config;
    let Created { session, token, refresh, ended, .. } = created;
    let in_cookie = config.transport.reads_cookie() && session.record().kind == SessionKind::Web;
    let cookie = in_cookie.then(|| config.cookie_for(&session, &token)).flatten();
    *decision = Decision::Created { session: session.clone(), cookie };
    SignedIn { session: Session::new(session), token: (!in_cookie).then_some(token), refresh, ended }
}

/// Ends a session that gave way. Its failure does not fail the request: the response takes its token from the client, and the manager
/// tries the end again.
async fn end_replaced(state: &RequestState, session: &session_manager::Session) {
    if let Err(error) = state.config.manager.logout(session).await {
        tracing::warn!(kind = error.kind().as_str(), "a session that gave way could not be ended yet");
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SessionContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { state: RequestState::of(parts) })
    }
}
