//! Mistakes in `update`.

use std::sync::Arc;

use session_core::prelude::*;
use session_core::{Revision, SecretState};

use super::store::{NAME, let_others_run};
use super::{BrokenStore, Bug};

impl BrokenStore {
    pub(super) async fn update_wrongly(
        &self,
        record: Arc<SessionRecord>,
        expected: Revision,
    ) -> Result<Revision> {
        if !matches!(self.bug, Bug::UpdateEnds | Bug::UncheckedUpdate) {
            self.capabilities().check_active(&record)?;
        }
        let Some(stored) = self.row(record.id) else {
            return self.update_unknown(record, expected).await;
        };
        match self.bug {
            Bug::ResurrectingUpdate if stored.ended().is_some() => Ok(self.replace(&stored, &record)),
            Bug::UpdateIgnoresRevision if stored.ended().is_none() => Ok(self.replace(&stored, &record)),
            Bug::UpdateRefusesOlderOnly if stored.ended().is_none() && expected > stored.revision => {
                Ok(self.replace(&stored, &record))
            }
            Bug::UpdateEnds | Bug::UncheckedUpdate
                if stored.ended().is_none() && stored.revision == expected =>
            {
                Ok(self.replace(&stored, &record))
            }
            Bug::RacyUpdate if stored.ended().is_none() && stored.revision == expected => {
                let_others_run().await;
                Ok(self.replace(&stored, &record))
            }
            Bug::TornUpdate if stored.ended().is_none() && stored.revision == expected => {
                self.alter(record.id, |row| row.data = Arc::clone(&record.data));
                let_others_run().await;
                self.map.update(record, expected).await
            }
            Bug::CancelLeavesLock => {
                self.locks.lock().await;
                let updated = self.map.update(record, expected).await;
                self.locks.unlock();
                updated
            }
            Bug::ConflictBeforeEnded if stored.revision != expected => {
                Err(Error::conflict(NAME, "update", stored.revision))
            }
            Bug::UpdateMerges => {
                let mut merged = SessionRecord::clone(&record);
                merged.label = merged.label.or_else(|| stored.label.clone());
                self.map.update(merged.into(), expected).await
            }
            Bug::UpdateKeepsSuccessor => {
                let mut stale = SessionRecord::clone(&record);
                let known = stored.secret.as_ref().and_then(SecretState::successor);
                let previous = stale.secret.iter_mut().find_map(|secret| secret.previous.as_mut());
                if let (Some(previous), Some(known)) = (previous, known) {
                    previous.successor = known;
                }
                self.map.update(stale.into(), expected).await
            }
            _ => self.update_with_late_bugs(record, expected).await,
        }
    }

    /// Makes the mistakes that follow a correct update.
    async fn update_with_late_bugs(
        &self,
        record: Arc<SessionRecord>,
        expected: Revision,
    ) -> Result<Revision> {
        let updated = self.map.update(Arc::clone(&record), expected).await;
        match (self.bug, updated) {
            (Bug::UpdateMovesSeenBack, Ok(_)) => self.alter(record.id, |row| {
                row.last_seen_at = record.last_seen_at;
                row.last_client = record.last_client.clone();
            }),
            (Bug::UpdateChangesUser, Ok(_)) => {
                self.alter(record.id, |row| row.user_id.clone_from(&record.user_id));
            }
            (Bug::UpdateReachesSiblings, Ok(_)) => {
                for sibling in self.rows_where(|row| row.user_id == record.user_id && row.ended().is_none()) {
                    self.alter(sibling.id, |row| row.label.clone_from(&record.label));
                }
            }
            (Bug::UpdateKeepsRevision, Ok(_)) => self.alter(record.id, |row| row.revision = expected),
            (Bug::UpdateTrustsRecordRevision, Ok(_)) => {
                self.alter(record.id, |row| row.revision = record.revision.next());
            }
            (Bug::ConflictWithoutRevision, Err(error)) if error.kind() == ErrorKind::Conflict => {
                return Err(Error::new(ErrorKind::Conflict, NAME, "update"));
            }
            (Bug::EndedWithoutEnd, Err(error)) if error.kind() == ErrorKind::Ended => {
                return Err(Error::new(ErrorKind::Ended, NAME, "update"));
            }
            (_, updated) => return updated,
        }
        Ok(expected.next())
    }

    async fn update_unknown(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        match self.bug {
            Bug::UpsertingUpdate => self.put(record),
            Bug::UpdateOfNothingSucceeds => {}
            _ => return self.map.update(record, expected).await,
        }
        Ok(expected.next())
    }

    /// Writes without checking the stored row.
    fn replace(&self, stored: &SessionRecord, new: &SessionRecord) -> Revision {
        let row = stored.updated_by(new);
        let revision = row.revision;
        self.put(row);
        revision
    }
}
