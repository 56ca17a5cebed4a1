//! Signing in.

use std::sync::Arc;

use session_core::{
    Actor, AuthEvent, AuthMethod, ClientInfo, DataLimits, DeviceId, EndReason, EndScope, Ended, Error,
    ErrorKind, EventKind, LastClient, Lifetime, RefreshState, RefreshToken, Result, SecretPurpose,
    SecretState, SessionData, SessionId, SessionKind, SessionRecord, SessionToken, StateFilter, Timestamp,
    UserId,
};

use crate::info::SessionInfo;
use crate::manager::{SessionManager, Shared};
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
    refresh: bool,
    lifetime: Option<Lifetime>,
    credential_version: Option<u64>,
    auth: Vec<AuthMethod>,
    /// Authentications of an earlier session that this one continues.
    earlier: Vec<AuthEvent>,
    client: ClientInfo,
    device_id: Option<DeviceId>,
    label: Option<String>,
    data: SessionData,
    dropped_key: Option<&'static str>,
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
            refresh: false,
            lifetime: None,
            credential_version: None,
            auth: Vec::new(),
            earlier: Vec::new(),
            client: ClientInfo::default(),
            device_id: None,
            label: None,
            data: SessionData::default(),
            dropped_key: None,
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

    /// Asks for a refresh token besides the session token, which becomes short-lived: see [`RefreshPolicy`](crate::RefreshPolicy).
    #[must_use]
    pub fn with_refresh(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }

    /// Sets a lifetime of its own for this session.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = Some(lifetime);
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
    /// The refresh token, if one was asked for. It cannot be asked for again either.
    pub refresh: Option<RefreshToken>,
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

    pub(crate) async fn create_now(&self, new: NewSession) -> Result<Created> {
        let now = self.now();
        let data: Arc<[u8]> = new.initial_data()?.encode(&self.settings().data_limits)?.into();
        for _ in 0..ID_ATTEMPTS {
            let Minted { record, token, refresh } = self.mint(&new, &data, now)?;
            self.check_sign_in(&record).await?;
            match self.insert(Arc::clone(&record), now).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    if error.is_transient() {
                        self.undo(record.id, now);
                    }
                    return Err(error);
                }
                Ok(evicted) => {
                    self.created(&record, &evicted);
                    self.supersede(new.replaces.as_ref(), now).await;
                    let ended = evicted.iter().map(|record| SessionInfo::new(record, now)).collect();
                    let session = Session::new(self.clone(), record, None);
                    return Ok(Created { session, token, refresh, ended });
                }
            }
        }
        Err(Error::unavailable("manager", "create").with_detail("the generator repeats itself"))
    }

    /// Counts and reports a session that is stored now.
    pub(crate) fn created(&self, record: &Arc<SessionRecord>, evicted: &[Arc<SessionRecord>]) {
        let shared = self.shared();
        shared.metrics.created.increment(1);
        shared.emit(EventKind::Created, record);
        shared.report_ended(evicted);
        if let Some(user) =
            record.user_id.clone().filter(|_| shared.events.is_wanted() && record.device_id.is_some())
        {
            self.workers().spawn(Arc::clone(shared).report_new_device(Arc::clone(record), user));
        }
    }

    fn mint(&self, new: &NewSession, data: &Arc<[u8]>, now: Timestamp) -> Result<Minted> {
        let (shared, settings) = (self.shared(), self.settings());
        let id = SessionId::mint(now, new.user_id.as_ref(), &*shared.random)?;
        let token = SessionToken::mint(id, settings.secret_format, &*shared.random)?;
        let mut record = new.record(id, now, new.lifetime.unwrap_or(settings.expiry.lifetime(new.remember)));
        record.data = Arc::clone(data);
        record.secret =
            Some(SecretState::new(shared.hasher.hash(SecretPurpose::Session, id, token.secret())));
        let mut refresh = None;
        if new.refresh {
            let minted = RefreshToken::mint(id, settings.secret_format, &*shared.random)?;
            let hash = shared.hasher.hash(SecretPurpose::Refresh, id, minted.secret());
            let end = now.saturating_add(settings.refresh.refresh).min(record.expires_at);
            record.refresh = Some(RefreshState::new(hash, end));
            record.secret = Some(shared.access_state(&record, &token, now));
            refresh = Some(minted);
        }
        record.check()?;
        Ok(Minted { record: Arc::new(record), token, refresh })
    }

    pub(crate) async fn insert(
        &self,
        record: Arc<SessionRecord>,
        now: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let limit = self.settings().limit.filter(|_| record.user_id.is_some()).map(|limit| limit.at(now));
        let create = self.backend().store().create(record, limit.as_ref());
        self.backend().operation().call(Op::Create, create).await
    }

    /// Ends a session that nobody holds the token of, in case that the store kept it after all.
    fn undo(&self, id: SessionId, now: Timestamp) {
        let (shared, tasks) = (Arc::clone(self.shared()), self.workers().tasks());
        let ended = Ended::new(EndReason::Superseded, now, Actor::System);
        self.workers()
            .spawn(async move { shared.end_sessions(EndScope::id(id), ended, &tasks).await.map(drop) });
    }

    /// Ends the session that the new one replaces. Its failure does not fail the sign-in: the old session is anonymous or the
    /// user's own, nobody gains by it, and the end is tried again.
    async fn supersede(&self, replaced: Option<&Session>, now: Timestamp) {
        let Some(replaced) = replaced else { return };
        let ended = Ended::new(EndReason::Superseded, now, Actor::System);
        let tasks = self.workers().tasks();
        if let Err(error) = self.shared().end_sessions(EndScope::id(replaced.id()), ended, &tasks).await {
            tracing::warn!(kind = error.kind().as_str(), "a replaced session could not be ended yet");
        }
    }
}

/// A record that is not stored yet, with its secrets.
struct Minted {
    record: Arc<SessionRecord>,
    token: SessionToken,
    refresh: Option<RefreshToken>,
}

impl Shared {
    /// Reports a user's first session on a device.
    async fn report_new_device(self: Arc<Self>, record: Arc<SessionRecord>, user: UserId) {
        let Ok(records) = self.all_of(&user, StateFilter::Any).await else { return };
        let known = records.iter().any(|other| other.id != record.id && other.device_id == record.device_id);
        if !known {
            self.emit(EventKind::NewDevice, &record);
        }
    }
}

impl NewSession {
    fn record(&self, id: SessionId, now: Timestamp, lifetime: Lifetime) -> SessionRecord {
        let mut record = SessionRecord::new(id, now, now.saturating_add(lifetime.absolute()));
        record.user_id.clone_from(&self.user_id);
        record.username.clone_from(&self.username);
        record.kind = self.kind;
        record.idle_timeout = lifetime.idle();
        record.remembered = self.remember;
        record.credential_version = self.credential_version;
        if let Some(last) = self.earlier.last() {
            record.authenticated_at = last.at;
        }
        let now_shown = self.auth.iter().map(|method| AuthEvent::new(method.clone(), now));
        self.earlier.iter().cloned().chain(now_shown).for_each(|event| record.push_auth(event));
        record.last_client = LastClient::from(&self.client);
        record.client = Arc::new(self.client.clone());
        record.device_id = self.device_id;
        record.label.clone_from(&self.label);
        record
    }

    /// Who wants to sign in, with what, and under which credentials.
    pub(crate) fn candidate(&self) -> (Option<UserId>, &[AuthMethod], Option<u64>) {
        (self.user_id.clone(), &self.auth, self.credential_version)
    }

    /// Leaves everything out that names the user.
    pub(crate) fn into_anonymous(self, lifetime: Lifetime) -> Self {
        let (client, device_id, replaces) = (self.client, self.device_id, self.replaces);
        Self { client, device_id, replaces, lifetime: Some(lifetime), ..Self::anonymous() }
    }

    pub(crate) fn with_value(mut self, key: &str, value: &impl serde::Serialize) -> Result<Self> {
        self.data.insert(key, value)?;
        Ok(self)
    }

    /// Does not carry a key over from the session that is replaced.
    pub(crate) fn without_key(mut self, key: &'static str) -> Self {
        self.dropped_key = Some(key);
        self
    }

    /// Takes user, credential version and first factors from the first step of a sign-in.
    pub(crate) fn completing(
        mut self,
        user: UserId,
        first: Vec<AuthMethod>,
        credential_version: Option<u64>,
    ) -> Self {
        self.user_id = Some(user);
        self.credential_version = credential_version;
        self.auth.splice(0..0, first);
        self
    }

    /// Takes the user, their authentications and the data from a session that goes on elsewhere.
    pub(crate) fn continuing(mut self, source: &SessionRecord, limits: &DataLimits) -> Result<Self> {
        self.user_id.clone_from(&source.user_id);
        self.username.clone_from(&source.username);
        self.credential_version = source.credential_version;
        self.remember = source.remembered;
        self.earlier.clone_from(&source.auth);
        self.data = SessionData::decode(&source.data, limits)?;
        Ok(self)
    }

    fn initial_data(&self) -> Result<SessionData> {
        let Some(replaced) = &self.replaces else { return Ok(self.data.clone()) };
        let mut data = replaced.data()?;
        if let Some(key) = self.dropped_key {
            data.set_value(key, None);
        }
        for key in self.data.keys() {
            data.set_value(key, self.data.value(key).cloned());
        }
        Ok(data)
    }
}
