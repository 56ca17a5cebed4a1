//! A sign-in that takes the place of a session: what it carries over, and that nothing saved beside
//! it is lost.
//!
//! The sign-in reads the replaced session from the store of record and marks it in one
//! compare-and-set. From then on no save gets in: it fails as `Ended`. What was saved before is
//! carried over, also by a tab that the sign-in knows nothing of. Then the new session is created,
//! and the replaced one ends.
//!
//! | meets | how |
//! |---|---|
//! | a save of another tab | carried over, or refused as `Ended`; never lost in silence |
//! | a second sign-in from the same session | one marks it; the other fails as `Ended` |
//! | a sign-in that fails afterwards | the mark is taken back; if that fails too, it counts for twice the store's deadline only |
//! | a session of another user | ends, and nothing of it is carried over |
//! | changes of the handle that are not saved | carried over; if it took a key that another request has changed since, the sign-in fails as a conflict |
//! | data that fills its limits | the mark has room of its own |

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_core::{
    Actor, EndReason, EndScope, Ended, Error, ErrorKind, Result, SessionData, SessionRecord, Timestamp,
};

use crate::assurance::check_pending;
use crate::backend::Operation;
use crate::data::remove_reserved;
use crate::manager::Shared;
use crate::new_session::NewSession;
use crate::session::Session;
use crate::settings::Settings;

/// Marks a session that a sign-in is about to replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Superseding {
    since: Timestamp,
}

const KEY: &str = "session-kit.superseding";

impl Superseding {
    /// Returns how long a mark counts: for as long as the sign-in can be under way, on a node whose
    /// clock is apart by the skew.
    pub(crate) fn lasts(settings: &Settings) -> Duration {
        settings.store_deadline.saturating_mul(2).saturating_add(settings.clock_skew)
    }

    pub(crate) fn of(data: &SessionData) -> Option<Self> {
        data.get(KEY).ok().flatten()
    }

    pub(crate) fn remove(data: &mut SessionData) {
        data.set_value(KEY, None);
    }

    /// Refuses a change of data that a sign-in has just read: it would be lost.
    pub(crate) fn check(
        data: &SessionData,
        now: Timestamp,
        lasts: Duration,
        operation: &'static str,
    ) -> Result<()> {
        if !Self::of(data).is_some_and(|mark| mark.is_fresh(now, lasts)) {
            return Ok(());
        }
        let ended = Ended::new(EndReason::Superseded, now, Actor::System);
        Err(Error::ended("manager", operation, ended).with_detail("a sign-in takes the session's place"))
    }

    fn is_fresh(self, now: Timestamp, lasts: Duration) -> bool {
        now.since(self.since) < lasts && self.since.since(now) < lasts
    }
}

/// A session that was marked, and what the new one takes over from it.
pub(crate) struct Replaced {
    pub(crate) session: Session,
    /// As it is stored now, with the mark. `None` if there was nothing to mark: it had ended, or
    /// was gone.
    marked: Option<Arc<SessionRecord>>,
    /// Its data, with the changes of the handle.
    pub(crate) data: SessionData,
}

impl Shared {
    /// Marks the session that a sign-in replaces, and takes its data.
    pub(crate) async fn take_over(
        self: &Arc<Self>,
        new: &NewSession,
        operation: &mut Operation<'_>,
    ) -> Result<Option<Replaced>> {
        let Some(session) = new.replaces.clone() else { return Ok(None) };
        let mut replaced = Replaced { session, marked: None, data: SessionData::default() };
        let stored = operation.load(replaced.session.id()).await?;
        let now = self.clock.now();
        if new.completes {
            check_pending(stored.as_deref(), now)?;
        }
        let Some(stored) = stored.filter(|stored| stored.ended().is_none()) else {
            return Ok(Some(replaced));
        };
        let is_other_user = stored.user_id.is_some() && stored.user_id != new.user_id;
        let (codec, lasts) = (self.settings.codec(), Superseding::lasts(&self.settings));
        let handle = replaced.session.clone();
        let marked = self.modify(operation, stored, move |current| {
            let mut data = codec.decode(&current.data)?;
            Superseding::check(&data, now, lasts, "create")?;
            if !is_other_user {
                handle.check_taken(&data, current)?;
            }
            data.insert(KEY, &Superseding { since: now })?;
            let mut next = current.clone();
            next.data = codec.encode_with_room(&data)?;
            Ok(Some(next))
        });
        let marked = match marked.await {
            Ok(marked) => marked,
            // It ended in between.
            Err(error) if !new.completes && has_ended(&error) => return Ok(Some(replaced)),
            Err(error) => return Err(error),
        };
        if !is_other_user {
            replaced.data = replaced.session.onto(codec.decode(&marked.data)?);
            remove_reserved(&mut replaced.data);
        }
        replaced.marked = Some(marked);
        Ok(Some(replaced))
    }

    /// Takes the mark back after a sign-in failed, in the background.
    pub(crate) fn release(self: &Arc<Self>, replaced: Replaced) {
        let Some(marked) = replaced.marked else { return };
        let (shared, codec) = (Arc::clone(self), self.settings.codec());
        self.tasks.spawn(async move {
            let unmark = move |current: &SessionRecord| {
                let mut data = codec.decode(&current.data)?;
                Superseding::remove(&mut data);
                let mut next = current.clone();
                next.data = codec.encode_with_room(&data)?;
                Ok(Some(next))
            };
            if let Err(error) = shared.modify(&mut shared.backend.operation(), marked, unmark).await {
                tracing::debug!(
                    kind = error.kind().as_str(),
                    "a session is still marked as replaced for a moment"
                );
            }
        });
    }

    /// Ends the session that the new one replaced. A failure does not fail the sign-in: the old
    /// session is anonymous or the user's own, no other party gains by it, and the end is tried
    /// again.
    pub(crate) async fn supersede(
        self: &Arc<Self>,
        replaced: Option<Replaced>,
        operation: &mut Operation<'_>,
    ) {
        let Some(replaced) = replaced else { return };
        let ended = Ended::new(EndReason::Superseded, self.clock.now(), Actor::System);
        let scope = EndScope::id(replaced.session.id());
        if let Err(error) = self.end_sessions(operation, scope, ended).await {
            tracing::warn!(kind = error.kind().as_str(), "a replaced session could not be ended yet");
        }
    }
}

/// Whether the store answered that the session has ended, as against [`Superseding::check`].
fn has_ended(error: &Error) -> bool {
    error.kind() == ErrorKind::Ended && error.backend() != "manager"
}
