//! Signing in.
//!
//! | meets | how |
//! |---|---|
//! | a session that it replaces | its data is carried over, see `replace.rs`; it does not count for the limit, and no other session gives way for it |
//! | the directory | asked afresh; the session gets the credential version that the answer names, if the application names none |
//! | a limit, and a lost reply | what was evicted is found and reported, and the session is ended, because its token was never handed out, see `follow_up.rs` |
//! | events | one for the session, one for each that it evicted; a new device is judged by older sessions only, see `devices.rs` |

use std::sync::Arc;

use session_core::{
    Error, ErrorKind, EventKind, Lifetime, RefreshState, RefreshToken, Result, SecretPurpose, SecretState,
    SessionId, SessionLimit, SessionRecord, SessionToken, Timestamp,
};

use crate::backend::Operation;
use crate::follow_up::Lost;
use crate::info::SessionInfo;
use crate::manager::SessionManager;
use crate::new_session::NewSession;
use crate::replace::Replaced;
use crate::session::Session;

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
    /// [`Invalid`](ErrorKind::Invalid) for names, labels or data out of bounds, or if the
    /// [directory](session_core::UserDirectory) answers that the user is not active or has other
    /// credentials by now; [`LimitExceeded`](ErrorKind::LimitExceeded) with the user's live
    /// sessions, if the limit refuses; [`Ended`](ErrorKind::Ended) if another sign-in is just
    /// replacing the same session; [`Unavailable`](ErrorKind::Unavailable) and
    /// [`Timeout`](ErrorKind::Timeout) when the store, the directory or the generator failed:
    /// no user is signed in then, and what the store may have kept is ended as soon as it can be
    /// asked.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    #[tracing::instrument(name = "session_create", level = "debug", skip_all)]
    pub async fn create(&self, new: NewSession) -> Result<Created> {
        let manager = self.clone();
        // On the heap: it is large, and applications hold it within futures of their own.
        self.finish(Box::pin(
            async move { manager.create_now(new, &mut manager.backend().operation()).await },
        ))
        .await
    }

    pub(crate) async fn create_now(&self, new: NewSession, operation: &mut Operation<'_>) -> Result<Created> {
        let shared = self.shared();
        self.check_new(&new, self.now())?;
        let replaced = shared.take_over(&new, operation).await?;
        match self.create_replacing(&new, replaced.as_ref(), operation).await {
            Ok(created) => {
                shared.supersede(replaced, operation).await;
                Ok(created)
            }
            Err(error) => {
                if let Some(replaced) = replaced {
                    shared.release(replaced);
                }
                Err(error)
            }
        }
    }

    /// What is wrong about the session itself must be known before anything is written.
    pub(crate) fn check_new(&self, new: &NewSession, now: Timestamp) -> Result<()> {
        let id = SessionId::derive("session-kit", b"check", new.user_id.as_ref());
        new.record(id, now, self.lifetime_of(new), self.settings().recording).check()?;
        self.settings().codec().encode(&new.initial_data(None)?).map(drop)
    }

    async fn create_replacing(
        &self,
        new: &NewSession,
        replaced: Option<&Replaced>,
        operation: &mut Operation<'_>,
    ) -> Result<Created> {
        let now = self.now();
        let data = new.initial_data(replaced.map(|replaced| &replaced.data))?;
        let data = self.settings().codec().encode(&data)?;
        for _ in 0..ID_ATTEMPTS {
            let Minted { mut record, token, refresh } = self.mint(new, &data, now)?;
            record.credential_version = self.check_sign_in(&record, operation).await?;
            let record = Arc::new(record);
            let gives_way = replaced.map(|replaced| replaced.session.id()).or(new.gives_way);
            match self.insert(Arc::clone(&record), gives_way, now, operation).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    if error.is_transient() {
                        self.follow_up(record, now, Lost::SignIn);
                    }
                    return Err(error);
                }
                Ok(evicted) => {
                    self.created(&record, &evicted);
                    let ended = evicted.iter().map(|record| self.shared().info(record, now)).collect();
                    let session = Session::written(self, record);
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
        tracing::debug!(session = %record.id, kind = %record.kind, evicted = evicted.len(), "session created");
        shared.emit(EventKind::Created, record);
        shared.report_ended(evicted);
        shared.look_for_device(record);
    }

    pub(crate) fn lifetime_of(&self, new: &NewSession) -> Lifetime {
        new.lifetime.unwrap_or(self.settings().expiry.lifetime(new.remember))
    }

    fn mint(&self, new: &NewSession, data: &Arc<[u8]>, now: Timestamp) -> Result<Minted> {
        let (shared, settings) = (self.shared(), self.settings());
        let id = SessionId::mint(now, new.user_id.as_ref(), &*shared.random)?;
        let token = SessionToken::mint(id, settings.secret_format, &*shared.random)?;
        let mut record = new.record(id, now, self.lifetime_of(new), settings.recording);
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
        Ok(Minted { record, token, refresh })
    }

    /// Stores a new session under its limit. The session that gives way for it does not count.
    pub(crate) async fn insert(
        &self,
        record: Arc<SessionRecord>,
        gives_way: Option<SessionId>,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let limit = self.limit_for(&record, now);
        let limit = limit.map(|limit| gives_way.map_or(limit, |id| limit.with_replaces(id)));
        operation.create(record, limit.as_ref()).await
    }

    pub(crate) fn limit_for(&self, record: &SessionRecord, now: Timestamp) -> Option<SessionLimit> {
        record.user_id.as_ref()?;
        self.settings().limit.for_session(record).map(|limit| limit.at(now))
    }
}

/// A record that is not stored yet, with its secrets.
struct Minted {
    record: SessionRecord,
    token: SessionToken,
    refresh: Option<RefreshToken>,
}
