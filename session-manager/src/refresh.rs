//! Pairs of a short-lived session token and a long-lived refresh token, for programs.
//!
//! | presented | when | answer | write |
//! |---|---|---|---|
//! | current refresh secret | | a new pair | the new hashes |
//! | previous refresh secret | within grace of its use | the same pair again | none |
//! | previous refresh secret | later | the session ends: somebody holds a copy | end |
//! | secret of an earlier generation | | the same | end |
//! | anything else | | wrong; nothing is ended | none |
//!
//! All of it is decided on what the store of record holds. Only a secret that was once ours proves reuse, so knowing an id is not the power
//! to end a session.

use std::sync::Arc;
use std::time::Duration;

use session_core::rules::RequestClient;
use session_core::{
    Actor, EndReason, EndScope, Ended, Error, ErrorKind, EventKind, Expiry, PreviousSecret, RefreshState,
    RefreshToken, Result, RotationSalt, SecretMatch, SecretPurpose, SecretState, SessionRecord, SessionToken,
    Timestamp,
};

use crate::backend::Operation;
use crate::manager::{SessionManager, Shared};
use crate::metrics::Op;
use crate::rotate::{is_match, missing_key};
use crate::session::Session;
use crate::tiers::Provenance;
use crate::validate::{Rejection, ValidateError};

/// The lifetimes of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshPolicy {
    /// How long the session token of a pair counts, 15 minutes by default.
    pub access: Duration,
    /// How long the refresh token counts, 30 days by default and never beyond the session itself.
    pub refresh: Duration,
    /// What ends when a spent refresh token is presented.
    pub reuse_ends: ReuseEnds,
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self {
            access: Duration::from_secs(15 * 60),
            refresh: Duration::from_secs(30 * 24 * 60 * 60),
            reuse_ends: ReuseEnds::Session,
        }
    }
}

impl RefreshPolicy {
    /// Sets how long the session token of a pair counts.
    #[must_use]
    pub const fn with_access(mut self, access: Duration) -> Self {
        self.access = access;
        self
    }

    /// Sets how long the refresh token counts.
    #[must_use]
    pub const fn with_refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh;
        self
    }

    /// Sets what ends when a spent refresh token is presented.
    #[must_use]
    pub const fn with_reuse_ends(mut self, ends: ReuseEnds) -> Self {
        self.reuse_ends = ends;
        self
    }
}

/// What ends when a spent refresh token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReuseEnds {
    /// All sessions of the user on the session's device; the session alone if it names no device.
    Device,
    /// The session. The default.
    #[default]
    Session,
    /// All sessions of the user.
    User,
}

/// A refreshed session with its new pair of tokens.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refreshed {
    /// The session.
    pub session: Session,
    /// The new session token.
    pub token: SessionToken,
    /// The new refresh token.
    pub refresh: RefreshToken,
}

/// How often a refresh is decided anew because another write came first.
const ATTEMPTS: usize = 8;

/// What a presented refresh secret is.
enum Presented {
    Current,
    InGrace(RotationSalt),
    Spent,
    Wrong,
}

impl SessionManager {
    /// Exchanges a refresh token for a new pair. Shown the same token again within the grace period, gives the same pair again.
    ///
    /// # Errors
    /// [`ValidateError::Rejected`] when the answer is no: the session ended, expired, is unknown, or the token was spent, which ends it as
    /// [`RefreshReuse`](EndReason::RefreshReuse). [`ValidateError::Unavailable`] when there is no answer; try again with the same token.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped; the same token then gives what was missed.
    #[tracing::instrument(name = "session_refresh", level = "debug", skip_all)]
    pub async fn refresh(&self, token: &str, client: &RequestClient<'_>) -> Result<Refreshed, ValidateError> {
        let token = RefreshToken::parse(token).map_err(|_| Rejection::Malformed)?;
        let manager = self.clone();
        let exchange = self.workers().spawn(async move { manager.exchange(&token).await });
        let (record, session, refresh) =
            exchange.await.unwrap_or_else(|source| Err(Error::other("manager", "refresh", source).into()))?;
        let now = self.now();
        let provenance = Provenance::store(now);
        let challenge = self.apply_rules(&record, client, now, provenance)?;
        self.shared().note_use(&record, client, now);
        let opened = Session::new(self, record, provenance, challenge);
        Ok(Refreshed { session: opened, token: session, refresh })
    }

    async fn exchange(
        &self,
        token: &RefreshToken,
    ) -> Result<(Arc<SessionRecord>, SessionToken, RefreshToken), ValidateError> {
        let mut operation = self.backend().operation();
        for _ in 0..ATTEMPTS {
            let record = operation.load(token.id()).await?.ok_or(Rejection::Unknown)?;
            let now = self.now();
            let state = self.check_refreshable(&record, now, &mut operation).await?;
            match self.shared().recognise_refresh(&record, state, token, now)? {
                Presented::Current => {}
                Presented::InGrace(salt) => {
                    let (session, refresh) = pair(&record, &salt, token);
                    return Ok((record, session, refresh));
                }
                Presented::Spent => return Err(self.end_reused(&record, now, &mut operation).await?.into()),
                Presented::Wrong => return Err(Rejection::WrongSecret.into()),
            }
            let salt = RotationSalt::mint(&*self.shared().random)?;
            let next = self.shared().refreshed(&record, state, token, &salt, now);
            let update = self.backend().store().update(Arc::new(next.clone()), record.revision);
            match operation.call(Op::Update, update).await {
                Ok(revision) => {
                    let (session, refresh) = pair(&record, &salt, token);
                    let next = Arc::new(SessionRecord::with_revision(next, revision));
                    self.shared().emit(EventKind::Refreshed, &next);
                    return Ok((next, session, refresh));
                }
                // Another write came first: what the token is now is decided anew.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) if error.kind() == ErrorKind::Ended => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::unavailable("manager", "refresh").with_detail("other writers kept coming first").into())
    }

    /// Returns the refresh state of a session that is live.
    async fn check_refreshable<'a>(
        &self,
        record: &'a SessionRecord,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> Result<&'a RefreshState, ValidateError> {
        if let Some(ended) = record.ended() {
            return Err(Rejection::Ended(ended.clone()).into());
        }
        if let Expiry::Expired(deadline) = record.expiry(now) {
            return Err(Rejection::Expired(deadline).into());
        }
        self.check_user(record, Provenance::store(now), operation).await?;
        let state = record.refresh.as_ref().ok_or(Rejection::Unknown)?;
        if now < state.expires_at { Ok(state) } else { Err(Rejection::TokenExpired.into()) }
    }

    async fn end_reused(
        &self,
        record: &SessionRecord,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> Result<Rejection> {
        let shared = self.shared();
        shared.emit(EventKind::Reuse, record);
        let ended = Ended::new(EndReason::RefreshReuse, now, Actor::System);
        let scope = match (shared.settings.refresh.reuse_ends, &record.user_id, record.device_id) {
            (ReuseEnds::User, Some(user), _) => EndScope::User(user.clone()),
            (ReuseEnds::Device, Some(user), Some(device)) => EndScope::Device { user: user.clone(), device },
            _ => EndScope::id(record.id),
        };
        shared.end_sessions(operation, scope, ended.clone(), &self.workers().tasks()).await?;
        Ok(Rejection::Ended(ended))
    }
}

fn pair(record: &SessionRecord, salt: &RotationSalt, old: &RefreshToken) -> (SessionToken, RefreshToken) {
    let session = SessionToken::from_parts(record.id, salt.companion(old.secret()));
    (session, RefreshToken::from_parts(record.id, salt.successor(old.secret())))
}

impl Shared {
    fn recognise_refresh(
        &self,
        record: &SessionRecord,
        state: &RefreshState,
        token: &RefreshToken,
        now: Timestamp,
    ) -> Result<Presented> {
        let verify = |hash| self.hasher.verify(SecretPurpose::Refresh, record.id, token.secret(), hash);
        match verify(&state.secret.current) {
            SecretMatch::Match | SecretMatch::MatchOutdated => return Ok(Presented::Current),
            SecretMatch::Mismatch => {}
            _ => return Err(missing_key()),
        }
        Ok(match &state.secret.previous {
            Some(PreviousSecret { hash, .. }) if !is_match(verify(hash)) => {
                if state.spent.iter().any(|spent| is_match(verify(spent))) {
                    Presented::Spent
                } else {
                    Presented::Wrong
                }
            }
            Some(previous) if self.in_grace(previous, now) => Presented::InGrace(previous.salt.clone()),
            Some(_) => Presented::Spent,
            None => Presented::Wrong,
        })
    }

    /// The record after its refresh token was used.
    fn refreshed(
        &self,
        record: &SessionRecord,
        state: &RefreshState,
        token: &RefreshToken,
        salt: &RotationSalt,
        now: Timestamp,
    ) -> SessionRecord {
        let (session, refresh) = pair(record, salt, token);
        let hash = self.hasher.hash(SecretPurpose::Refresh, record.id, refresh.secret());
        let mut next = record.clone();
        next.refresh = Some(state.advanced(hash, salt.clone(), now));
        next.secret = Some(self.access_state(record, &session, now));
        next
    }

    /// The state of the short-lived half of a pair.
    pub(crate) fn access_state(
        &self,
        record: &SessionRecord,
        token: &SessionToken,
        now: Timestamp,
    ) -> SecretState {
        let mut secret =
            SecretState::new(self.hasher.hash(SecretPurpose::Session, record.id, token.secret()));
        secret.expires_at = Some(now.saturating_add(self.settings.refresh.access));
        secret
    }
}
