//! The state that all extractors of one request share: the presented token and the result of
//! validating it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
use http::header::USER_AGENT;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue};
use session_manager::core::rules::RequestClient;
use session_manager::core::{ClientInfo, Error, SessionToken};
use session_manager::{Rejection, Session, SessionManager, ValidateError};
use tokio::sync::{Mutex, OnceCell};

use crate::cookie::SessionCookie;
use crate::credentials::{Credentials, Presented, Transport};
use crate::error::SessionError;

/// The configuration of a layer.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) manager: SessionManager,
    pub(crate) cookie: SessionCookie,
    pub(crate) transport: Transport,
    pub(crate) validate_every_request: bool,
}

impl Config {
    /// Returns the header that sets the cookie to a session's token.
    pub(crate) fn cookie_for(&self, session: &Session, token: &SessionToken) -> Option<HeaderValue> {
        let record = session.record();
        let remaining = record.expires_at.since(self.manager.now());
        self.cookie.set(&token.expose(), remaining, record.remembered)
    }
}

/// The state of one request, in its extensions. Created for every request, so it does no work until
/// a handler asks.
#[derive(Debug)]
pub(crate) struct RequestState {
    pub(crate) config: Arc<Config>,
    claims: OnceLock<Claims>,
    verdict: OnceCell<Verdict>,
    /// Locked while a session is created or ended, to serialize the operations of one request.
    pub(crate) decision: Mutex<Decision>,
    asked: AtomicBool,
}

/// The headers and the address of the request, read when the first extractor runs.
#[derive(Debug)]
struct Claims {
    credentials: Credentials,
    user_agent: Option<HeaderValue>,
    ip: Option<IpAddr>,
}

/// The result of validating the presented token, computed once.
#[derive(Debug)]
pub(crate) enum Verdict {
    Anonymous,
    Live(Session),
    Rejected(Rejection),
    Unavailable(Error),
}

/// The handler's decision about the session. `SignedOut` is final, so the outcome does not depend
/// on the order of calls.
#[derive(Debug, Default)]
pub(crate) enum Decision {
    #[default]
    Unchanged,
    /// The previous session of the request was ended and has no replacement yet.
    Ended,
    /// A new session, with the header of its cookie if its token is sent in one.
    Created { session: Session, cookie: Option<HeaderValue> },
    /// Final.
    SignedOut,
}

impl RequestState {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            claims: OnceLock::new(),
            verdict: OnceCell::new(),
            decision: Mutex::default(),
            asked: AtomicBool::new(false),
        }
    }

    /// Returns the state of a request. Reads the request's claims unless an earlier extractor did.
    pub(crate) fn of(parts: &Parts) -> Result<Arc<Self>, SessionError> {
        let state = parts.extensions.get::<Arc<Self>>().ok_or(SessionError::LayerMissing)?;
        state.take_claims(&parts.headers, &parts.extensions);
        Ok(Arc::clone(state))
    }

    pub(crate) fn take_claims(&self, headers: &HeaderMap, extensions: &Extensions) {
        self.claims.get_or_init(|| Claims {
            credentials: Credentials::scan(headers, self.config.transport, self.config.cookie.name()),
            user_agent: headers.get(USER_AGENT).cloned(),
            ip: peer(extensions),
        });
    }

    /// Returns true if a handler asked for the session, so that the response depends on it.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Returns true if the request has a cookie that a response can remove.
    pub(crate) fn has_cookie(&self) -> bool {
        self.claims.get().is_some_and(|claims| claims.credentials.has_cookie)
    }

    /// Returns the current session, after the decisions made so far in the request.
    pub(crate) async fn session(&self) -> Result<Option<Session>, SessionError> {
        self.ask();
        self.session_under(&*self.decision.lock().await).await
    }

    /// Returns the session for a decision whose lock the caller holds.
    pub(crate) async fn session_under(&self, decision: &Decision) -> Result<Option<Session>, SessionError> {
        self.ask();
        match decision {
            Decision::Ended | Decision::SignedOut => return Ok(None),
            Decision::Created { session, .. } => return Ok(Some(session.clone())),
            Decision::Unchanged => {}
        }
        match self.judge().await {
            Verdict::Live(session) => Ok(Some(session.clone())),
            Verdict::Anonymous | Verdict::Rejected(_) => Ok(None),
            Verdict::Unavailable(error) => Err(SessionError::Unavailable(error.clone())),
        }
    }

    /// Validates the presented token, once per request.
    pub(crate) async fn judge(&self) -> &Verdict {
        self.verdict.get_or_init(|| self.validate()).await
    }

    /// Returns the verdict if the token was validated.
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.get()
    }

    async fn validate(&self) -> Verdict {
        let Some(claims) = self.claims.get() else { return Verdict::Anonymous };
        let token = match &claims.credentials.presented {
            Presented::None => return Verdict::Anonymous,
            Presented::Malformed => return Verdict::Rejected(Rejection::Malformed),
            Presented::Conflict => {
                tracing::warn!("a request presented different session tokens and is treated as anonymous");
                return Verdict::Anonymous;
            }
            Presented::Token(token) => token,
        };
        match self.config.manager.validate(token.text(), &claims.client()).await {
            Ok(session) => Verdict::Live(session),
            Err(ValidateError::Rejected(rejection)) => {
                tracing::debug!(%rejection, "session token rejected");
                Verdict::Rejected(rejection)
            }
            Err(ValidateError::Unavailable(error)) => Verdict::Unavailable(error),
            // A variant added in a later version must not sign users out either.
            Err(error) => Verdict::Unavailable(Error::other("manager", "validate", error)),
        }
    }

    /// Returns the error for a request that needs a session and has none.
    pub(crate) async fn missing(&self) -> SessionError {
        match (&*self.decision.lock().await, self.verdict()) {
            // A browser has no refresh token: its cookie is simply invalid.
            (Decision::Unchanged, Some(Verdict::Rejected(Rejection::TokenExpired))) if !self.has_cookie() => {
                SessionError::TokenExpired
            }
            _ => SessionError::Required,
        }
    }

    /// Returns the client of this request, for the manager's rules.
    pub(crate) fn request_client(&self) -> RequestClient<'_> {
        self.claims.get().map(Claims::client).unwrap_or_default()
    }

    /// Returns the client of this request, for a session that the request creates.
    pub(crate) fn client(&self) -> ClientInfo {
        self.claims.get().map(|claims| ClientInfo::new(claims.ip, claims.user_agent())).unwrap_or_default()
    }
}

impl Claims {
    fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_ref().and_then(|text| text.to_str().ok())
    }

    fn client(&self) -> RequestClient<'_> {
        RequestClient::new(self.ip, self.user_agent())
    }
}

/// Returns the address of the connection. Ignores headers, because the client can write them.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let real = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    real.or_else(|| extensions.get::<MockConnectInfo<SocketAddr>>().map(|info| info.0)).map(|peer| peer.ip())
}
