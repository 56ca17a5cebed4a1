//! What ends of the store of record mean for the copies.

use std::sync::Arc;
use std::time::Duration;

use session_core::{
    CacheEntry, Clock, EndScope, ListQuery, Scope, SessionId, SessionRecord, SessionStore, StateFilter,
    Timestamp,
};
use session_memory::L1;

use super::spread::{Changes, Notifying, Spread};

/// Most ended sessions of a user that are looked at after an end of all of them.
const MAX_LOOKED_AT: usize = 500;

/// Notifies the copies of ends.
pub(super) struct Ends {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) scope: Scope,
    /// How long a copy may count that does not know of an end.
    pub(super) counts_for: Duration,
    pub(super) l1: Arc<L1>,
    pub(super) spread: Arc<Spread>,
}

impl Ends {
    /// Begins to notify all tiers of what the store of record ended.
    pub(super) fn notify(&self, records: &[Arc<SessionRecord>]) -> Notifying {
        let now = self.clock.now();
        let mut changes = Changes::default();
        for record in records {
            self.note(record, now, &mut changes);
        }
        self.spread.notify(changes)
    }

    /// Takes note of an end in this process's memory, and adds it to the changes.
    pub(super) fn note(&self, record: &Arc<SessionRecord>, verified_at: Timestamp, changes: &mut Changes) {
        if let Some(ended) = record.ended() {
            self.l1.end(record.id, ended);
            changes.push(CacheEntry::of(self.scope, Arc::clone(record), verified_at), Duration::ZERO);
        }
    }

    /// Begins to find the sessions of a scope that had ended before, by another node or by an
    /// attempt whose reply was lost, and to notify the tiers of them. The copies may not know of
    /// these ends, and must not open a session whose end was requested twice.
    pub(super) fn look_back(self, scope: EndScope, now: Vec<Arc<SessionRecord>>) -> Notifying {
        let is_new = move |id: &SessionId| now.iter().all(|record| record.id != *id);
        let scope = match scope {
            EndScope::Ids(mut ids) => {
                ids.retain(&is_new);
                ids.iter().for_each(|id| self.l1.distrust(*id));
                if ids.is_empty() {
                    return Notifying::default();
                }
                EndScope::Ids(ids)
            }
            scope => scope,
        };
        let (runtime, limit) = (self.spread.runtime.clone(), self.spread.limit);
        let notifying = runtime.spawn(async move {
            let mut before = self.ended_before(&scope).await;
            before.retain(|record| is_new(&record.id));
            self.notify(&before).wait().await;
        });
        Notifying::of(notifying, limit)
    }

    /// What ended in a scope. What ended longer ago than copies count needs no looking for.
    async fn ended_before(&self, scope: &EndScope) -> Vec<Arc<SessionRecord>> {
        let found = match scope {
            EndScope::Ids(ids) => self.store.load(ids).await,
            EndScope::Device { user, .. } | EndScope::User(user) | EndScope::UserExcept { user, .. } => {
                let ended = ListQuery::default().with_user(user.clone()).with_state(StateFilter::Ended);
                self.store.list(&ended.with_limit(MAX_LOOKED_AT)).await.map(|page| page.records)
            }
            _ => Ok(Vec::new()),
        };
        let since = self.clock.now().saturating_sub(self.counts_for);
        let matters = |record: &Arc<SessionRecord>| record.ended().is_some_and(|ended| ended.at >= since);
        // The store has answered what was asked; that this fails makes nothing worse.
        found.unwrap_or_default().into_iter().filter(matters).collect()
    }
}
