//! What a session begins with.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    AuthEvent, AuthMethod, ClientInfo, DeviceId, LastClient, Lifetime, Result, SessionData, SessionId,
    SessionKind, SessionRecord, Timestamp, UserId,
};

use crate::data::{DataCodec, is_reserved, remove_reserved, reserved};
use crate::recording::Recording;
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
///
/// # Security
/// `Debug` shows no data, no name and nothing of the client.
#[derive(Clone)]
pub struct NewSession {
    pub(crate) user_id: Option<UserId>,
    username: Option<String>,
    kind: SessionKind,
    pub(crate) remember: bool,
    pub(crate) refresh: bool,
    pub(crate) lifetime: Option<Lifetime>,
    credential_version: Option<u64>,
    auth: Vec<AuthMethod>,
    /// Authentications of an earlier session that this one continues.
    earlier: Vec<AuthEvent>,
    /// What an earlier session that this one continues sets bounds to.
    continues: Option<Continued>,
    client: Option<ClientInfo>,
    device_id: Option<DeviceId>,
    label: Option<String>,
    data: SessionData,
    /// Whether the library itself set data.
    internal: bool,
    /// Whether it completes the pending sign-in that it replaces.
    pub(crate) completes: bool,
    pub(crate) replaces: Option<Session>,
    /// A session that ends as soon as this one is stored, without being replaced by it.
    pub(crate) gives_way: Option<SessionId>,
}

/// What a session that goes on elsewhere keeps of the one that it stems from.
#[derive(Debug, Clone, Copy)]
struct Continued {
    expires_at: Timestamp,
    idle_timeout: Option<Duration>,
    authenticated_at: Timestamp,
}

impl NewSession {
    /// A session without a user, to keep data before a sign-in.
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
            continues: None,
            client: None,
            device_id: None,
            label: None,
            data: SessionData::default(),
            internal: false,
            completes: false,
            replaces: None,
            gives_way: None,
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

    /// Asks for a refresh token besides the session token, which becomes short-lived: see
    /// [`RefreshPolicy`](crate::RefreshPolicy).
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
        self.client = Some(client);
        self
    }

    /// Sets what is known about the client, unless that was set before. For integrations, which
    /// know the request.
    #[must_use]
    pub fn with_default_client(mut self, client: impl FnOnce() -> ClientInfo) -> Self {
        self.client.get_or_insert_with(client);
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

    /// Takes the place of a session: carries its data over as the store holds it, with what the
    /// handle changed (what [`with_data`](Self::with_data) sets wins), and ends it as
    /// [`Superseded`](session_core::EndReason::Superseded). Of a session of another user nothing is
    /// carried over.
    ///
    /// # Security
    /// Signing in from an anonymous session always goes through here: the new session has a new id
    /// and a new secret, so who planted the old cookie in a victim's browser holds nothing (session
    /// fixation).
    #[must_use]
    pub fn replacing(mut self, session: &Session) -> Self {
        self.replaces = Some(session.clone());
        self
    }
}

impl NewSession {
    pub(crate) fn record(
        &self,
        id: SessionId,
        now: Timestamp,
        lifetime: Lifetime,
        recording: Recording,
    ) -> SessionRecord {
        let expires_at = now.saturating_add(lifetime.absolute());
        let expires_at = self.continues.map_or(expires_at, |source| expires_at.min(source.expires_at));
        let mut record = SessionRecord::new(id, now, expires_at);
        record.user_id.clone_from(&self.user_id);
        record.username.clone_from(&self.username);
        record.kind = self.kind;
        record.idle_timeout = lifetime.idle();
        record.remembered = self.remember;
        record.credential_version = self.credential_version;
        if let Some(source) = self.continues {
            record.authenticated_at = source.authenticated_at;
            record.idle_timeout = lifetime.idle().into_iter().chain(source.idle_timeout).min();
        }
        let now_shown = self.auth.iter().map(|method| AuthEvent::new(method.clone(), now));
        self.earlier.iter().cloned().chain(now_shown).for_each(|event| record.push_auth(event));
        record.client = Arc::new(recording.client(self.client.clone().unwrap_or_default()));
        record.last_client = LastClient::from(&*record.client);
        record.device_id = self.device_id;
        record.label.clone_from(&self.label);
        record
    }

    /// Who wants to sign in, with what, and under which credentials.
    pub(crate) fn candidate(&self) -> (Option<UserId>, &[AuthMethod], Option<u64>) {
        (self.user_id.clone(), &self.auth, self.credential_version)
    }

    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.client.as_ref()?.ip
    }

    /// Leaves everything out that names the user.
    pub(crate) fn into_anonymous(self, lifetime: Lifetime) -> Self {
        let (client, device_id, replaces) = (self.client, self.device_id, self.replaces);
        Self { client, device_id, replaces, lifetime: Some(lifetime), ..Self::anonymous() }
    }

    pub(crate) fn with_value(mut self, key: &str, value: &impl serde::Serialize) -> Result<Self> {
        self.data.insert(key, value)?;
        self.internal = true;
        Ok(self)
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
        self.completes = true;
        self
    }

    /// Takes the user, their authentications and the data from a session that goes on elsewhere.
    pub(crate) fn continuing(mut self, source: &SessionRecord, codec: DataCodec) -> Result<Self> {
        self.user_id.clone_from(&source.user_id);
        self.username.clone_from(&source.username);
        self.credential_version = source.credential_version;
        self.remember = source.remembered;
        self.earlier.clone_from(&source.auth);
        self.continues = Some(Continued {
            expires_at: source.expires_at,
            idle_timeout: source.idle_timeout,
            authenticated_at: source.authenticated_at,
        });
        self.data = codec.decode(&source.data)?;
        // A mark that a sign-in left behind is the source's own.
        remove_reserved(&mut self.data);
        Ok(self)
    }

    /// The data that the session begins with: what was set for it, on top of what it carries over.
    pub(crate) fn initial_data(&self, carried_over: Option<&SessionData>) -> Result<SessionData> {
        if !self.internal && self.data.keys().any(is_reserved) {
            return Err(reserved("create"));
        }
        let mut data = carried_over.cloned().unwrap_or_default();
        for key in self.data.keys() {
            data.set_value(key, self.data.value(key).cloned());
        }
        Ok(data)
    }
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession")
            .field("user_id", &self.user_id)
            .field("kind", &self.kind)
            .field("remember", &self.remember)
            .field("refresh", &self.refresh)
            .field("lifetime", &self.lifetime)
            .field("keys", &self.data.len())
            .field("replaces", &self.replaces.as_ref().map(Session::id))
            .finish_non_exhaustive()
    }
}
