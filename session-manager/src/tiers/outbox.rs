//! The changes that a tier has not received.

use std::collections::BTreeMap;
use std::time::Duration;

use session_core::{CacheEntry, SessionId};
use tokio::time::Instant;

/// Sessions of which a shared cache may hold an outdated state. Bounded; see [`Outbox::push`].
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: BTreeMap<SessionId, Waiting>,
    /// Counts what was added.
    added: u64,
    capacity: usize,
    /// After this time the tier's older entries count no more.
    max_stale: Duration,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// Which addition this is. Two may have the same time.
    number: u64,
    what: Missing,
}

/// What a tier is sent now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Missed {
    pub(super) id: SessionId,
    pub(super) what: Missing,
    number: u64,
}

/// What a tier has to receive.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Missing {
    /// That the session ended.
    Tombstone(CacheEntry),
    /// The current state of the session in the store of record.
    Refresh,
}

impl Outbox {
    pub(super) fn new(capacity: usize, max_stale: Duration) -> Self {
        Self { waiting: BTreeMap::new(), added: 0, capacity, max_stale }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds what the tier has to receive. Returns false if there was no room: then everything is
    /// forgotten, and the tier must not be believed for `max_stale`.
    #[must_use]
    pub(super) fn push(&mut self, id: SessionId, missing: Missing) -> bool {
        let since = Instant::now();
        self.added += 1;
        let number = self.added;
        if let Some(waiting) = self.waiting.get_mut(&id) {
            (waiting.since, waiting.number) = (since, number);
            if let Missing::Tombstone(_) = missing {
                waiting.what = missing;
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
        self.waiting.insert(id, Waiting { since, number, what: missing });
        true
    }

    /// Returns some of what waits, without removing it.
    pub(super) fn some(&mut self, most: usize) -> Vec<Missed> {
        self.drop_expired(Instant::now());
        let missed = |(id, waiting): (&SessionId, &Waiting)| Missed {
            id: *id,
            what: waiting.what.clone(),
            number: waiting.number,
        };
        self.waiting.iter().take(most).map(missed).collect()
    }

    /// Removes what the tier has received, unless the session changed again meanwhile.
    pub(super) fn sent(&mut self, missed: &Missed) {
        if self.waiting.get(&missed.id).is_some_and(|waiting| waiting.number == missed.number) {
            self.waiting.remove(&missed.id);
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

    fn tombstone() -> (SessionId, Missing) {
        let record = fixtures::record("ann");
        let ended = Arc::new(record.clone().into_ended(fixtures::logged_out(1)));
        (record.id, Missing::Tombstone(CacheEntry::of(Scope::from_bytes([7; 16]), ended, fixtures::NOW)))
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_takes_the_place_of_a_refresh_and_not_the_other_way() {
        let mut outbox = Outbox::new(10, MAX_STALE);
        let (id, end) = tombstone();
        assert!(outbox.push(id, Missing::Refresh));
        assert!(outbox.push(id, end.clone()));
        assert!(outbox.push(id, Missing::Refresh));
        let waiting: Vec<_> = outbox.some(10).into_iter().map(|missed| (missed.id, missed.what)).collect();
        assert_eq!(waiting, [(id, end)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_added_while_the_tier_was_notified_stays() {
        let mut outbox = Outbox::new(10, MAX_STALE);
        let (id, end) = tombstone();
        assert!(outbox.push(id, Missing::Refresh));
        let first = outbox.some(10);
        // At the same time by the clock.
        assert!(outbox.push(id, Missing::Refresh));
        outbox.sent(&first[0]);
        assert_eq!(outbox.len(), 1, "the same was missing once more after the tier was asked");
        let second = outbox.some(10);
        assert!(outbox.push(id, end));
        outbox.sent(&second[0]);
        assert_eq!(outbox.len(), 1, "it ended meanwhile");
        let third = outbox.some(10);
        outbox.sent(&third[0]);
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
    async fn an_overflow_forgets_everything_and_is_reported() {
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
