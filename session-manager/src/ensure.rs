//! Sessions for identities that another system vouches for.
//!
//! | meets | how |
//! |---|---|
//! | rules, deadlines, directory | judged as for every request, by the same code; the directory is asked afresh before a session is created |
//! | copies | a copy may confirm that the session exists; only the store decides that it does not |
//! | uses | counts as one |
//! | a hundred calls at once | the store inserts one; each call reads the store at most once before that |
//! | an end | final: the same external name is refused until the retention is over, so keep it longer than the external tokens live |
//! | tenants | the same name in another tenant's store is another session |

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use session_core::rules::RequestClient;
use session_core::{
    ClientInfo, DeviceId, Error, ErrorKind, Lifetime, SessionId, SessionKind, SessionRecord, Timestamp,
    UserId,
};

use crate::backend::Operation;
use crate::follow_up::Lost;
use crate::manager::{SessionManager, interrupted};
use crate::new_session::NewSession;
use crate::rejection::{Rejection, ValidateError, check_deadlines};
use crate::session::Session;
use crate::tiers::{Found, Provenance};

/// A session that another system began, for example by a JWT with a session claim.
///
/// # Security
/// The name must come from a *verified* token: a party that can choose it can open the session. It
/// is hashed into the id and not stored. `Debug` does not show it.
#[derive(Clone)]
pub struct ExternalSession {
    name: String,
    user: UserId,
    new: NewSession,
}

impl ExternalSession {
    /// Names a session by its verified external name (with its issuer, if there are several) and
    /// its user.
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

    /// Sets a lifetime of its own for the session, for example that of the external token.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.new = self.new.with_lifetime(lifetime);
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

impl fmt::Debug for ExternalSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalSession").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The answer of [`ensure`](SessionManager::ensure). Serialises to `{"created":true}` or
/// `{"exists":true}`.
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
    /// Finds the session of an external identity, or creates it. A hundred calls at once create
    /// one.
    ///
    /// # Errors
    /// [`ValidateError::Rejected`] if the session was ended or expired (it is not made again, or
    /// signing out would mean nothing), if a rule denies the request, or if the user is not active.
    /// [`ValidateError::Unavailable`] when the store failed or refused (names out of bounds, a
    /// limit that refuses).
    ///
    /// # Cancellation
    /// What is created is created whole.
    #[tracing::instrument(name = "session_ensure", level = "debug", skip_all)]
    pub async fn ensure(
        &self,
        external: ExternalSession,
        client: &RequestClient<'_>,
    ) -> Result<Ensured, ValidateError> {
        // On the heap: it is large, and applications hold it within futures of their own.
        Box::pin(self.ensure_now(&external, client)).await
    }

    async fn ensure_now(
        &self,
        external: &ExternalSession,
        client: &RequestClient<'_>,
    ) -> Result<Ensured, ValidateError> {
        let mut operation = self.backend().operation();
        if let Some(record) = self.find_external(external, client, &mut operation).await? {
            return Ok(Ensured::Exists(record));
        }
        let now = self.now();
        let mut record = self.external_record(external, now)?;
        // Denied before anything is written.
        let provenance = Provenance::store(now);
        let challenge = self.apply_rules(&record, client, now, provenance)?;
        record.credential_version = self.check_new_external(&record, &mut operation).await?;
        let record = Arc::new(record);
        let (manager, until) = (self.clone(), operation.deadline());
        let insert = self.workers().spawn(async move {
            let mut operation = manager.backend().operation_until(until);
            let inserted = manager.insert(Arc::clone(&record), None, now, &mut operation).await;
            match &inserted {
                Ok(evicted) => manager.created(&record, evicted),
                Err(error) if error.is_transient() => {
                    manager.follow_up(Arc::clone(&record), now, Lost::Ensure);
                }
                Err(_) => {}
            }
            inserted.map(|_| record)
        });
        match insert.await.unwrap_or_else(|gone| Err(interrupted("ensure", gone))) {
            Ok(record) => Ok(Ensured::Created(Session::new(self, record, provenance, challenge))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let found = self.shared().find_in_store(&mut operation, external.id()).await?;
                let session = self.open_external(found, client, &mut operation).await?;
                Ok(Ensured::Exists(session.ok_or(Rejection::Unknown)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the directory afresh whether the user may have a session, and under which credentials.
    async fn check_new_external(
        &self,
        record: &SessionRecord,
        operation: &mut Operation<'_>,
    ) -> Result<Option<u64>, ValidateError> {
        let asked = self.check_sign_in(record, operation).await;
        asked.map_err(|error| match error.kind() {
            // What is wrong about the user is an answer, and no failure.
            ErrorKind::Invalid => Rejection::UserInactive.into(),
            _ => error.into(),
        })
    }

    fn external_record(
        &self,
        external: &ExternalSession,
        now: Timestamp,
    ) -> session_core::Result<SessionRecord> {
        let lifetime = self.lifetime_of(&external.new);
        let record = external.new.record(external.id(), now, lifetime, self.settings().recording);
        record.check()?;
        Ok(record)
    }

    /// Opens the session of an external identity, without creating one:
    /// [`validate`](Self::validate) for sessions with a token of another system.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub async fn validate_external(
        &self,
        external: &ExternalSession,
        client: &RequestClient<'_>,
    ) -> Result<Session, ValidateError> {
        let mut operation = self.backend().operation();
        let found = Box::pin(self.find_external(external, client, &mut operation)).await?;
        Ok(found.ok_or(Rejection::Unknown)?)
    }

    /// Opens the session if there is one. Reads the store at most once.
    async fn find_external(
        &self,
        external: &ExternalSession,
        client: &RequestClient<'_>,
        operation: &mut Operation<'_>,
    ) -> Result<Option<Session>, ValidateError> {
        let near = match &self.shared().tiers {
            Some(_) => self.shared().find(operation, external.id()).await?,
            None => None,
        };
        match near {
            // A copy may only confirm. If the session did not exist a moment ago, it may exist now.
            Some(Found::Active(record, provenance)) if provenance.is_cached() => {
                match self.admit_external(record, client, provenance, operation).await {
                    Err(ValidateError::Rejected(_)) => {}
                    answer => return answer.map(Some),
                }
            }
            None => {}
            found => return self.open_external(found, client, operation).await,
        }
        let found = self.shared().find_in_store(operation, external.id()).await?;
        self.open_external(found, client, operation).await
    }

    /// Opens what the store of record has.
    async fn open_external(
        &self,
        found: Option<Found>,
        client: &RequestClient<'_>,
        operation: &mut Operation<'_>,
    ) -> Result<Option<Session>, ValidateError> {
        match found {
            None => Ok(None),
            Some(Found::Ended(ended)) => Err(Rejection::Ended(ended).into()),
            Some(Found::Active(record, provenance)) => {
                let record = self.shared().count_known_use(record, operation).await?;
                self.admit_external(record, client, provenance, operation).await.map(Some)
            }
        }
    }

    async fn admit_external(
        &self,
        record: Arc<SessionRecord>,
        client: &RequestClient<'_>,
        provenance: Provenance,
        operation: &mut Operation<'_>,
    ) -> Result<Session, ValidateError> {
        let now = self.now();
        check_deadlines(&record, now)?;
        if record.kind != SessionKind::External {
            return Err(Rejection::Unknown.into());
        }
        self.check_user(&record, provenance, operation).await?;
        let challenge = self.apply_rules(&record, client, now, provenance)?;
        self.shared().note_use(&record, client, now);
        Ok(Session::new(self, record, provenance, challenge))
    }
}
