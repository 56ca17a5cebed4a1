//! Looking a session up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use session_core::{CacheBody, Ended, Result, SessionId, SessionRecord, Timestamp};
use session_memory::{Authority, Filled, Held, Lookup, Moment};

use super::flights::{Answer, Leader, Turn, joined};
use super::health::{Provenance, Source};
use super::store::TieredStore;

/// How often a read is repeated because the session changed while it was under way.
const ATTEMPTS: usize = 4;

/// How the store of record is asked.
pub(crate) type Load<'a> = dyn Fn() -> BoxFuture<'a, Result<Option<Arc<SessionRecord>>>> + Sync + 'a;

/// What is known of a session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Found {
    /// It was active when the store of record was read.
    Active(Arc<SessionRecord>, Provenance),
    /// It ended.
    Ended(Ended),
}

impl Found {
    pub(crate) fn of(record: Arc<SessionRecord>, provenance: Provenance) -> Self {
        match record.ended() {
            Some(ended) => Self::Ended(ended.clone()),
            None => Self::Active(record, provenance),
        }
    }

    fn held(held: Held) -> Self {
        Self::Active(held.record, Provenance::memory(held.verified_at))
    }
}

impl TieredStore {
    /// Looks a session up in this process's memory, then in the first healthy shared cache, then in
    /// the store of record.
    ///
    /// `None` means that the store of record does not have it, or did not a moment ago.
    ///
    /// # Errors
    /// As the store of record answers. The failure of a cache is none.
    ///
    /// # Cancellation
    /// Nothing happens; if others wait for the same session, one of them goes on.
    pub async fn find(&self, id: SessionId) -> Result<Option<Found>> {
        match self.recall(id) {
            Some(known) => Ok(known),
            None => self.find_with(id, &|| Box::pin(self.load_one(id))).await,
        }
    }

    /// Returns this process's copy, if it counts, and the time by which it does.
    #[inline]
    pub(crate) fn copy(&self, id: SessionId) -> Option<(Arc<SessionRecord>, Provenance, Timestamp)> {
        let now = self.moment();
        let held = self.l1().copy(id, now)?;
        self.metrics().memory_hits.increment(1);
        Some((held.record, Provenance::memory(held.verified_at), now.wall))
    }

    /// What this process knows by itself: `Some(None)` that there is no such session, `None`
    /// nothing.
    pub(crate) fn recall(&self, id: SessionId) -> Option<Option<Found>> {
        let metrics = self.metrics();
        match self.l1().get(id, self.moment()) {
            Lookup::Live(held) => {
                metrics.memory_hits.increment(1);
                Some(Some(Found::held(held)))
            }
            Lookup::Ended(ended) => {
                metrics.memory_hits.increment(1);
                Some(Some(Found::Ended(ended)))
            }
            Lookup::Unknown => {
                metrics.unknown_hits.increment(1);
                Some(None)
            }
            _ => {
                metrics.memory_misses.increment(1);
                None
            }
        }
    }

    /// As [`find`](Self::find), with another way to [`load`](session_core::SessionStore::load)
    /// through these tiers.
    pub(crate) async fn find_with(&self, id: SessionId, load: &Load<'_>) -> Answer {
        let mut attempts = 0;
        loop {
            match self.flights().turn(id, self.l1(), self.patience()) {
                Turn::Join(flight) => {
                    if let Some(answer) = joined(flight).await {
                        return answer;
                    }
                }
                Turn::Lead(leader) => {
                    attempts += 1;
                    if let Some(answer) = self.lead(&leader, load, attempts == ATTEMPTS).await {
                        leader.finish(&answer);
                        return answer;
                    }
                }
            }
            if let Some(known) = self.recall(id) {
                return Ok(known);
            }
        }
    }

    /// Reads for all. `None` if the session changed meanwhile, so that the answer may be older than
    /// the question of a caller that waits.
    async fn lead(&self, leader: &Leader<'_>, load: &Load<'_>, last: bool) -> Option<Answer> {
        if let Some(found) = self.ask_shared(leader).await {
            return Some(Ok(Some(found)));
        }
        let began = self.moment();
        let answer = load().await;
        if !last && answer.is_ok() && !self.l1().is_current(&leader.ticket) {
            return None;
        }
        Some(answer.map(|record| {
            let ended = self.l1().ended(leader.ticket.id()).map(Found::Ended);
            ended.or_else(|| record.map(|record| Found::of(record, Provenance::store(began.wall))))
        }))
    }

    /// Asks the first healthy shared cache. Its answer counts only for as long as the copy
    /// inherits.
    async fn ask_shared(&self, leader: &Leader<'_>) -> Option<Found> {
        let tier = self.shared().iter().find(|tier| tier.is_serving())?;
        let (id, began) = (leader.ticket.id(), self.moment());
        let hit = tier.get(id).await?;
        let record = match hit.entry.body {
            CacheBody::Tombstone(ended) => {
                self.l1().end(id, &ended);
                return Some(Found::Ended(ended));
            }
            CacheBody::Record(record) if record.id == id => record,
            _ => return None,
        };
        let verified_at = hit.entry.verified_at;
        let stale_at = self.inherits(began, verified_at, hit.remaining)?;
        let now = self.moment();
        match self.l1().fill(&leader.ticket, &record, verified_at, stale_at, now, Authority::Cache) {
            Filled::Kept(record) if now.mono < stale_at => {
                let source = Source::Shared(tier.name());
                Some(Found::Active(record, Provenance { source, verified_at, degraded: false }))
            }
            Filled::Ended(ended) => Some(Found::Ended(ended)),
            _ => None,
        }
    }

    /// Until when a copy of an entry counts here: what the cache counted down and what the wall
    /// clock shows must both leave something.
    fn inherits(&self, asked: Moment, verified_at: Timestamp, remaining: Duration) -> Option<Duration> {
        let max_stale = self.max_stale();
        let by_wall = max_stale.saturating_sub(asked.wall.since(verified_at));
        let from_future = verified_at.since(asked.wall) > self.max_skew();
        let left = by_wall.min(remaining);
        (!left.is_zero() && remaining <= max_stale && !from_future).then(|| asked.mono.saturating_add(left))
    }

    /// A copy that is too old, for when the store of record cannot be asked.
    pub(crate) fn last_resort(&self, id: SessionId) -> Option<Found> {
        let limit = self.stale_if_error()?;
        let now = self.moment();
        let held = self.l1().last_known(id, limit, now)?;
        if !held.record.is_live(now.wall) {
            return None;
        }
        self.metrics().stale_answers.increment(1);
        let provenance = Provenance { source: Source::Memory, verified_at: held.verified_at, degraded: true };
        Some(Found::Active(held.record, provenance))
    }
}
