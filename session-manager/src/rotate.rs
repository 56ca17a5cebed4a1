//! Replacing a session's secret: on a timer with a grace period, and at once when privileges change.
//!
//! | presented | when | answer | write |
//! |---|---|---|---|
//! | current secret | | live; rotated if due | only if rotated |
//! | previous secret | within grace of its rotation | live, with the same successor again | none |
//! | previous secret | later | wrong | none |
//! | anything else | | wrong; nothing is ended | none |
//!
//! The successor is computed from the old secret and a stored salt. So every request that still carries the old secret, on every node,
//! hands out the same one: parallel tabs converge, and a lost response is survivable.

use std::sync::Arc;

use session_core::{
    AuthEvent, AuthMethod, Error, EventKind, PreviousSecret, Result, RotationSalt, SecretMatch,
    SecretPurpose, SecretState, SessionRecord, SessionToken, Timestamp,
};

use crate::backend::Operation;
use crate::manager::{SessionManager, Shared};
use crate::session::Session;

/// What a presented session secret is.
pub(crate) enum Presented {
    /// The secret that counts.
    Current,
    /// The secret that counts, hashed with an older key.
    Outdated,
    /// The one before, within its grace period; this is its successor.
    Replaced(SessionToken),
    /// Nothing that counts.
    Wrong,
}

impl Shared {
    /// Recognises a presented secret. Fails if a pepper key is missing on this node.
    #[inline]
    pub(crate) fn recognise(
        &self,
        record: &SessionRecord,
        token: &SessionToken,
        now: Timestamp,
    ) -> Result<Presented> {
        let Some(stored) = &record.secret else { return Ok(Presented::Wrong) };
        let verify = |hash| self.hasher.verify(SecretPurpose::Session, token.id(), token.secret(), hash);
        match verify(&stored.current) {
            SecretMatch::Match => return Ok(Presented::Current),
            SecretMatch::MatchOutdated => return Ok(Presented::Outdated),
            SecretMatch::Mismatch => {}
            _ => return Err(missing_key()),
        }
        match stored.previous.as_ref().filter(|previous| self.in_grace(previous, now)) {
            Some(previous) if is_match(verify(&previous.hash)) => Ok(Presented::Replaced(
                SessionToken::from_parts(token.id(), previous.salt.successor(token.secret())),
            )),
            _ => Ok(Presented::Wrong),
        }
    }

    /// The window is anchored at the rotation and includes its last millisecond. Nothing moves it.
    pub(crate) fn in_grace(&self, previous: &PreviousSecret, now: Timestamp) -> bool {
        now <= previous.rotated_at.saturating_add(self.settings.grace)
    }

    /// Whether the timer wants a new secret. The short-lived half of a pair is renewed by refreshing instead.
    #[inline]
    pub(crate) fn rotation_is_due(&self, record: &SessionRecord, now: Timestamp) -> bool {
        let Some(interval) = self.settings.rotate_after.filter(|_| record.refresh.is_none()) else {
            return false;
        };
        let previous = record.secret.as_ref().and_then(|secret| secret.previous.as_ref());
        let rotated_at = previous.map_or(record.created_at, |previous| previous.rotated_at);
        now.since(rotated_at.max(record.authenticated_at)) >= interval
    }
}

pub(crate) fn is_match(found: SecretMatch) -> bool {
    matches!(found, SecretMatch::Match | SecretMatch::MatchOutdated)
}

pub(crate) fn missing_key() -> Error {
    Error::unavailable("manager", "validate")
        .with_detail("this node does not have the pepper key that the session was hashed with")
}

impl SessionManager {
    /// Rotates on the timer. Whoever comes first writes; the others find that their secret was replaced, and its successor.
    pub(crate) async fn rotate_due(
        &self,
        record: Arc<SessionRecord>,
        token: &SessionToken,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> Result<(Arc<SessionRecord>, Option<SessionToken>)> {
        let shared = self.shared();
        let salt = RotationSalt::mint(&*shared.random)?;
        let successor = salt.successor(token.secret());
        let hash = shared.hasher.hash(SecretPurpose::Session, record.id, &successor);
        let before = record.revision;
        let rotated = operation.modify(record, |current| {
            let Presented::Current = shared.recognise(current, token, now)? else { return Ok(None) };
            let mut next = current.clone();
            next.secret = next.secret.map(|secret| secret.replaced(hash.clone(), salt.clone(), now));
            Ok(Some(next))
        });
        let rotated = rotated.await?;
        let Presented::Replaced(successor) = shared.recognise(&rotated, token, now)? else {
            return Ok((rotated, None));
        };
        if rotated.revision > before {
            shared.emit(EventKind::Rotated, &rotated);
        }
        Ok((rotated, Some(successor)))
    }

    /// Gives a session a new secret at once, without a grace period: the old one opens nothing any more.
    ///
    /// For changes of privilege. The new token waits in the handle: [`Session::take_token`].
    ///
    /// # Errors
    /// [`Ended`](session_core::ErrorKind::Ended) if the session was ended; [`Invalid`](session_core::ErrorKind::Invalid) for a
    /// session without a secret of ours; else as the store and the generator answer.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn rotate(&self, session: &Session) -> Result<()> {
        let (shared, session) = (Arc::clone(self.shared()), session.clone());
        self.finish(async move { shared.renew(&session, &mut shared.backend.operation(), |_| ()).await })
            .await
    }

    /// Records that the user authenticated again or with a further factor, and rotates the secret at once.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn record_authentication(&self, session: &Session, method: AuthMethod) -> Result<()> {
        let event = AuthEvent::new(method, self.now());
        let (shared, session) = (Arc::clone(self.shared()), session.clone());
        self.finish(async move {
            let record_it = |record: &mut SessionRecord| record.push_auth(event.clone());
            shared.renew(&session, &mut shared.backend.operation(), record_it).await
        })
        .await
    }
}

impl Shared {
    /// Changes the record and replaces the secret in one write. The new token waits in the handle.
    pub(crate) async fn renew(
        &self,
        session: &Session,
        operation: &mut Operation<'_>,
        change: impl Fn(&mut SessionRecord),
    ) -> Result<()> {
        let record = session.record();
        let token = SessionToken::mint(record.id, self.settings.secret_format, &*self.random)?;
        let hash = self.hasher.hash(SecretPurpose::Session, record.id, token.secret());
        let renewed = operation.modify(record, |current| {
            let mut next = current.clone();
            let Some(old) = &current.secret else {
                return Err(Error::invalid("rotate", "the session has no secret of ours"));
            };
            let mut secret = SecretState::new(hash.clone());
            secret.expires_at = old.expires_at;
            next.secret = Some(secret);
            change(&mut next);
            Ok(Some(next))
        });
        let renewed = renewed.await?;
        self.emit(EventKind::Rotated, &renewed);
        session.renewed(renewed, token);
        Ok(())
    }
}
