//! Replacing a session's secret: on a timer, and at once when privileges change.
//!
//! | presented | when | answer | write |
//! |---|---|---|---|
//! | current secret | | live; rotated if due and the last successor is confirmed | the rotation; or the note that it was presented, once |
//! | previous secret | its successor was not presented yet, or within grace after it was | live, with the same successor again | none |
//! | previous secret | later | wrong | none |
//! | secret that was replaced at once | its writer has not confirmed the write, and its time for that is over | live: the replacement is taken back | the old state |
//! | the same | its writer may still confirm it | unavailable: try again | none |
//! | anything else | | wrong; nothing is ended | none |
//!
//! **On the timer** the successor is computed from the old secret and a stored salt. So every
//! request that still carries the old secret, on every node, hands out the same one: parallel tabs
//! converge. The old secret stays good until its successor was presented once, so neither a lost
//! response, nor a sleeping laptop, nor an outage signs anybody out. Meanwhile there is no further
//! rotation: one successor at a time.
//!
//! **At once** the new secret is random, and the old one counts no more when the operation has
//! answered. That takes two writes: one that replaces, one that confirms. If the reply to the first
//! is lost, the caller gets an error and hands nothing out. The record then shows that the
//! replacement is unconfirmed, and the old secret takes it back. What the same write had changed
//! (an authentication, a lifetime) is taken back with it: an operation that failed did not happen.
//!
//! # Security
//! Who copied a secret before a timed rotation, and presents it before its owner presents the
//! successor, gets that successor too: both then hold the same secret, as they did before the
//! rotation. After the owner has presented it and the grace is over, the copy is worth nothing. A
//! replacement at once closes that: no old secret gives the new one.
//!
//! | meets | how |
//! |---|---|
//! | bearer tokens | a client that drops the successor goes on with the secret that it has |
//! | copies | a copy may only confirm; who presents the successor first is noted once per node and rotation |
//! | refresh tokens | a pair is renewed by refreshing, never on the timer; at once both halves are replaced |
//! | a second rotation at once | one wins, the other fails as a conflict |
//! | directory, rules | judged before anything is written |

use std::sync::Arc;
use std::time::Duration;

use session_core::{
    AuthEvent, AuthMethod, Error, EventKind, PreviousSecret, RefreshToken, Result, RotationSalt, SecretMatch,
    SecretPurpose, SessionRecord, SessionToken, Successor, Timestamp,
};

use crate::backend::Operation;
use crate::manager::{SessionManager, Shared};
use crate::session::Session;
use crate::settle::{is_unsettled, remember_undo, restored, settled};

/// What a presented session secret is.
#[derive(Debug)]
pub(crate) enum PresentedSecret {
    /// The secret that counts.
    Current,
    /// The secret that counts, hashed with an older key.
    Outdated,
    /// The one before, which still gives its successor; this is it.
    Replaced(SessionToken),
    /// The one before, whose replacement is unconfirmed.
    Restored,
    /// Nothing that counts.
    Wrong,
}

impl Shared {
    /// Recognises a presented secret. Fails if that is not decided yet, or a pepper key is missing
    /// on this node.
    #[inline]
    pub(crate) fn recognise(
        &self,
        record: &SessionRecord,
        token: &SessionToken,
        now: Timestamp,
    ) -> Result<PresentedSecret> {
        let Some(stored) = &record.secret else { return Ok(PresentedSecret::Wrong) };
        let verify = |hash| self.hasher.verify(SecretPurpose::Session, token.id(), token.secret(), hash);
        match verify(&stored.current) {
            SecretMatch::Match => return Ok(PresentedSecret::Current),
            SecretMatch::MatchOutdated => return Ok(PresentedSecret::Outdated),
            SecretMatch::Mismatch => {}
            _ => return Err(missing_key()),
        }
        let Some(previous) = &stored.previous else { return Ok(PresentedSecret::Wrong) };
        match verify(&previous.hash) {
            SecretMatch::Match | SecretMatch::MatchOutdated => {}
            SecretMatch::Mismatch => return Ok(PresentedSecret::Wrong),
            _ => return Err(missing_key()),
        }
        Ok(match self.fate_of(previous, now)? {
            Fate::GivesSuccessor => {
                let successor = previous.salt.successor(token.secret());
                PresentedSecret::Replaced(SessionToken::from_parts(token.id(), successor))
            }
            Fate::Restores => PresentedSecret::Restored,
            Fate::Spent => PresentedSecret::Wrong,
        })
    }

    /// Judges a previous secret that was presented.
    pub(crate) fn fate_of(&self, previous: &PreviousSecret, now: Timestamp) -> Result<Fate> {
        Ok(match previous.successor {
            Successor::Unpresented => Fate::GivesSuccessor,
            // The last millisecond belongs to the grace.
            Successor::Presented(at) if now <= at.saturating_add(self.settings.grace) => Fate::GivesSuccessor,
            Successor::Presented(_) => Fate::Spent,
            Successor::Unconfirmed if now < previous.rotated_at.saturating_add(self.settles_within()) => {
                return Err(Error::unavailable("manager", "validate")
                    .with_detail("the secret is being replaced at this moment"));
            }
            Successor::Unconfirmed => Fate::Restores,
            // This version cannot judge a state of a later one.
            _ => {
                return Err(
                    Error::unavailable("manager", "validate").with_detail("a rotation of a later version")
                );
            }
        })
    }

    /// Within which time the writer of a replacement has confirmed it, or never will: its deadline,
    /// by a clock that may be ahead.
    fn settles_within(&self) -> Duration {
        self.settings.store_deadline.saturating_add(self.settings.clock_skew)
    }

    /// Whether the timer wants a new secret. The short-lived half of a pair is renewed by
    /// refreshing instead.
    #[inline]
    pub(crate) fn rotation_is_due(&self, record: &SessionRecord, now: Timestamp) -> bool {
        let Some(interval) = self.settings.rotate_after.filter(|_| record.refresh.is_none()) else {
            return false;
        };
        if is_unsettled(record) {
            return false;
        }
        let previous = record.secret.as_ref().and_then(|secret| secret.previous.as_ref());
        let rotated_at = previous.map_or(record.created_at, |previous| previous.rotated_at);
        now.since(rotated_at.max(record.authenticated_at)) >= interval
    }
}

/// What a previous secret is still good for.
pub(crate) enum Fate {
    GivesSuccessor,
    Restores,
    Spent,
}

pub(crate) fn is_match(found: SecretMatch) -> bool {
    matches!(found, SecretMatch::Match | SecretMatch::MatchOutdated)
}

pub(crate) fn missing_key() -> Error {
    Error::unavailable("manager", "validate")
        .with_detail("this node does not have the pepper key that the session was hashed with")
}

impl SessionManager {
    /// Rotates on the timer. The first request writes; the others find that their secret was
    /// replaced, and its successor.
    pub(crate) async fn rotate_due(
        &self,
        record: Arc<SessionRecord>,
        token: &SessionToken,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> Result<(Arc<SessionRecord>, Option<SessionToken>)> {
        let shared = self.shared();
        let Some(presented) = record.secret.as_ref().map(|secret| secret.current.clone()) else {
            return Ok((record, None));
        };
        let salt = RotationSalt::mint(&*shared.random)?;
        let successor = salt.successor(token.secret());
        let hash = shared.hasher.hash(SecretPurpose::Session, record.id, &successor);
        let before = record.revision;
        let rotated = shared.modify(operation, record, move |current| {
            let is_current = |secret: &&session_core::SecretState| secret.current == presented;
            let Some(secret) = current.secret.as_ref().filter(is_current) else { return Ok(None) };
            let mut next = current.clone();
            next.secret = Some(secret.replaced(hash.clone(), salt.clone(), now));
            Ok(Some(next))
        });
        let rotated = rotated.await?;
        let PresentedSecret::Replaced(successor) = shared.recognise(&rotated, token, now)? else {
            return Ok((rotated, None));
        };
        if rotated.revision > before {
            shared.emit(EventKind::Rotated, &rotated);
        }
        Ok((rotated, Some(successor)))
    }

    /// Gives a session a new secret at once: the old one opens nothing any more. A session with a
    /// refresh token gets a new one of these, too.
    ///
    /// For changes of privilege. The new tokens wait in the handle: [`Session::take_token`],
    /// [`Session::take_refresh_token`].
    ///
    /// # Errors
    /// [`Ended`](session_core::ErrorKind::Ended) if the session was ended;
    /// [`Conflict`](session_core::ErrorKind::Conflict) if another request replaced the secret
    /// meanwhile; [`Invalid`](session_core::ErrorKind::Invalid) for a session without a secret of
    /// ours; else as the store and the generator answer. After a failure the client's tokens still
    /// count: if they had been replaced after all, the next request that presents them takes that
    /// back.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn rotate(&self, session: &Session) -> Result<()> {
        if session.record().secret.is_none() {
            return Err(Error::invalid("rotate", "the session has no secret that the library issued"));
        }
        self.renew_with(session, |_, _| Ok(())).await
    }

    /// Records that the user authenticated again or with a further factor, and replaces the secret
    /// at once, see [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn record_authentication(&self, session: &Session, method: AuthMethod) -> Result<()> {
        // At the time of the replacement: `restored` finds the event by it.
        self.renew_with(session, move |record, now| {
            record.push_auth(AuthEvent::new(method.clone(), now));
            Ok(())
        })
        .await
    }

    /// Changes the record and replaces the secrets, see [`Shared::renew`]. Runs to its end even if
    /// the future is dropped.
    pub(crate) async fn renew_with(
        &self,
        session: &Session,
        change: impl Fn(&mut SessionRecord, Timestamp) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (shared, session) = (Arc::clone(self.shared()), session.clone());
        self.finish(async move { shared.renew(&session, &mut shared.backend.operation(), change).await })
            .await
    }
}

impl Shared {
    /// Changes the record and replaces the secrets. The new tokens wait in the handle.
    pub(crate) async fn renew(
        self: &Arc<Self>,
        session: &Session,
        operation: &mut Operation<'_>,
        change: impl Fn(&mut SessionRecord, Timestamp) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let record = session.record();
        let Some(old) = record.secret.as_ref().map(|secret| secret.current.clone()) else {
            return self.change_only(session, operation, change).await;
        };
        let token = SessionToken::mint(record.id, self.settings.secret_format, &*self.random)?;
        let hash = self.hasher.hash(SecretPurpose::Session, record.id, token.secret());
        let refresh = record.refresh.is_some();
        let refresh =
            refresh.then(|| RefreshToken::mint(record.id, self.settings.secret_format, &*self.random));
        let refresh = refresh.transpose()?;
        let refresh_hash = refresh
            .as_ref()
            .map(|refresh| self.hasher.hash(SecretPurpose::Refresh, record.id, refresh.secret()));
        let (now, access) = (self.clock.now(), self.settings.refresh.access);
        let codec = self.settings.codec();
        let is_replaced = hash.clone();
        let replaced = self.modify(operation, record, move |current| {
            let secret = current.secret.as_ref().filter(|secret| secret.current == old);
            let secret = secret.ok_or_else(|| {
                let error = Error::conflict("manager", "rotate", current.revision);
                error.with_detail("another request replaced the secret")
            })?;
            let mut next = current.clone();
            let mut secret = secret.replaced_unconfirmed(hash.clone(), now);
            if let (Some(state), Some(hash)) = (&current.refresh, &refresh_hash) {
                next.refresh = Some(state.replaced_unconfirmed(hash.clone(), now));
                secret.expires_at = Some(now.saturating_add(access));
            }
            next.secret = Some(secret);
            change(&mut next, now)?;
            remember_undo(&mut next, current, codec)?;
            next.check()?;
            Ok(Some(next))
        });
        let replaced = replaced.await?;
        // From here on the new secret counts, whatever becomes of the confirmation: it is handed
        // out.
        let confirmed = self.confirm(operation, replaced, is_replaced, now).await;
        self.emit(EventKind::Rotated, &confirmed);
        session.renewed(confirmed, token, refresh);
        Ok(())
    }

    /// Changes a session whose token is not ours: there is no secret to replace.
    async fn change_only(
        self: &Arc<Self>,
        session: &Session,
        operation: &mut Operation<'_>,
        change: impl Fn(&mut SessionRecord, Timestamp) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let now = self.clock.now();
        let changed = self.modify(operation, session.record(), move |current| {
            let mut next = current.clone();
            change(&mut next, now)?;
            next.check()?;
            Ok(Some(next))
        });
        session.changed(changed.await?);
        Ok(())
    }

    /// Confirms the replacement. If that cannot be written, it is tried again in the background. A
    /// request that presents the new secret confirms it, too.
    async fn confirm(
        self: &Arc<Self>,
        operation: &mut Operation<'_>,
        replaced: Arc<SessionRecord>,
        hash: session_core::SecretHash,
        now: Timestamp,
    ) -> Arc<SessionRecord> {
        let codec = self.settings.codec();
        let settle = move |current: &SessionRecord| {
            let is_ours = current.secret.as_ref().is_some_and(|secret| secret.current == hash);
            Ok((is_ours && is_unsettled(current)).then(|| settled(current, now, codec)))
        };
        match self.modify(operation, Arc::clone(&replaced), settle.clone()).await {
            Ok(confirmed) => confirmed,
            Err(error) => {
                tracing::debug!(kind = error.kind().as_str(), "a new session secret is not confirmed yet");
                let (shared, record) = (Arc::clone(self), Arc::clone(&replaced));
                self.tasks.spawn(async move {
                    let _ = shared.modify(&mut shared.backend.operation(), record, settle).await;
                });
                replaced
            }
        }
    }

    /// Notes that the current secret was presented, off the request's path, once per node and
    /// rotation.
    pub(crate) fn note_presented(self: &Arc<Self>, record: &Arc<SessionRecord>, now: Timestamp) {
        if !self.presented.begin(record.id) {
            return;
        }
        let (shared, record, codec) = (Arc::clone(self), Arc::clone(record), self.settings.codec());
        self.tasks.spawn(async move {
            let hash = record.secret.as_ref().map(|secret| secret.current.clone());
            let note = move |current: &SessionRecord| {
                let is_same = current.secret.as_ref().map(|secret| &secret.current) == hash.as_ref();
                Ok((is_same && is_unsettled(current)).then(|| settled(current, now, codec)))
            };
            let id = record.id;
            if let Err(error) = shared.modify(&mut shared.backend.operation(), record, note).await {
                tracing::debug!(
                    kind = error.kind().as_str(),
                    "that a new secret was presented is not noted yet"
                );
            }
            shared.presented.end(id);
        });
    }

    /// Takes an unconfirmed replacement back, because its old secret was presented.
    pub(crate) async fn take_back(
        self: &Arc<Self>,
        operation: &mut Operation<'_>,
        record: Arc<SessionRecord>,
    ) -> Result<Arc<SessionRecord>> {
        let hash = record.secret.as_ref().map(|secret| secret.current.clone());
        let codec = self.settings.codec();
        self.modify(operation, record, move |current| {
            let is_same = current.secret.as_ref().map(|secret| &secret.current) == hash.as_ref();
            let is_unconfirmed = is_same
                && current.secret.as_ref().and_then(session_core::SecretState::successor)
                    == Some(Successor::Unconfirmed);
            Ok(is_unconfirmed.then(|| restored(current, codec)))
        })
        .await
    }
}
