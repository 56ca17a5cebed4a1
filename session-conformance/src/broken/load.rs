//! Mistakes in `load`.

use std::sync::Arc;
use std::time::Duration;

use session_core::prelude::*;

use super::store::{NAME, Records};
use super::{BrokenStore, Bug};

impl BrokenStore {
    pub(super) async fn load_wrongly(&self, ids: &[SessionId]) -> Result<Records> {
        let found = self.map.load(ids).await;
        if found.is_err() {
            return if self.bug == Bug::LoadSwallowsErrors { Ok(Records::new()) } else { found };
        }
        match self.bug {
            Bug::LoadHidesEnded => Ok(found?.into_iter().filter(|row| row.ended().is_none()).collect()),
            Bug::LoadRepeats => Ok(ids.iter().filter_map(|id| self.row(*id)).collect()),
            Bug::LoadOfNothingFails if !ids.is_empty() && found.as_ref().is_ok_and(Vec::is_empty) => {
                Err(Error::not_found(NAME, "load"))
            }
            Bug::LoadReturnsOnePage => Ok(found?.into_iter().take(100).collect()),
            Bug::LoadOfNoIdsLoadsAll if ids.is_empty() => Ok(self.rows_where(|_| true)),
            Bug::LoadCreates => {
                for id in ids.iter().filter(|id| self.row(**id).is_none()) {
                    self.put(SessionRecord::new(*id, Timestamp::EPOCH, Timestamp::MAX));
                }
                found
            }
            Bug::LoadSlidesExpiry => {
                for id in ids {
                    self.alter(*id, |row| {
                        row.expires_at = row.expires_at.saturating_add(Duration::from_secs(1));
                    });
                }
                found
            }
            Bug::CaseInsensitiveId => {
                let alike = |row: &SessionRecord, id: &SessionId| {
                    row.id.as_bytes().eq_ignore_ascii_case(id.as_bytes())
                };
                Ok(self.rows_where(|row| ids.iter().any(|id| alike(row, id))))
            }
            Bug::LaggingReplica => Ok(ids.iter().filter_map(|id| self.old_row(*id)).collect()),
            Bug::RepliesSwapped => {
                let mut found = found?;
                if let [first, .., last] = &mut found[..] {
                    let (one, two) = (first.id, last.id);
                    Arc::make_mut(first).id = two;
                    Arc::make_mut(last).id = one;
                }
                Ok(found)
            }
            _ => found,
        }
    }
}
