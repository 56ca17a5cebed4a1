//! Mistakes in `end`.

use std::sync::Arc;

use session_core::limits::MAX_BATCH;
use session_core::prelude::*;
use session_core::{Actor, DeviceId, EndReason};

use super::store::{Records, let_others_run};
use super::{BrokenStore, Bug};
use crate::reference::end_row;

impl BrokenStore {
    pub(super) async fn end_wrongly(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Records> {
        match scope {
            EndScope::Ids(ids) if self.bug != Bug::EndTakesAnyBatch => check_batch("end", ids.len())?,
            _ => {}
        }
        let in_scope = self.rows_where(|row| row.ended().is_none() && self.is_in_scope(scope, row));
        let (active, spared): (Records, Records) =
            in_scope.into_iter().partition(|row| self.is_within(scope, row, created_until));
        let over = self.rows_where(|row| row.ended().is_some() && scope.contains(row));
        match self.bug {
            Bug::RacyEnd => {
                let_others_run().await;
                return Ok(active.iter().map(|row| self.end_row(row, ended)).collect());
            }
            Bug::EndRepeatIgnoresBound if active.is_empty() => return Ok(self.end_active(&spared, ended)),
            Bug::EndWritesWhatItSpares => {
                spared.iter().for_each(|row| self.alter(row.id, |row| row.revision = row.revision.next()));
            }
            Bug::EndChecksBoundFirst if spared.is_empty() => {
                let_others_run().await;
                let all = self.rows_where(|row| row.ended().is_none() && scope.contains(row));
                return Ok(self.end_active(&all, ended));
            }
            Bug::EndOverwrites => over.iter().for_each(|row| drop(self.end_row(row, ended))),
            Bug::EndLeavesTombstones => {
                if let EndScope::Ids(ids) = scope {
                    for id in ids.iter().filter(|id| self.row(**id).is_none()) {
                        let unknown = SessionRecord::new(*id, Timestamp::EPOCH, Timestamp::MAX);
                        self.put(unknown.into_ended(ended.clone()));
                    }
                }
            }
            Bug::EndReturnsTheRecordBefore => {
                self.end_active(&active, ended);
                return Ok(active);
            }
            Bug::EndSkipsExpired => {
                let live: Vec<_> = active.into_iter().filter(|row| row.is_live(ended.at)).collect();
                return Ok(self.end_active(&live, ended));
            }
            Bug::EndReachesOneBatch => {
                return Ok(self.end_active(&active[..active.len().min(MAX_BATCH)], ended));
            }
            _ => {}
        }
        let mut returned = self.end_active(&active, ended);
        if self.bug == Bug::EndReturnsAll {
            returned.extend(over);
        }
        Ok(returned)
    }

    /// Ends those that are still active in one step, with the mistakes about what an ended session
    /// keeps.
    fn end_active(&self, those: &[Arc<SessionRecord>], ended: &Ended) -> Records {
        let mut rows = self.map.rows.lock();
        let mut returned = Vec::new();
        for old in those {
            let Some(row) = rows.get_mut(&old.id).filter(|row| row.ended().is_none()) else {
                continue;
            };
            let old = Arc::clone(row);
            end_row(row, ended.clone());
            let left = Arc::make_mut(row);
            match self.bug {
                Bug::EndKeepsData => left.data = Arc::clone(&old.data),
                Bug::EndKeepsSecrets => left.secret.clone_from(&old.secret),
                Bug::EndKeepsRevision => left.revision = old.revision,
                Bug::EndForgetsReason => {
                    left.state =
                        SessionState::Ended(Ended::new(EndReason::LoggedOut, ended.at, ended.by.clone()));
                }
                Bug::EndForgetsActor => {
                    left.state = SessionState::Ended(Ended::new(ended.reason, ended.at, Actor::System));
                }
                Bug::EndClearsHistory => left.client = Arc::default(),
                _ => {}
            }
            returned.push(Arc::clone(row));
            if self.bug == Bug::EndDeletes {
                rows.remove(&old.id);
            }
        }
        returned
    }

    /// Returns true if the session is in the scope, or if the mistake treats it so.
    fn is_in_scope(&self, scope: &EndScope, row: &SessionRecord) -> bool {
        match (self.bug, scope) {
            (Bug::EndMissesDevice, EndScope::Device { .. }) => false,
            (Bug::EndOfDeviceOfAnybody, EndScope::Device { device, .. }) => {
                row.device_id.as_ref() == Some(device)
            }
            (Bug::DeviceIdPrefix, EndScope::Device { user, device }) => {
                let alike = |other: DeviceId| other.as_bytes()[..8] == device.as_bytes()[..8];
                row.user_id.as_ref() == Some(user) && row.device_id.is_some_and(alike)
            }
            (Bug::EndSparesNobody, EndScope::UserExcept { user, .. }) => row.user_id.as_ref() == Some(user),
            (Bug::EndOfNoIdsEndsAll, EndScope::Ids(ids)) => ids.is_empty() || ids.contains(&row.id),
            (Bug::CaseInsensitiveUser | Bug::PaddedUser | Bug::UserIdPrefix, EndScope::User(user)) => {
                row.user_id.as_ref().is_some_and(|other| self.same_user(other, user))
            }
            _ => scope.contains(row),
        }
    }

    /// Returns true if the session was created within the bound of an end, or if the mistake treats
    /// it so.
    fn is_within(&self, scope: &EndScope, row: &SessionRecord, created_until: Timestamp) -> bool {
        match (self.bug, scope) {
            (Bug::EndOfDeviceIgnoresBound, EndScope::Device { .. })
            | (Bug::EndOfIdsIgnoresBound, EndScope::Ids(_))
            | (Bug::EndOfUserExceptIgnoresBound, EndScope::UserExcept { .. })
            | (Bug::EndOfUserIgnoresBound, EndScope::User(_)) => true,
            (Bug::EndBoundExcludes, _) => row.created_at < created_until,
            (Bug::EndBoundById, _) => time_of(row.id) <= created_until,
            (Bug::EndBoundByLastSeen, _) => row.last_seen_at <= created_until,
            (Bug::EndBoundOverflows, _) => created_until != Timestamp::MAX && row.created_at <= created_until,
            _ => row.created_at <= created_until,
        }
    }

    /// Compares users as this store's database does.
    pub(super) fn same_user(&self, one: &UserId, other: &UserId) -> bool {
        match self.bug {
            Bug::CaseInsensitiveUser => one.as_str().eq_ignore_ascii_case(other.as_str()),
            Bug::PaddedUser => one.as_str().trim_end_matches(' ') == other.as_str().trim_end_matches(' '),
            Bug::UserIdPrefix => {
                one.as_str().as_bytes().iter().take(191).eq(other.as_str().as_bytes().iter().take(191))
            }
            _ => one == other,
        }
    }

    /// Ends a row as it was read, regardless of later changes.
    pub(super) fn end_row(&self, row: &Arc<SessionRecord>, ended: &Ended) -> Arc<SessionRecord> {
        let ended = Arc::new(SessionRecord::clone(row).into_ended(ended.clone()));
        self.put(Arc::clone(&ended));
        ended
    }
}

/// Returns the time in an id of version 7: its first 48 bits.
fn time_of(id: SessionId) -> Timestamp {
    let millis = id.as_bytes()[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
    Timestamp::from_millis(millis)
}
