//! From a presented token to a live session, or to the reason why not.
//!
//! | meets | how |
//! |---|---|
//! | copies | a copy may only confirm; every refusal but "ended" is the store's |
//! | uses that are not written yet | written before the answer "expired"; if the store takes them the session is live |
//! | rotation | the presented secret may be the one before; see `rotate.rs` |
//! | directory | asked afresh before a refusal; see `directory.rs` |
//! | rules | judged last, before anything is written |
//! | an outage | unavailable, or a copy with [`Tiers::with_stale_if_error`](crate::Tiers::with_stale_if_error), at once while loads keep failing |

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use session_core::rules::{Facts, Reason, RequestClient, Verdict};
use session_core::{
    EventKind, LastClient, SecretPurpose, SessionId, SessionRecord, SessionToken, Timestamp, Touch,
};

use crate::backend::Operation;
use crate::manager::{SessionManager, Shared};
use crate::rejection::{Rejection, ValidateError, check_deadlines};
use crate::rotate::PresentedSecret;
use crate::session::Session;
use crate::settle::{is_unsettled, restored};
use crate::tiers::{Found, Provenance, TieredStore};

impl SessionManager {
    /// Opens the session that a token belongs to, if the token is right, the session is live and
    /// the rules allow the request.
    ///
    /// This is the hot path: no write, and at most one load; none if [tiers](crate::Tiers) know the
    /// session. That the session was used is written later, at most once per minute.
    ///
    /// # Errors
    /// [`ValidateError::Rejected`] when the answer is no, [`ValidateError::Unavailable`] when there
    /// is none.
    ///
    /// # Security
    /// A malformed token does not reach the store. A wrong secret for a known id is
    /// [`Rejection::WrongSecret`] and ends nothing: ids are public, and knowing one must not be the
    /// power to sign its user out.
    pub async fn validate(&self, token: &str, client: &RequestClient<'_>) -> Result<Session, ValidateError> {
        let outcome = match SessionToken::parse(token) {
            Err(_) => Err(Rejection::Malformed.into()),
            Ok(token) => match self.open_from_memory(&token, client) {
                Some(session) => Ok(session),
                // On the heap, so that a validation from memory carries nothing of it.
                None => Box::pin(self.open(&token, client)).await,
            },
        };
        self.shared().metrics.validated(&outcome);
        outcome
    }

    /// Opens a session as [`validate`](Self::validate) does, but by what the store of record holds
    /// now: for what must not rest on a copy.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    #[tracing::instrument(name = "session_validate_authoritative", level = "debug", skip_all)]
    pub async fn validate_authoritative(
        &self,
        token: &str,
        client: &RequestClient<'_>,
    ) -> Result<Session, ValidateError> {
        let outcome = match SessionToken::parse(token) {
            Err(_) => Err(Rejection::Malformed.into()),
            Ok(token) => self.open_by_store(&token, client, &mut self.backend().operation()).await,
        };
        self.shared().metrics.validated(&outcome);
        outcome
    }

    /// Opens a session that this process has a copy of, if there is nothing to ask and nothing to
    /// do but to answer yes.
    fn open_from_memory(&self, token: &SessionToken, client: &RequestClient<'_>) -> Option<Session> {
        let shared = self.shared();
        let (record, provenance, now) = shared.tiers.as_ref()?.copy(token.id())?;
        let presented = shared.recognise(&record, token, now).ok()?;
        check(&record, &presented, now).ok()?;
        let is_settled = matches!(presented, PresentedSecret::Current)
            && !is_unsettled(&record)
            && !shared.rotation_is_due(&record, now);
        if !is_settled || !self.is_known_good(&record) {
            return None;
        }
        let challenge = self.apply_rules(&record, client, now, provenance).ok()?;
        shared.note_use(&record, client, now);
        Some(Session::new(self, record, provenance, challenge))
    }

    #[tracing::instrument(name = "session_validate", level = "debug", skip_all)]
    async fn open(&self, token: &SessionToken, client: &RequestClient<'_>) -> Result<Session, ValidateError> {
        let (mut operation, asked) = (self.backend().operation(), self.now());
        match self.shared().find(&mut operation, token.id()).await?.ok_or(Rejection::Unknown)? {
            Found::Ended(ended) => Err(Rejection::Ended(ended).into()),
            // A read that another request had begun may be older than what the client was handed
            // since, like a copy.
            Found::Active(record, provenance) if provenance.is_cached() || provenance.verified_at < asked => {
                match self.admit(record, provenance, token, client, &mut operation).await {
                    // A copy may only confirm.
                    Err(_) => self.open_by_store(token, client, &mut operation).await,
                    answer => answer,
                }
            }
            Found::Active(record, provenance) => {
                self.admit(record, provenance, token, client, &mut operation).await
            }
        }
    }

    async fn open_by_store(
        &self,
        token: &SessionToken,
        client: &RequestClient<'_>,
        operation: &mut Operation<'_>,
    ) -> Result<Session, ValidateError> {
        match self.shared().find_in_store(operation, token.id()).await?.ok_or(Rejection::Unknown)? {
            Found::Ended(ended) => Err(Rejection::Ended(ended).into()),
            Found::Active(record, provenance) => {
                let record = self.shared().count_known_use(record, operation).await?;
                self.admit(record, provenance, token, client, operation).await
            }
        }
    }

    /// Judges an active record: the secret, the deadlines, the user, the rules.
    async fn admit(
        &self,
        record: Arc<SessionRecord>,
        provenance: Provenance,
        token: &SessionToken,
        client: &RequestClient<'_>,
        operation: &mut Operation<'_>,
    ) -> Result<Session, ValidateError> {
        let now = self.now();
        let presented = self.shared().recognise(&record, token, now)?;
        let stored = record;
        let record = match presented {
            // An operation that failed did not happen: what it recorded does not count.
            PresentedSecret::Restored => Arc::new(restored(&stored, self.settings().codec())),
            _ => Arc::clone(&stored),
        };
        check(&record, &presented, now)?;
        if self.shared().directory.is_some() {
            self.check_user(&record, provenance, operation).await?;
        }
        let challenge = self.apply_rules(&record, client, now, provenance)?;
        self.shared().note_use(&record, client, now);
        let (record, replacement) = self.renew_if_due(record, stored, token, presented, now, operation).await;
        let session = Session::new(self, record, provenance, challenge);
        if let Some(replacement) = replacement {
            session.hand_out(replacement);
        }
        Ok(session)
    }

    /// Rotates and rehashes on the way, and takes back what failed: `stored` is the record as the
    /// store has it. None of these may fail the request: the presented secret is good.
    async fn renew_if_due(
        &self,
        record: Arc<SessionRecord>,
        stored: Arc<SessionRecord>,
        token: &SessionToken,
        presented: PresentedSecret,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> (Arc<SessionRecord>, Option<SessionToken>) {
        match presented {
            PresentedSecret::Current if self.shared().rotation_is_due(&record, now) => {
                let rotation = Box::pin(self.rotate_due(Arc::clone(&record), token, now, operation));
                rotation.await.unwrap_or((record, None))
            }
            PresentedSecret::Outdated => {
                self.rehash(&record, token);
                (record, None)
            }
            PresentedSecret::Replaced(successor) => (record, Some(successor)),
            PresentedSecret::Restored => {
                // If it cannot be written now, the next request does it.
                let taken_back = self.shared().take_back(operation, stored).await;
                (taken_back.unwrap_or(record), None)
            }
            PresentedSecret::Current if is_unsettled(&record) => {
                self.shared().note_presented(&record, now);
                (record, None)
            }
            PresentedSecret::Current | PresentedSecret::Wrong => (record, None),
        }
    }

    /// Returns what the application should make sure of, if anything.
    #[inline]
    pub(crate) fn apply_rules(
        &self,
        record: &SessionRecord,
        client: &RequestClient<'_>,
        now: Timestamp,
        provenance: Provenance,
    ) -> Result<Option<Reason>, Rejection> {
        let facts = Facts::new(record, *client, now).with_step_up_lifetime(self.settings().step_up_lifetime);
        let judgement = self.settings().rules.judge(&facts);
        match judgement.verdict {
            Verdict::Allow => Ok(None),
            Verdict::Challenge(reason) => Ok(Some(reason)),
            Verdict::Deny(reason) => {
                Err(self.denied(record, judgement.rule.unwrap_or("rules"), reason, provenance))
            }
            // A verdict of a later version is not a permission.
            _ => Err(self.denied(record, "rules", Reason::Custom, provenance)),
        }
    }

    #[cold]
    fn denied(
        &self,
        record: &SessionRecord,
        rule: &'static str,
        reason: Reason,
        provenance: Provenance,
    ) -> Rejection {
        // A copy denies no request yet.
        if !provenance.is_cached() {
            self.shared().emit(EventKind::Denied { rule }, record);
        }
        Rejection::Denied { rule, reason }
    }

    /// Moves a hash to the current pepper key, in the background and at most once: who loses
    /// against another write, or finds no free slot, leaves it to the session's next use.
    fn rehash(&self, record: &Arc<SessionRecord>, token: &SessionToken) {
        let Ok(slot) = Arc::clone(&self.shared().rehashes).try_acquire_owned() else { return };
        let mut next = SessionRecord::clone(record);
        let Some(secret) = &mut next.secret else { return };
        secret.current = self.shared().hasher.hash(SecretPurpose::Session, record.id, token.secret());
        let (shared, expected) = (Arc::clone(self.shared()), record.revision);
        self.workers().spawn(async move {
            if let Err(error) = shared.backend.operation().update(Arc::new(next), expected).await {
                tracing::debug!(kind = error.kind().as_str(), "session secret was not rehashed");
            }
            drop(slot);
        });
    }
}

/// Judges what does not depend on anything but the record.
#[inline]
fn check(record: &SessionRecord, presented: &PresentedSecret, now: Timestamp) -> Result<(), Rejection> {
    check_deadlines(record, now)?;
    if matches!(presented, PresentedSecret::Wrong) {
        return Err(Rejection::WrongSecret);
    }
    if record.secret.as_ref().and_then(|secret| secret.expires_at).is_some_and(|end| end <= now) {
        return Err(Rejection::TokenExpired);
    }
    Ok(())
}

impl Shared {
    /// Finds a session where it is known first: here, in a shared cache, in the store of record.
    /// Without tiers, in the store.
    pub(crate) async fn find(
        self: &Arc<Self>,
        operation: &mut Operation<'_>,
        id: SessionId,
    ) -> session_core::Result<Option<Found>> {
        let Some(tiers) = &self.tiers else { return self.find_in_store(operation, id).await };
        if let Some(known) = tiers.recall(id) {
            return Ok(known);
        }
        if let Some(copy) = self.copy_in_outage(tiers, id) {
            return Ok(Some(copy));
        }
        let found = operation.ask(("manager", "load"), self.find_further(tiers, id)).await;
        match found {
            Err(error) if error.is_transient() => tiers.last_resort(id).map(Some).ok_or(error),
            found => found,
        }
    }

    /// While loads keep failing, no request waits for the next failure if there is a copy to answer
    /// from.
    fn copy_in_outage(&self, tiers: &TieredStore, id: SessionId) -> Option<Found> {
        if self.backend.state.is_out() { tiers.last_resort(id) } else { None }
    }

    /// On the heap, so that who finds a session here carries nothing of it.
    fn find_further<'a>(
        self: &'a Arc<Self>,
        tiers: &'a TieredStore,
        id: SessionId,
    ) -> BoxFuture<'a, session_core::Result<Option<Found>>> {
        Box::pin(async move {
            let load = || -> BoxFuture<'_, session_core::Result<Option<Arc<SessionRecord>>>> {
                Box::pin(async move { self.loads.load(&mut self.backend.operation(), id).await })
            };
            tiers.find_with(id, &load).await
        })
    }

    /// Finds a session in the store of record.
    pub(crate) async fn find_in_store(
        self: &Arc<Self>,
        operation: &mut Operation<'_>,
        id: SessionId,
    ) -> session_core::Result<Option<Found>> {
        let provenance = Provenance::store(self.clock.now());
        let record = self.loads.load(operation, id).await?;
        Ok(record.map(|record| Found::of(record, provenance)))
    }

    /// Before a session is taken for idle: a use that this process knows of, and has not written
    /// yet, is written now. The store decides whether it still counts.
    pub(crate) async fn count_known_use(
        &self,
        record: Arc<SessionRecord>,
        operation: &mut Operation<'_>,
    ) -> session_core::Result<Arc<SessionRecord>> {
        let now = self.clock.now();
        if record.ended().is_some() || record.is_live(now) {
            return Ok(record);
        }
        let Some(touch) = self.touches.take(record.id) else { return Ok(record) };
        match operation.touch(std::slice::from_ref(&touch), now).await {
            Ok(0) => Ok(record),
            Ok(_) => Ok(operation.load(record.id).await?.unwrap_or(record)),
            Err(error) => {
                self.touches.put_back(vec![touch], &self.metrics.touches_dropped);
                Err(error)
            }
        }
    }

    /// Remembers that a session is in use, if what is stored is old enough.
    #[inline]
    pub(crate) fn note_use(&self, record: &SessionRecord, client: &RequestClient<'_>, now: Timestamp) {
        let interval = self.settings.touch_interval_for(record.idle_timeout);
        let unseen = now.as_millis().saturating_sub(record.last_seen_at.as_millis());
        if u64::try_from(unseen).is_ok_and(|unseen| unseen > 0 && unseen >= interval) {
            self.note_touch(record, client, now, Duration::from_millis(interval));
        }
    }

    #[cold]
    fn note_touch(
        &self,
        record: &SessionRecord,
        client: &RequestClient<'_>,
        now: Timestamp,
        interval: Duration,
    ) {
        if self.touches.was_written(record.id, now, interval) {
            return;
        }
        let country = client.country_code.map(|code| Arc::from(code.as_str()));
        let last_client = self.settings.recording.last_client(LastClient::new(client.ip, country));
        self.touches.push(Touch::new(record.id, now, last_client), &self.metrics.touches_dropped);
        let deadline = record.expiry(now).deadline();
        let is_urgent = deadline.reason == session_core::EndReason::IdleTimeout
            && deadline.at.since(now) < self.settings.touch_flush.saturating_mul(2);
        if is_urgent {
            self.touches.flush_now();
        }
    }
}
