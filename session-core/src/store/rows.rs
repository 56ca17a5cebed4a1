//! The steps of a store on whole records.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Cursor, EndScope, ListQuery, Page, SessionLimit, StoreStats, Touch};
use crate::end::{Actor, EndReason, Ended};
use crate::error::{Error, Result};
use crate::id::{SessionId, UserId};
use crate::record::{Revision, SessionRecord};
use crate::time::Timestamp;

/// The rows of a store within one transaction, and every method of
/// [`SessionStore`](crate::SessionStore) as a step on them.
///
/// For embedded databases that keep a session as one value. Implement the five methods on rows; the
/// provided methods follow the contract, as long as each one runs alone, in a transaction that
/// commits as a whole. `examples/custom-backend` is a complete store. `list`, `expire`, `purge` and
/// `stats` read all rows; a large store replaces them by queries on indexes of its own.
///
/// The arguments are not checked here, because that belongs before the transaction: see
/// [`Capabilities::check_new`](crate::Capabilities::check_new), [`check_batch`](crate::check_batch),
/// [`check_touches`](crate::check_touches), [`EndScope::check`] and [`ListQuery::check`].
///
/// # Errors
/// Every method fails as the rows do, and as the method of the store of the same name.
#[allow(clippy::missing_errors_doc, reason = "the errors of all methods are described together")]
pub trait Rows {
    /// The backend's name, for errors.
    const BACKEND: &'static str;

    /// Returns the session of an id.
    fn get(&self, id: SessionId) -> Result<Option<SessionRecord>>;

    /// Returns all sessions.
    fn all(&self) -> Result<Vec<SessionRecord>>;

    /// Returns all sessions of a user, active and ended.
    fn of_user(&self, user: &UserId) -> Result<Vec<SessionRecord>>;

    /// Inserts a session, or replaces the one of the same id.
    fn put(&mut self, record: &SessionRecord) -> Result<()>;

    /// Removes a session, and its id from the sessions of its user.
    fn remove(&mut self, record: &SessionRecord) -> Result<()>;

    /// Inserts a new session under a limit, and returns the sessions that it evicted.
    fn create(
        &mut self,
        record: &SessionRecord,
        limit: Option<SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        if self.get(record.id)?.is_some() {
            return Err(Error::already_exists(Self::BACKEND, "create"));
        }
        let evicted = match (limit, &record.user_id) {
            (Some(limit), Some(user)) => {
                let counted = self.of_user(user)?.into_iter().filter(|stored| limit.counts(stored, record));
                let evicted = limit.evict(Self::BACKEND, record, counted.map(Arc::new).collect())?;
                let ended = Ended::new(EndReason::LimitEvicted, limit.now, Actor::System);
                let evicted = evicted.into_iter().map(|stored| (Arc::unwrap_or_clone(stored), ended.clone()));
                end_all(self, evicted)?
            }
            _ => Vec::new(),
        };
        self.put(record)?;
        Ok(evicted)
    }

    /// Returns the sessions of some ids, each once.
    fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        ids.into_iter().filter_map(|id| self.get(id).transpose()).map(|found| found.map(Arc::new)).collect()
    }

    /// Replaces an active session of a known revision.
    fn update(&mut self, record: &SessionRecord, expected: Revision) -> Result<Revision> {
        let stored = self.get(record.id)?.ok_or_else(|| Error::not_found(Self::BACKEND, "update"))?;
        if let Some(ended) = stored.ended() {
            return Err(Error::ended(Self::BACKEND, "update", ended.clone()));
        }
        if stored.revision != expected {
            return Err(Error::conflict(Self::BACKEND, "update", stored.revision));
        }
        self.put(&stored.updated_by(record)).map(|()| expected.next())
    }

    /// Advances last-seen times, and returns how many it advanced.
    fn touch(&mut self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        let mut moved = 0;
        for touch in Touch::latest_of_each(batch) {
            if let Some(mut stored) = self.get(touch.id)?
                && stored.touch(touch, now)
            {
                self.put(&stored)?;
                moved += 1;
            }
        }
        Ok(moved)
    }

    /// Ends the active sessions of a scope that were created no later than `created_until`.
    fn end(
        &mut self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let found = match (scope.user(), scope) {
            (Some(user), _) => self.of_user(user)?,
            (None, EndScope::Ids(ids)) => self.load(ids)?.into_iter().map(Arc::unwrap_or_clone).collect(),
            (None, _) => return Err(Error::unsupported(Self::BACKEND, "end")),
        };
        let is_due = |record: &SessionRecord| {
            record.is_active() && scope.contains(record) && record.created_at <= created_until
        };
        end_all(self, found.into_iter().filter(is_due).map(|record| (record, ended.clone())))
    }

    /// Returns one page of a listing.
    fn list(&self, query: &ListQuery) -> Result<Page> {
        let found = query.user.as_ref().map_or_else(|| self.all(), |user| self.of_user(user))?;
        let mut found: Vec<_> = found.into_iter().filter(|record| query.matches(record)).collect();
        found.sort_unstable_by_key(|record| Reverse(Cursor::of(record)));
        found.truncate(query.limit + 1);
        Ok(Page::cut(found.iter().map(|record| Arc::new(record.redacted())).collect(), query.limit))
    }

    /// Ends up to `limit` sessions that are past a deadline.
    fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        let overdue = self.all()?.into_iter().filter_map(|record| {
            let ended = record.overdue(now)?;
            Some((record, ended))
        });
        end_all(self, overdue.take(limit))
    }

    /// Removes up to `limit` sessions that ended before a time.
    fn purge(&mut self, before: Timestamp, limit: usize) -> Result<u64> {
        let is_old = |record: &SessionRecord| record.ended().is_some_and(|ended| ended.at < before);
        let old: Vec<_> = self.all()?.into_iter().filter(is_old).take(limit).collect();
        old.iter().try_for_each(|record| self.remove(record))?;
        Ok(old.len() as u64)
    }

    /// Anonymizes up to `limit` ended sessions of a user.
    fn erase(&mut self, user: &UserId, limit: usize) -> Result<u64> {
        let ended = self.of_user(user)?.into_iter().filter(|record| !record.is_active());
        let ended: Vec<_> = ended.take(limit).collect();
        for record in &ended {
            self.remove(record)?;
            self.put(&record.clone().into_erased())?;
        }
        Ok(ended.len() as u64)
    }

    /// Counts the sessions.
    fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        Ok(StoreStats::of(&self.all()?, now))
    }
}

/// Ends sessions, and returns them as they are stored then.
fn end_all<R: Rows + ?Sized>(
    rows: &mut R,
    records: impl Iterator<Item = (SessionRecord, Ended)>,
) -> Result<Vec<Arc<SessionRecord>>> {
    let end = |(record, ended): (SessionRecord, Ended)| {
        let record = record.into_ended(ended);
        rows.put(&record).map(|()| Arc::new(record))
    };
    records.map(end).collect()
}
