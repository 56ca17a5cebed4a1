//! Writes of the store of record, and what the copies then have to receive.

use std::sync::Arc;

use session_core::{EndScope, Ended, Result, Revision, SessionId, SessionLimit, SessionRecord, Timestamp};
use session_memory::L1;

use super::spread::{Changes, Notifying};
use super::store::TieredStore;

/// Forgets this process's copies of what a write concerned, unless the store of record answered it:
/// it is unknown what it holds then.
pub(super) struct Unanswered<'a> {
    l1: &'a L1,
    concerns: Concerns,
}

pub(super) enum Concerns {
    /// Unknown sessions, so all of them.
    Any,
    Ids(Vec<SessionId>),
    Nothing,
}

impl<'a> Unanswered<'a> {
    pub(super) fn new(l1: &'a L1, concerns: Concerns) -> Self {
        Self { l1, concerns }
    }

    /// An answer shows what happened; a failure of the store does not.
    pub(super) fn settle<T>(mut self, answer: Result<T>) -> Result<T> {
        match (&answer, &self.concerns) {
            (Ok(_), _) => self.concerns = Concerns::Nothing,
            (Err(error), Concerns::Any) if !error.is_transient() => self.concerns = Concerns::Nothing,
            (Err(_), _) => {}
        }
        answer
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        match &self.concerns {
            Concerns::Any => self.l1.resync(),
            Concerns::Ids(ids) => ids.iter().for_each(|id| self.l1.distrust(*id)),
            Concerns::Nothing => {}
        }
    }
}

/// Writes, with what the copies then have to receive: the answer of the store does not wait for
/// them.
impl TieredStore {
    pub(crate) async fn create_and_notify(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<(Vec<Arc<SessionRecord>>, Notifying)> {
        let (began, ticket) = (self.moment(), self.l1.ticket(record.id));
        let own = Unanswered::new(&self.l1, Concerns::Ids(vec![record.id]));
        let others = Unanswered::new(&self.l1, limit.map_or(Concerns::Nothing, |_| Concerns::Any));
        let created = self.store.create(Arc::clone(&record), limit).await;
        let evicted = own.settle(others.settle(created))?;
        let mut changes = Changes::default();
        self.note_write(&ticket, &record, began, &mut changes);
        evicted.iter().for_each(|record| self.ends().note(record, began.wall, &mut changes));
        Ok((evicted, self.spread.notify(changes)))
    }

    pub(crate) async fn update_and_notify(
        &self,
        record: Arc<SessionRecord>,
        expected: Revision,
    ) -> Result<(Revision, Notifying)> {
        let (began, ticket) = (self.moment(), self.l1.ticket(record.id));
        let unanswered = Unanswered::new(&self.l1, Concerns::Ids(vec![record.id]));
        let updated = unanswered.settle(self.store.update(Arc::clone(&record), expected).await);
        let revision = updated.inspect_err(|error| self.note_refusal(record.id, error))?;
        let written = Arc::new(Arc::unwrap_or_clone(record).with_revision(revision));
        let mut changes = Changes::default();
        self.note_write(&ticket, &written, began, &mut changes);
        Ok((revision, self.spread.notify(changes)))
    }

    pub(crate) async fn end_and_notify(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<(Vec<Arc<SessionRecord>>, Notifying)> {
        let concerns = match scope {
            EndScope::Ids(ids) => Concerns::Ids(ids.clone()),
            _ => Concerns::Any,
        };
        let unanswered = Unanswered::new(&self.l1, concerns);
        let records = unanswered.settle(self.store.end(scope, ended, created_until).await)?;
        let notifying = self.ends().notify(&records);
        Ok((records.clone(), self.ends().look_back(scope.clone(), records).after(notifying)))
    }

    pub(crate) async fn expire_and_notify(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<Arc<SessionRecord>>, Notifying)> {
        let unanswered = Unanswered::new(&self.l1, Concerns::Any);
        let records = unanswered.settle(self.store.expire(now, limit).await)?;
        let notifying = self.ends().notify(&records);
        Ok((records, notifying))
    }
}
