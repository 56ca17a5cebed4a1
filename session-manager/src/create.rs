//! Signing in.

use std::sync::Arc;

use session_core::limits::MAX_AUTH_EVENTS;
use session_core::{
    Actor, AuthEvent, AuthMethod, ClientInfo, DeviceId, EndReason, EndScope, Ended, Error, ErrorKind,
    LastClient, Result, SecretPurpose, SecretState, SessionData, SessionId, SessionKind, SessionRecord,
    SessionToken, Timestamp, UserId,
};

use crate::info::SessionInfo;
use crate::manager::SessionManager;
use crate::metrics::Op;
use crate::session::Session;

/// A session to be created.
///
/// # Examples
/// ```
/// use session_core::{AuthMethod, ClientInfo};
/// use session_manager::NewSession;
///
/// let new = NewSession::for_user("ann".parse()?)
///     .with_username("Ann")
///     .with_client(ClientInfo::new(Some("192.0.2.7".parse()?), Some("Mozilla/5.0")))
///     .with_auth(AuthMethod::Password)
///     .with_remember(true);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct NewSession {
    user_id: Option<UserId>,
    username: Option<String>,
    kind: SessionKind,
    remember: bool,
    credential_version: Option<u64>,
    auth: Vec<AuthMethod>,
    client: ClientInfo,
    device_id: Option<DeviceId>,
    label: Option<String>,
    data: SessionData,
    replaces: Option<Session>,
}

impl NewSession {
    /// A session of nobody, to keep data before a sign-in.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            user_id: None,
            username: None,
            kind: SessionKind::Web,
            remember: false,
            credential_version: None,
            auth: Vec::new(),
            client: ClientInfo::default(),
            device_id: None,
            label: None,
            data: SessionData::default(),
            replaces: None,
        }
    }

    /// A user's session. Only call this when the user has proved who they are.
    #[must_use]
    pub fn for_user(user: UserId) -> Self {
        Self { user_id: Some(user), ..Self::anonymous() }
    }

    /// Sets the user's name for lists.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Sets what the session is for. Default: [`SessionKind::Web`].
    #[must_use]
    pub fn with_kind(mut self, kind: SessionKind) -> Self {
        self.kind = kind;
        self
    }

    /// Gives the session the lifetime of remembered ones.
    #[must_use]
    pub fn with_remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Sets the version of the user's credentials, read *before* they were checked.
    #[must_use]
    pub fn with_credential_version(mut self, version: u64) -> Self {
        self.credential_version = Some(version);
        self
    }

    /// Adds a method that the user authenticated with, now.
    #[must_use]
    pub fn with_auth(mut self, method: AuthMethod) -> Self {
        self.auth.push(method);
        self
    }

    /// Sets what is known about the client.
    #[must_use]
    pub fn with_client(mut self, client: ClientInfo) -> Self {
        self.client = client;
        self
    }

    /// Sets the device.
    #[must_use]
    pub fn with_device(mut self, device: DeviceId) -> Self {
        self.device_id = Some(device);
        self
    }

    /// Sets the user's own name for the device.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the data that the session begins with.
    #[must_use]
    pub fn with_data(mut self, data: SessionData) -> Self {
        self.data = data;
        self
    }

    /// Takes the place of a session: carries its data over (what [`with_data`](Self::with_data) sets wins), and ends it as
    /// [`Superseded`](EndReason::Superseded).
    ///
    /// # Security
    /// Signing in from an anonymous session always goes through here: the new session has a new id and a new secret, so who
    /// planted the old cookie in a victim's browser holds nothing (session fixation).
    #[must_use]
    pub fn replacing(mut self, session: &Session) -> Self {
        self.replaces = Some(session.clone());
        self
    }
}

/// A created session, with the token to hand to its owner.
#[derive(Debug)]
#[non_exhaustive]
pub struct Created {
    /// The session.
    pub session: Session,
    /// The secret. It cannot be asked for again.
    pub token: SessionToken,
    /// The user's sessions that ended because of the limit.
    pub ended: Vec<SessionInfo>,
}

/// How often a new id is tried when the generator repeats itself.
const ID_ATTEMPTS: usize = 3;

impl SessionManager {
    /// Creates a session. When this returns, the store of record has it.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for names, labels or data out of bounds;
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) with the user's live sessions, if the limit refuses;
    /// [`Unavailable`](ErrorKind::Unavailable) and [`Timeout`](ErrorKind::Timeout) when the store or the generator failed:
    /// nobody is signed in then, and what the store may have kept is ended as soon as it can be asked.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    #[tracing::instrument(name = "session_create", level = "debug", skip_all)]
    pub async fn create(&self, new: NewSession) -> Result<Created> {
        let manager = self.clone();
        self.finish(async move { manager.create_now(new).await }).await
    }

    async fn create_now(&self, new: NewSession) -> Result<Created> {
        let now = self.now();
        let data: Arc<[u8]> = new.initial_data()?.encode(&self.settings().data_limits)?.into();
        for _ in 0..ID_ATTEMPTS {
            let (record, token) = self.mint(&new, &data, now)?;
            match self.insert(Arc::clone(&record), now).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(evicted) => {
                    self.shared().metrics.created.increment(1);
                    self.report_ended(&evicted);
                    self.supersede(new.replaces.as_ref(), now).await;
                    let ended = evicted.iter().map(|record| SessionInfo::new(record, now)).collect();
                    return Ok(Created { session: Session::new(self.clone(), record, None), token, ended });
                }
            }
        }
        Err(Error::unavailable("manager", "create").with_detail("the generator repeats itself"))
    }

    fn mint(
        &self,
        new: &NewSession,
        data: &Arc<[u8]>,
        now: Timestamp,
    ) -> Result<(Arc<SessionRecord>, SessionToken)> {
        let random = &*self.shared().random;
        let id = SessionId::mint(now, new.user_id.as_ref(), random)?;
        let token = SessionToken::mint(id, self.settings().secret_format, random)?;
        let lifetime = self.settings().expiry.lifetime(new.remember);
        let mut record = SessionRecord::new(id, now, now.saturating_add(lifetime.absolute()));
        record.user_id.clone_from(&new.user_id);
        record.username.clone_from(&new.username);
        record.kind = new.kind;
        record.idle_timeout = lifetime.idle();
        record.remembered = new.remember;
        record.credential_version = new.credential_version;
        record.secret =
            Some(SecretState::new(self.shared().hasher.hash(SecretPurpose::Session, id, token.secret())));
        record.auth =
            new.auth.iter().take(MAX_AUTH_EVENTS).map(|method| AuthEvent::new(method.clone(), now)).collect();
        record.last_client = LastClient::from(&new.client);
        record.client = Arc::new(new.client.clone());
        record.device_id = new.device_id;
        record.label.clone_from(&new.label);
        record.data = Arc::clone(data);
        record.check()?;
        Ok((Arc::new(record), token))
    }

    async fn insert(&self, record: Arc<SessionRecord>, now: Timestamp) -> Result<Vec<Arc<SessionRecord>>> {
        let id = record.id;
        let limit = self.settings().limit.filter(|_| record.user_id.is_some()).map(|limit| limit.at(now));
        let create = self.backend().store().create(record, limit.as_ref());
        let result = self.backend().operation().call(Op::Create, create).await;
        if result.as_ref().is_err_and(Error::is_transient) {
            self.undo(id, now);
        }
        result
    }

    /// Ends a session that nobody holds the token of, in case that the store kept it after all.
    fn undo(&self, id: SessionId, now: Timestamp) {
        let shared = Arc::clone(self.shared());
        self.workers().spawn(async move {
            let ended = Ended::new(EndReason::Superseded, now, Actor::System);
            if let Ok(ended) = shared.backend.operation().end(&EndScope::id(id), &ended).await {
                shared.report_ended(&ended);
            }
        });
    }

    /// Ends the session that the new one replaces. Its failure does not fail the sign-in: the old session is anonymous or the
    /// user's own, nobody gains by it, and it expires.
    async fn supersede(&self, replaced: Option<&Session>, now: Timestamp) {
        let Some(replaced) = replaced else { return };
        let ended = Ended::new(EndReason::Superseded, now, Actor::System);
        match self.backend().operation().end(&EndScope::id(replaced.id()), &ended).await {
            Ok(ended) => self.report_ended(&ended),
            Err(error) => {
                tracing::warn!(kind = error.kind().as_str(), "a replaced session could not be ended");
            }
        }
    }
}

impl NewSession {
    fn initial_data(&self) -> Result<SessionData> {
        let Some(replaced) = &self.replaces else { return Ok(self.data.clone()) };
        let mut data = replaced.data()?;
        for key in self.data.keys() {
            data.set_value(key, self.data.value(key).cloned());
        }
        Ok(data)
    }
}
