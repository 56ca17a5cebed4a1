//! One partition: the records of some users, changed under one lock.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use session_core::{
    Actor, EndReason, EndScope, Ended, Error, ListQuery, Result, Revision, SessionId, SessionLimit,
    SessionRecord, Timestamp, Touch, UserId,
};

use crate::store::NAME;

/// The sessions of some users. All sessions of a user are in one partition, because ids carry their
/// user's shard. So a caller that holds the partition's lock changes all sessions of a user at
/// once.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    records: HashMap<SessionId, Arc<SessionRecord>>,
    users: HashMap<UserId, BTreeSet<SessionId>>,
}

impl Partition {
    pub(crate) fn get(&self, id: SessionId) -> Option<&Arc<SessionRecord>> {
        self.records.get(&id)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<SessionRecord>> {
        self.records.values()
    }

    /// Returns the records of a user, active and ended, oldest first.
    fn records_of(&self, user: &UserId) -> impl Iterator<Item = &Arc<SessionRecord>> {
        self.users.get(user).into_iter().flatten().filter_map(|id| self.records.get(id))
    }

    pub(crate) fn create(
        &mut self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        if self.records.contains_key(&record.id) {
            return Err(Error::already_exists(NAME, "create"));
        }
        let evicted = match (limit, &record.user_id) {
            (Some(limit), Some(user)) => self.evict(limit, user, &record)?,
            _ => Vec::new(),
        };
        if let Some(user) = &record.user_id {
            self.users.entry(user.clone()).or_default().insert(record.id);
        }
        self.records.insert(record.id, record);
        Ok(evicted)
    }

    fn evict(
        &mut self,
        limit: &SessionLimit,
        user: &UserId,
        new: &SessionRecord,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let counted = self.records_of(user).filter(|stored| limit.counts(stored, new)).cloned().collect();
        let ended = Ended::new(EndReason::LimitEvicted, limit.now, Actor::System);
        let victims = limit.evict(NAME, new, counted)?;
        Ok(victims.iter().filter_map(|victim| self.end_one(victim.id, &ended)).collect())
    }

    pub(crate) fn update(&mut self, record: &SessionRecord, expected: Revision) -> Result<Revision> {
        let stored = self.records.get_mut(&record.id).ok_or_else(|| Error::not_found(NAME, "update"))?;
        if let Some(ended) = stored.ended() {
            return Err(Error::ended(NAME, "update", ended.clone()));
        }
        if stored.revision != expected {
            return Err(Error::conflict(NAME, "update", stored.revision));
        }
        *stored = Arc::new(stored.updated_by(record));
        Ok(stored.revision)
    }

    pub(crate) fn touch(&mut self, touch: &Touch, now: Timestamp) -> bool {
        match self.records.get_mut(&touch.id) {
            Some(stored) if stored.accepts(touch, now) => Arc::make_mut(stored).touch(touch, now),
            _ => false,
        }
    }

    /// Ends the active sessions in the scope that were created no later than `created_until`.
    pub(crate) fn end(
        &mut self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Vec<Arc<SessionRecord>> {
        let ids: Vec<_> = match (scope.user(), scope) {
            (Some(user), _) => {
                let contained = self.records_of(user).filter(|record| scope.contains(record));
                contained.map(|record| record.id).collect()
            }
            (None, EndScope::Ids(ids)) => ids.clone(),
            (None, _) => Vec::new(),
        };
        let bounded = |id: &SessionId| self.get(*id).is_some_and(|record| record.created_at <= created_until);
        let ids: Vec<_> = ids.into_iter().filter(bounded).collect();
        ids.into_iter().filter_map(|id| self.end_one(id, ended)).collect()
    }

    /// Ends a session if it is active.
    fn end_one(&mut self, id: SessionId, ended: &Ended) -> Option<Arc<SessionRecord>> {
        let stored = self.records.get_mut(&id).filter(|stored| stored.ended().is_none())?;
        *stored = Arc::new(SessionRecord::clone(stored).into_ended(ended.clone()));
        Some(Arc::clone(stored))
    }

    pub(crate) fn matching(&self, query: &ListQuery) -> Vec<Arc<SessionRecord>> {
        let matches = |record: &&Arc<SessionRecord>| query.matches(record);
        match &query.user {
            Some(user) => self.records_of(user).filter(matches).cloned().collect(),
            None => self.records().filter(matches).cloned().collect(),
        }
    }

    /// Returns the ids of up to `limit` records that satisfy a condition.
    pub(crate) fn find(&self, limit: usize, condition: impl Fn(&SessionRecord) -> bool) -> Vec<SessionId> {
        self.records().filter(|record| condition(record)).map(|record| record.id).take(limit).collect()
    }

    /// Ends the sessions that are still past a deadline.
    pub(crate) fn expire(&mut self, ids: &[SessionId], now: Timestamp) -> Vec<Arc<SessionRecord>> {
        let expired = |id: &SessionId| Some((*id, self.get(*id)?.overdue(now)?));
        let claimed: Vec<_> = ids.iter().filter_map(expired).collect();
        claimed.into_iter().filter_map(|(id, ended)| self.end_one(id, &ended)).collect()
    }

    /// Removes the sessions that ended before `before`.
    pub(crate) fn purge(&mut self, ids: &[SessionId], before: Timestamp) -> usize {
        ids.iter().filter(|id| self.purge_one(**id, before)).count()
    }

    /// Anonymizes the ended sessions of a user.
    pub(crate) fn erase(&mut self, user: &UserId, limit: usize) -> usize {
        let ended = self.records_of(user).filter(|record| record.ended().is_some());
        let ids: Vec<_> = ended.map(|record| record.id).take(limit).collect();
        for id in &ids {
            if let Some(stored) = self.records.get_mut(id) {
                *stored = Arc::new(SessionRecord::clone(stored).into_erased());
            }
            self.unindex(user, *id);
        }
        ids.len()
    }

    fn unindex(&mut self, user: &UserId, id: SessionId) {
        if let Some(ids) = self.users.get_mut(user) {
            ids.remove(&id);
            if ids.is_empty() {
                self.users.remove(user);
            }
        }
    }

    fn purge_one(&mut self, id: SessionId, before: Timestamp) -> bool {
        let Some(record) = self.records.get(&id).filter(|record| is_purgeable(record, before)) else {
            return false;
        };
        if let Some(user) = record.user_id.clone() {
            self.unindex(&user, id);
        }
        self.records.remove(&id).is_some()
    }
}

pub(crate) fn is_purgeable(record: &SessionRecord, before: Timestamp) -> bool {
    record.ended().is_some_and(|ended| ended.at < before)
}
