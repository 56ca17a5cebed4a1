//! What ends of the store of record mean for the copies.

use std::sync::Arc;
use std::time::Duration;

use session_core::{
    CacheEntry, Clock, EndScope, ListQuery, Scope, SessionId, SessionRecord, SessionStore, StateFilter,
    Timestamp,
};
use session_memory::L1;

use super::spread::{Changes, Spread, Told};

/// Most ended sessions of a user that are looked at after an end of all of them.
const MAX_LOOKED_AT: usize = 500;

/// What it takes to tell the copies.
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
    /// Begins to tell all tiers what the store of record ended.
    pub(super) fn tell(&self, records: &[Arc<SessionRecord>]) -> Told {
        let now = self.clock.now();
        let mut changes = Changes::default();
        for record in records {
            self.note(record, now, &mut changes);
        }
        self.spread.tell(changes)
    }

    /// Takes note of an end in this process's memory, and adds it to the changes.
    pub(super) fn note(&self, record: &Arc<SessionRecord>, verified_at: Timestamp, changes: &mut Changes) {
        if let Some(ended) = record.ended() {
            self.l1.end(record.id, ended);
            changes.push(CacheEntry::of(self.scope, Arc::clone(record), verified_at), Duration::ZERO);
        }
    }

    /// Begins to find what of a scope had ended before, by another node or a lost attempt, and to
    /// tell the tiers. The copies of this node and of the caches may not know of it, and whoever
    /// asks for an end once more must not be let in by them.
    pub(super) fn look_back(self, scope: EndScope, now: Vec<Arc<SessionRecord>>) -> Told {
        let is_new = move |id: &SessionId| now.iter().all(|record| record.id != *id);
        let scope = match scope {
            EndScope::Ids(mut ids) => {
                ids.retain(&is_new);
                ids.iter().for_each(|id| self.l1.distrust(*id));
                if ids.is_empty() {
                    return Told::default();
                }
                EndScope::Ids(ids)
            }
            scope => scope,
        };
        let (runtime, limit) = (self.spread.runtime.clone(), self.spread.limit);
        let telling = runtime.spawn(async move {
            let mut before = self.ended_before(&scope).await;
            before.retain(|record| is_new(&record.id));
            self.tell(&before).wait().await;
        });
        Told::of(telling, limit)
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
