//! What a tier was not told.

use std::collections::BTreeMap;
use std::time::Duration;

use session_core::{CacheEntry, SessionId};
use tokio::time::Instant;

/// Sessions about which a shared cache may say something outdated. Bounded; see [`Outbox::push`].
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: BTreeMap<SessionId, Waiting>,
    /// Counts what was added.
    added: u64,
    capacity: usize,
    /// After this time nobody believes what the tier said before.
    max_stale: Duration,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// Which addition this is. Two may have the same time.
    number: u64,
    what: Owed,
}

/// What a tier is told now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Debt {
    pub(super) id: SessionId,
    pub(super) what: Owed,
    number: u64,
}

/// What a tier has to be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Owed {
    /// That the session ended.
    Tombstone(CacheEntry),
    /// What the store of record says about the session now.
    Refresh,
}

impl Outbox {
    pub(super) fn new(capacity: usize, max_stale: Duration) -> Self {
        Self { waiting: BTreeMap::new(), added: 0, capacity, max_stale }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds what the tier has to be told. Returns false if there was no room: then everything is
    /// forgotten, and the tier must not be believed for `max_stale`.
    #[must_use]
    pub(super) fn push(&mut self, id: SessionId, owed: Owed) -> bool {
        let since = Instant::now();
        self.added += 1;
        let number = self.added;
        if let Some(waiting) = self.waiting.get_mut(&id) {
            (waiting.since, waiting.number) = (since, number);
            if let Owed::Tombstone(_) = owed {
                waiting.what = owed;
            }
            return true;
        }
        if self.waiting.len() >= self.capacity {
            self.drop_expired(since);
        }
        if self.waiting.len() >= self.capacity {
            self.waiting.clear();
            return false;
        }
        self.waiting.insert(id, Waiting { since, number, what: owed });
        true
    }

    /// Returns some of what waits, without removing it.
    pub(super) fn some(&mut self, most: usize) -> Vec<Debt> {
        self.drop_expired(Instant::now());
        let debt = |(id, waiting): (&SessionId, &Waiting)| Debt {
            id: *id,
            what: waiting.what.clone(),
            number: waiting.number,
        };
        self.waiting.iter().take(most).map(debt).collect()
    }

    /// Removes what the tier was told, unless there is more to say by now.
    pub(super) fn told(&mut self, debt: &Debt) {
        if self.waiting.get(&debt.id).is_some_and(|waiting| waiting.number == debt.number) {
            self.waiting.remove(&debt.id);
        }
    }

    fn drop_expired(&mut self, now: Instant) {
        self.waiting.retain(|_, waiting| now.saturating_duration_since(waiting.since) <= self.max_stale);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use session_conformance::fixtures;
    use session_core::Scope;

    use super::*;

    const MAX_STALE: Duration = Duration::from_secs(30);

    fn tombstone() -> (SessionId, Owed) {
        let record = fixtures::record("ann");
        let ended = Arc::new(record.clone().into_ended(fixtures::logged_out(1)));
        (record.id, Owed::Tombstone(CacheEntry::of(Scope::from_bytes([7; 16]), ended, fixtures::NOW)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_takes_the_place_of_a_refresh_and_not_the_other_way() {
        let mut outbox = Outbox::new(10, MAX_STALE);
        let (id, end) = tombstone();
        assert!(outbox.push(id, Owed::Refresh));
        assert!(outbox.push(id, end.clone()));
        assert!(outbox.push(id, Owed::Refresh));
        let waiting: Vec<_> = outbox.some(10).into_iter().map(|debt| (debt.id, debt.what)).collect();
        assert_eq!(waiting, [(id, end)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_added_while_the_tier_was_told_stays() {
        let mut outbox = Outbox::new(10, MAX_STALE);
        let (id, end) = tombstone();
        assert!(outbox.push(id, Owed::Refresh));
        let first = outbox.some(10);
        // At the same time by the clock.
        assert!(outbox.push(id, Owed::Refresh));
        outbox.told(&first[0]);
        assert_eq!(outbox.len(), 1, "the same was owed once more after the tier was asked");
        let second = outbox.some(10);
        assert!(outbox.push(id, end));
        outbox.told(&second[0]);
        assert_eq!(outbox.len(), 1, "it ended meanwhile");
        let third = outbox.some(10);
        outbox.told(&third[0]);
        assert_eq!(outbox.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_longer_than_copies_count() {
        let mut outbox = Outbox::new(10, MAX_STALE);
        let (id, end) = tombstone();
        assert!(outbox.push(id, end));
        tokio::time::advance(MAX_STALE).await;
        assert_eq!(outbox.some(10).len(), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(outbox.some(10), []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_overflow_forgets_everything_and_says_so() {
        let mut outbox = Outbox::new(3, MAX_STALE);
        for _ in 0..3 {
            let (id, end) = tombstone();
            assert!(outbox.push(id, end));
        }
        let (id, end) = tombstone();
        assert!(!outbox.push(id, end));
        assert_eq!(outbox.len(), 0);
    }
}
