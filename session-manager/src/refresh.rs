//! Pairs of a short-lived session token and a long-lived refresh token, for programs.
//!
//! | presented | when | answer | write |
//! |---|---|---|---|
//! | current refresh secret | | a new pair | the new hashes |
//! | previous refresh secret | nothing of the new pair was presented yet, or within grace after it was | the same pair again | none; if the session token has expired meanwhile, its new end |
//! | previous refresh secret | later | the session ends: another party holds a copy | end |
//! | secret of an earlier generation | | the same | end |
//! | secret that was replaced at once, unconfirmed | see `rotate.rs` | a new pair, as if it had not been replaced | the new hashes |
//! | anything else | | wrong; nothing is ended | none |
//!
//! All of it is decided on what the store of record holds. Only a secret that was once ours proves
//! reuse, so knowing an id is not the power to end a session. The old refresh token gives the same
//! pair until one half of that pair was presented: a lost response, or an outage of any length, is
//! no theft. Who holds a copy of a token can do the same, and is noticed as before: once both the
//! copy and the original have been refreshed, one of them is spent.
//!
//! | meets | how |
//! |---|---|
//! | rules, directory, deadlines | judged before anything is written: a denied refresh changes nothing, and ends nothing |
//! | a save beside it | the compare-and-set is repeated on the newer record |
//! | a rotation at once | replaces the refresh token, too; the one before is spent then |
//! | tiers | the record is always the store's |

use std::net::IpAddr;
use std::sync::Arc;

use session_core::rules::{Reason, RequestClient};
use session_core::{
    Actor, CountryCode, EndReason, EndScope, Ended, Error, ErrorKind, EventKind, RefreshState, RefreshToken,
    Result, RotationSalt, SecretMatch, SecretPurpose, SecretState, SessionRecord, SessionToken, Timestamp,
};

use crate::backend::Operation;
use crate::manager::{SessionManager, Shared, interrupted};
use crate::rejection::{Rejection, ValidateError, check_deadlines};
use crate::rotate::{Fate, is_match, missing_key};
use crate::session::Session;
use crate::settings::ReuseEnds;
use crate::settle::restored;
use crate::tiers::Provenance;

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
enum PresentedRefresh {
    Current,
    Again(RotationSalt),
    /// Current, once an unconfirmed replacement is taken back.
    Restored,
    Spent,
    Wrong,
}

/// A client as an operation holds it that outlives its request.
struct Sender {
    ip: Option<IpAddr>,
    user_agent: Option<String>,
    country: Option<CountryCode>,
}

impl Sender {
    fn of(client: &RequestClient<'_>) -> Self {
        Self { ip: client.ip, user_agent: client.user_agent.map(str::to_owned), country: client.country_code }
    }

    fn client(&self) -> RequestClient<'_> {
        let country = self.country.as_ref().map(CountryCode::as_str);
        RequestClient::new(self.ip, self.user_agent.as_deref()).with_country(country)
    }
}

/// What a refresh gives.
struct Exchanged {
    record: Arc<SessionRecord>,
    token: SessionToken,
    refresh: RefreshToken,
    challenge: Option<Reason>,
}

impl SessionManager {
    /// Exchanges a refresh token for a new pair. Shown the same token again before anything of the
    /// new pair was presented, or within the grace period after it was, gives the same pair again.
    ///
    /// # Errors
    /// [`ValidateError::Rejected`] when the answer is no: the session ended, expired, is unknown, a
    /// rule denies the request, or the token was spent, which ends the session as
    /// [`RefreshReuse`](EndReason::RefreshReuse). [`ValidateError::Unavailable`] when there is no
    /// answer; try again with the same token, however much later.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped; the same token then gives what was missed.
    #[tracing::instrument(name = "session_refresh", level = "debug", skip_all)]
    pub async fn refresh(&self, token: &str, client: &RequestClient<'_>) -> Result<Refreshed, ValidateError> {
        let token = RefreshToken::parse(token).map_err(|_| Rejection::Malformed)?;
        let (manager, sender) = (self.clone(), Sender::of(client));
        let exchange = self.workers().spawn(async move { manager.exchange(&token, &sender.client()).await });
        let Exchanged { record, token, refresh, challenge } =
            exchange.await.unwrap_or_else(|gone| Err(interrupted("refresh", gone).into()))?;
        let now = self.now();
        self.shared().note_use(&record, client, now);
        let session = Session::new(self, record, Provenance::store(now), challenge);
        Ok(Refreshed { session, token, refresh })
    }

    async fn exchange(
        &self,
        token: &RefreshToken,
        client: &RequestClient<'_>,
    ) -> Result<Exchanged, ValidateError> {
        let shared = self.shared();
        let mut operation = self.backend().operation();
        for _ in 0..ATTEMPTS {
            let mut record = operation.load(token.id()).await?.ok_or(Rejection::Unknown)?;
            let now = self.now();
            record = shared.count_known_use(record, &mut operation).await?;
            if let Some(ended) = record.ended() {
                return Err(Rejection::Ended(ended.clone()).into());
            }
            // Before anything that depends on the user: knowing an id must reveal and end nothing.
            if record.refresh.is_none() {
                return Err(Rejection::Unknown.into());
            }
            let presented = shared.recognise_refresh(&record, token, now)?;
            if let PresentedRefresh::Wrong = presented {
                return Err(Rejection::WrongSecret.into());
            }
            self.check_refreshable(&record, now, &mut operation).await?;
            if let PresentedRefresh::Restored = presented {
                // Judged as if the replacement had not happened; one write takes it back and renews
                // the pair.
                record = Arc::new(restored(&record, self.settings().codec()));
            }
            let challenge = self.apply_rules(&record, client, now, Provenance::store(now))?;
            let state = record.refresh.as_ref().ok_or(Rejection::Unknown)?;
            match presented {
                PresentedRefresh::Current | PresentedRefresh::Restored | PresentedRefresh::Wrong => {}
                PresentedRefresh::Again(salt) => {
                    let Some(record) = self.with_access(record.clone(), now, &mut operation).await? else {
                        continue;
                    };
                    let (token, refresh) = pair(&record, &salt, token);
                    return Ok(Exchanged { record, token, refresh, challenge });
                }
                PresentedRefresh::Spent => {
                    return Err(self.end_reused(&record, now, &mut operation).await?.into());
                }
            }
            let salt = RotationSalt::mint(&*shared.random)?;
            let next = shared.refreshed(&record, state, token, &salt, now);
            match operation.store(next, record.revision).await {
                Ok(record) => {
                    let (token, refresh) = pair(&record, &salt, token);
                    shared.emit(EventKind::Refreshed, &record);
                    return Ok(Exchanged { record, token, refresh, challenge });
                }
                // Another write came first: what the token is now is decided anew.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Ended) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::unavailable("manager", "refresh").with_detail("other writers kept coming first").into())
    }

    /// Renews the session token of a pair that is given again, if it has expired meanwhile. `None`
    /// if another write came first.
    async fn with_access(
        &self,
        record: Arc<SessionRecord>,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> Result<Option<Arc<SessionRecord>>, ValidateError> {
        let secret = record.secret.as_ref().filter(|secret| secret.expires_at.is_some_and(|end| end <= now));
        let Some(secret) = secret else { return Ok(Some(record)) };
        let mut next = SessionRecord::clone(&record);
        let mut secret = secret.clone();
        secret.expires_at = Some(now.saturating_add(self.settings().refresh.access));
        next.secret = Some(secret);
        match operation.store(next, record.revision).await {
            Ok(record) => Ok(Some(record)),
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Ended) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that a session is live and has a refresh token that counts.
    async fn check_refreshable(
        &self,
        record: &SessionRecord,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> Result<(), ValidateError> {
        check_deadlines(record, now)?;
        self.check_user(record, Provenance::store(now), operation).await?;
        let state = record.refresh.as_ref().ok_or(Rejection::Unknown)?;
        if now < state.expires_at { Ok(()) } else { Err(Rejection::TokenExpired.into()) }
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
        shared.end_sessions(operation, scope, ended.clone()).await?;
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
        token: &RefreshToken,
        now: Timestamp,
    ) -> Result<PresentedRefresh> {
        let Some(state) = &record.refresh else { return Ok(PresentedRefresh::Wrong) };
        let verify = |hash| self.hasher.verify(SecretPurpose::Refresh, record.id, token.secret(), hash);
        match verify(&state.secret.current) {
            SecretMatch::Match | SecretMatch::MatchOutdated => return Ok(PresentedRefresh::Current),
            SecretMatch::Mismatch => {}
            _ => return Err(missing_key()),
        }
        match &state.secret.previous {
            Some(previous) if is_match(verify(&previous.hash)) => Ok(match self.fate_of(previous, now)? {
                Fate::GivesSuccessor => PresentedRefresh::Again(previous.salt.clone()),
                Fate::Restores => PresentedRefresh::Restored,
                Fate::Spent => PresentedRefresh::Spent,
            }),
            _ if state.spent.iter().any(|spent| is_match(verify(spent))) => Ok(PresentedRefresh::Spent),
            _ => Ok(PresentedRefresh::Wrong),
        }
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
