//! Mistakes in `expire`, `purge` and `erase`.

use session_core::limits::MAX_BATCH;
use session_core::prelude::*;
use session_core::{Actor, EndReason};

use super::store::{Records, let_others_run};
use super::{BrokenStore, Bug};

impl BrokenStore {
    pub(super) async fn expire_wrongly(&self, now: Timestamp, limit: usize) -> Result<Records> {
        if self.bug != Bug::ExpireTakesAnyLimit {
            check_batch("expire", limit)?;
        }
        let due = |row: &SessionRecord| row.ended().is_none() && !row.is_live(now);
        let by_deadline = |row: &SessionRecord| {
            let deadline = row.expiry(now).deadline();
            Ended::new(deadline.reason, deadline.at, Actor::System)
        };
        let by_now = |row: &SessionRecord| Ended::new(by_deadline(row).reason, now, Actor::System);
        let absolute =
            |row: &SessionRecord| Ended::new(EndReason::AbsoluteTimeout, by_deadline(row).at, Actor::System);
        match self.bug {
            Bug::UnboundedExpire => self.map.expire(now, MAX_BATCH).await,
            Bug::ExpireEndsNow => Ok(self.claim(due, limit, by_now)),
            Bug::ExpireAlwaysAbsolute => Ok(self.claim(due, limit, absolute)),
            Bug::ExpireAfterDeadline => {
                Ok(self.claim(|row| due(row) && row.expiry(now).deadline().at < now, limit, by_deadline))
            }
            Bug::ExpireIgnoresIdle => {
                Ok(self.claim(|row| row.ended().is_none() && row.expires_at <= now, limit, by_deadline))
            }
            Bug::ExpireLooksAtOldestOnly => {
                let oldest: Vec<_> = self.rows_where(|row| row.ended().is_none());
                let oldest: Vec<_> = oldest.iter().rev().take(limit).map(|row| row.id).collect();
                Ok(self.claim(|row| due(row) && oldest.contains(&row.id), limit, by_deadline))
            }
            Bug::ExpireByFirstDeadline => {
                let first = |row: &SessionRecord| self.old_row(row.id).is_some_and(|created| due(&created));
                Ok(self.claim(|row| row.ended().is_none() && first(row), limit, by_deadline))
            }
            Bug::RacyExpire => {
                let mut found = self.rows_where(due);
                found.truncate(limit);
                let_others_run().await;
                Ok(found.iter().map(|row| self.end_row(row, &by_deadline(row))).collect())
            }
            Bug::ExpireTakesAnyLimit => Ok(self.claim(due, limit, by_deadline)),
            Bug::ExpireSaysNothing => self.map.expire(now, limit).await.map(|_| Vec::new()),
            _ => self.map.expire(now, limit).await,
        }
    }

    /// Ends the rows that satisfy a condition, in one step.
    fn claim(
        &self,
        condition: impl Fn(&SessionRecord) -> bool,
        limit: usize,
        ended: impl Fn(&SessionRecord) -> Ended,
    ) -> Records {
        let mut rows = self.map.rows.lock();
        let claimed = rows.values_mut().filter(|row| condition(row)).take(limit);
        claimed.map(|row| crate::reference::end_row(row, ended(row))).collect()
    }

    pub(super) async fn erase_wrongly(&self, user: &UserId, limit: usize) -> Result<u64> {
        let theirs = |row: &SessionRecord| row.user_id.as_ref() == Some(user);
        match self.bug {
            Bug::EraseDeletes => {
                let ended = self.rows_where(|row| theirs(row) && row.ended().is_some());
                self.remove(ended.iter().map(|row| row.id));
                Ok(ended.len() as u64)
            }
            Bug::EraseOfActive => {
                let ended = Ended::new(EndReason::UserInactive, Timestamp::EPOCH, Actor::System);
                self.map.end(&EndScope::User(user.clone()), &ended, Timestamp::MAX).await?;
                self.map.erase(user, limit).await
            }
            Bug::EraseKeepsTheName => {
                let mut rows = self.map.rows.lock();
                let ended = rows.values_mut().filter(|row| theirs(row) && row.ended().is_some()).take(limit);
                let keep = |row: &mut Arc<SessionRecord>| {
                    let username = row.username.clone();
                    let mut erased = SessionRecord::clone(row).into_erased();
                    erased.username = username;
                    *row = Arc::new(erased);
                };
                Ok(ended.map(keep).count() as u64)
            }
            Bug::EraseTakesAnyLimit => self.map.erase(user, limit.min(MAX_BATCH)).await,
            _ => self.map.erase(user, limit).await,
        }
    }

    pub(super) async fn purge_wrongly(&self, before: Timestamp, limit: usize) -> Result<u64> {
        if self.bug != Bug::PurgeTakesAnyLimit {
            check_batch("purge", limit)?;
        }
        let ended_at = |row: &SessionRecord| row.ended().map(|ended| ended.at);
        match self.bug {
            Bug::UnboundedPurge => self.map.purge(before, MAX_BATCH).await,
            Bug::PurgeTakesAnyLimit => self.map.purge(before, limit.min(MAX_BATCH)).await,
            Bug::PurgeInclusive => {
                Ok(self.purge_where(|row| ended_at(row).is_some_and(|at| at <= before), limit))
            }
            Bug::PurgeOfActive => {
                Ok(self.purge_where(|row| ended_at(row).unwrap_or(row.expires_at) < before, limit))
            }
            Bug::PurgeByLastSeen => {
                Ok(self.purge_where(|row| row.ended().is_some() && row.last_seen_at < before, limit))
            }
            Bug::PurgeSaysNothing => self.map.purge(before, limit).await.map(|_| 0),
            _ => self.map.purge(before, limit).await,
        }
    }

    fn purge_where(&self, condition: impl Fn(&SessionRecord) -> bool, limit: usize) -> u64 {
        let mut found = self.rows_where(condition);
        found.truncate(limit);
        self.remove(found.iter().map(|row| row.id));
        found.len() as u64
    }
}
