//! Signing in.

use std::sync::Arc;

use session_core::{
    Actor, EndReason, EndScope, Ended, Error, ErrorKind, EventKind, Lifetime, RefreshState, RefreshToken,
    Result, SecretPurpose, SecretState, SessionId, SessionRecord, SessionToken, StateFilter, Timestamp,
    UserId,
};

use crate::backend::Operation;
use crate::info::SessionInfo;
use crate::manager::{SessionManager, Shared};
use crate::metrics::Op;
use crate::new_session::NewSession;
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
        self.finish(async move { manager.create_now(new, &mut manager.backend().operation()).await }).await
    }

    pub(crate) async fn create_now(&self, new: NewSession, operation: &mut Operation<'_>) -> Result<Created> {
        let now = self.now();
        let data: Arc<[u8]> = new.initial_data()?.encode(&self.settings().data_limits)?.into();
        for _ in 0..ID_ATTEMPTS {
            let Minted { record, token, refresh } = self.mint(&new, &data, now)?;
            self.check_sign_in(&record, operation).await?;
            match self.insert(Arc::clone(&record), now, operation).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    if error.is_transient() {
                        // Nobody holds its token, in case that the store kept it after all.
                        self.end_in_background(
                            record.id,
                            Ended::new(EndReason::Superseded, now, Actor::System),
                        );
                    }
                    return Err(error);
                }
                Ok(evicted) => {
                    self.created(&record, &evicted);
                    self.supersede(new.replaces.as_ref(), now, operation).await;
                    let ended = evicted.iter().map(|record| SessionInfo::new(record, now)).collect();
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
        shared.emit(EventKind::Created, record);
        shared.report_ended(evicted);
        if let Some(user) =
            record.user_id.clone().filter(|_| shared.events.is_wanted() && record.device_id.is_some())
        {
            self.workers().spawn(Arc::clone(shared).report_new_device(Arc::clone(record), user));
        }
    }

    pub(crate) fn lifetime_of(&self, new: &NewSession) -> Lifetime {
        new.lifetime.unwrap_or(self.settings().expiry.lifetime(new.remember))
    }

    fn mint(&self, new: &NewSession, data: &Arc<[u8]>, now: Timestamp) -> Result<Minted> {
        let (shared, settings) = (self.shared(), self.settings());
        let id = SessionId::mint(now, new.user_id.as_ref(), &*shared.random)?;
        let token = SessionToken::mint(id, settings.secret_format, &*shared.random)?;
        let mut record = new.record(id, now, self.lifetime_of(new));
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
        operation: &mut Operation<'_>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let limit = self.settings().limit.filter(|_| record.user_id.is_some()).map(|limit| limit.at(now));
        let create = self.backend().store().create(record, limit.as_ref());
        operation.call(Op::Create, create).await
    }

    /// Ends the session that the new one replaces. Its failure does not fail the sign-in: the old session is anonymous or the
    /// user's own, nobody gains by it, and the end is tried again.
    async fn supersede(&self, replaced: Option<&Session>, now: Timestamp, operation: &mut Operation<'_>) {
        let Some(replaced) = replaced else { return };
        let ended = Ended::new(EndReason::Superseded, now, Actor::System);
        let tasks = self.workers().tasks();
        let scope = EndScope::id(replaced.id());
        if let Err(error) = self.shared().end_sessions(operation, scope, ended, &tasks).await {
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
