//! Sessions for identities that another system vouches for.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use session_core::rules::RequestClient;
use session_core::{
    ClientInfo, DeviceId, Error, ErrorKind, Expiry, SessionId, SessionKind, SessionRecord, UserId,
};

use crate::backend::Operation;
use crate::manager::SessionManager;
use crate::new_session::NewSession;
use crate::session::Session;
use crate::tiers::{Found, Provenance};
use crate::validate::{Rejection, ValidateError};

/// A session that another system began, a JWT with a session claim say.
///
/// # Security
/// The name must come from a *verified* token: whoever can choose it can open the session. It is hashed into the id and not stored.
#[derive(Debug, Clone)]
pub struct ExternalSession {
    name: String,
    user: UserId,
    new: NewSession,
}

impl ExternalSession {
    /// Names a session by its verified external name (with its issuer, if there are several) and its user.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a name that is empty or longer than 1,024 bytes.
    pub fn new(name: impl Into<String>, user: UserId) -> session_core::Result<Self> {
        let name = name.into();
        if name.is_empty() || name.len() > 1_024 {
            return Err(Error::invalid("ensure", "an external name is 1 to 1,024 bytes"));
        }
        let new = NewSession::for_user(user.clone()).with_kind(SessionKind::External);
        Ok(Self { name, user, new })
    }

    /// Sets the user's name for lists.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.new = self.new.with_username(username);
        self
    }

    /// Gives the session the lifetime of remembered ones.
    #[must_use]
    pub fn with_remember(mut self, remember: bool) -> Self {
        self.new = self.new.with_remember(remember);
        self
    }

    /// Sets what is known about the client.
    #[must_use]
    pub fn with_client(mut self, client: ClientInfo) -> Self {
        self.new = self.new.with_client(client);
        self
    }

    /// Sets the device.
    #[must_use]
    pub fn with_device(mut self, device: DeviceId) -> Self {
        self.new = self.new.with_device(device);
        self
    }

    /// Returns the id, which is the same for the same name and user, on every node and at any time.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId::derive("external", self.name.as_bytes(), Some(&self.user))
    }
}

/// The answer of [`ensure`](SessionManager::ensure). Serialises to `{"created":true}` or `{"exists":true}`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ensured {
    /// This call made the session.
    Created(Session),
    /// It was there.
    Exists(Session),
}

impl Ensured {
    /// Returns the session.
    #[must_use]
    pub fn session(&self) -> &Session {
        match self {
            Self::Created(session) | Self::Exists(session) => session,
        }
    }
}

impl Serialize for Ensured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answer = match self {
            Self::Created(_) => "created",
            Self::Exists(_) => "exists",
        };
        serializer.collect_map([(answer, true)])
    }
}

impl SessionManager {
    /// Finds the session of an external identity, or creates it. A hundred calls at once create one.
    ///
    /// # Errors
    /// [`ValidateError::Rejected`] if the session was ended or expired: it is not made again, or signing out would mean nothing.
    /// [`ValidateError::Unavailable`] when the store failed or refused (names out of bounds, a limit that refuses).
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    #[tracing::instrument(name = "session_ensure", level = "debug", skip_all)]
    pub async fn ensure(&self, external: ExternalSession) -> Result<Ensured, ValidateError> {
        let manager = self.clone();
        let task = self.workers().spawn(async move { manager.ensure_now(&external).await });
        task.await.unwrap_or_else(|source| Err(Error::other("manager", "ensure", source).into()))
    }

    async fn ensure_now(&self, external: &ExternalSession) -> Result<Ensured, ValidateError> {
        let id = external.id();
        let mut operation = self.backend().operation();
        if let Some(record) = operation.load(id).await? {
            return self.open_external(record, &mut operation).await.map(Ensured::Exists);
        }
        let now = self.now();
        let record = self.external_record(external)?;
        self.check_user(&record, Provenance::store(now), &mut operation).await?;
        match self.insert(Arc::clone(&record), now, &mut operation).await {
            Ok(evicted) => {
                self.created(&record, &evicted);
                Ok(Ensured::Created(Session::written(self, record)))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let record = operation.load(id).await?.ok_or(Rejection::Unknown)?;
                self.open_external(record, &mut operation).await.map(Ensured::Exists)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn external_record(&self, external: &ExternalSession) -> session_core::Result<Arc<SessionRecord>> {
        let record = external.new.record(external.id(), self.now(), self.lifetime_of(&external.new));
        record.check()?;
        Ok(Arc::new(record))
    }

    /// Opens the session of an external identity, without creating one: [`validate`](Self::validate) for sessions whose token is
    /// somebody else's.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub async fn validate_external(
        &self,
        external: &ExternalSession,
        client: &RequestClient<'_>,
    ) -> Result<Session, ValidateError> {
        let mut operation = self.backend().operation();
        let near = self.shared().find(&mut operation, external.id()).await?;
        // A copy may only confirm, and that nobody had begun the session a moment ago does not mean that nobody has.
        if let Some(Found::Active(record, provenance)) = near
            && provenance.is_cached()
        {
            match self.admit_external(record, client, provenance, &mut operation).await {
                Err(ValidateError::Rejected(_)) => {}
                answer => return answer,
            }
        }
        let found = self.shared().find_in_store(&mut operation, external.id()).await?;
        match found.ok_or(Rejection::Unknown)? {
            Found::Active(record, provenance) => {
                self.admit_external(record, client, provenance, &mut operation).await
            }
            Found::Ended(ended) => Err(Rejection::Ended(ended).into()),
        }
    }

    async fn admit_external(
        &self,
        record: Arc<SessionRecord>,
        client: &RequestClient<'_>,
        provenance: Provenance,
        operation: &mut Operation<'_>,
    ) -> Result<Session, ValidateError> {
        self.check_external(&record, provenance, operation).await?;
        let now = self.now();
        let challenge = self.apply_rules(&record, client, now, provenance)?;
        self.shared().note_use(&record, client, now);
        Ok(Session::new(self, record, provenance, challenge))
    }

    async fn open_external(
        &self,
        record: Arc<SessionRecord>,
        operation: &mut Operation<'_>,
    ) -> Result<Session, ValidateError> {
        let provenance = Provenance::store(self.now());
        self.check_external(&record, provenance, operation).await?;
        Ok(Session::new(self, record, provenance, None))
    }

    async fn check_external(
        &self,
        record: &SessionRecord,
        provenance: Provenance,
        operation: &mut Operation<'_>,
    ) -> Result<(), ValidateError> {
        if let Some(ended) = record.ended() {
            return Err(Rejection::Ended(ended.clone()).into());
        }
        if let Expiry::Expired(deadline) = record.expiry(self.now()) {
            return Err(Rejection::Expired(deadline).into());
        }
        if record.kind != SessionKind::External {
            return Err(Rejection::Unknown.into());
        }
        self.check_user(record, provenance, operation).await
    }
}
