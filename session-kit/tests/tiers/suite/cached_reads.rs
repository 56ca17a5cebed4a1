//! A store whose loads are answered by its tiers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use session_core::limits::MAX_BATCH;
use session_core::{
    Capabilities, EndScope, Ended, ListQuery, Page, Result, Revision, SessionId, SessionLimit, SessionRecord,
    SessionStore, StoreStats, Timestamp, Touch, UserId, async_trait,
};
use session_manager::{Found, Source, TieredStore};

/// Concurrent lookups of one load.
const AT_ONCE: usize = 16;

/// The number of answers of each tier.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) memory: AtomicU64,
    pub(crate) shared: AtomicU64,
    pub(crate) store: AtomicU64,
    /// Ended or unknown sessions.
    pub(crate) other: AtomicU64,
}

impl Answers {
    fn count(&self, found: Option<&Found>) {
        let counter = match found {
            Some(Found::Active(_, provenance)) => match provenance.source {
                Source::Memory => &self.memory,
                Source::Shared(_) => &self.shared,
                _ => &self.store,
            },
            _ => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Asserts that exactly the configured tiers answered.
    pub(crate) fn assert_from(&self, has_memory: bool, has_shared: bool) {
        let [memory, shared, store] =
            [&self.memory, &self.shared, &self.store].map(|counter| counter.load(Ordering::Relaxed));
        assert_eq!(memory > 0, has_memory, "{self:?}");
        assert_eq!(shared > 0, has_shared, "{self:?}");
        // Where there are copies, the store only answers lookups of sessions that change at the
        // same time.
        let expected = if has_memory || has_shared { memory + shared } else { store };
        assert!(expected > 2_000 && (expected == store || store * 4 < expected), "{self:?}");
    }
}

/// Tiers whose answers count as loads, so that copies must satisfy the contract of `load`.
#[derive(Debug)]
pub(crate) struct CachedReads {
    tiers: TieredStore,
    answers: Arc<Answers>,
}

impl CachedReads {
    pub(crate) fn new(tiers: TieredStore, answers: Arc<Answers>) -> Self {
        Self { tiers, answers }
    }

    async fn answer(&self, id: SessionId) -> Result<Option<Arc<SessionRecord>>> {
        let found = self.tiers.find(id).await?;
        self.answers.count(found.as_ref());
        match found {
            Some(Found::Active(record, provenance)) => {
                assert!(record.ended().is_none(), "an ended session is active in a tier");
                match provenance.source {
                    Source::Shared(_) => self.with_last_seen(record).await.map(Some),
                    _ => Ok(Some(record)),
                }
            }
            // Tiers only keep the end, so the record is loaded from the store.
            Some(Found::Ended(ended)) => {
                let record = self.tiers.load(&[id]).await?.pop();
                if let Some(record) = &record {
                    let stored = record.ended().map(|ended| (ended.at, ended.reason));
                    assert_eq!(stored, Some((ended.at, ended.reason)), "the end differs from the stored one");
                }
                Ok(record)
            }
            _ => Ok(None),
        }
    }

    /// Shared caches receive no last-seen updates, which would be a write for each request. Their
    /// entries may be behind the store, but not ahead of it.
    async fn with_last_seen(&self, mut record: Arc<SessionRecord>) -> Result<Arc<SessionRecord>> {
        let Some(stored) = self.tiers.load(&[record.id]).await?.pop() else { return Ok(record) };
        if stored.revision == record.revision {
            assert!(stored.last_seen_at >= record.last_seen_at, "the copy is ahead of the store");
            let record = Arc::make_mut(&mut record);
            (record.last_seen_at, record.last_client) = (stored.last_seen_at, stored.last_client.clone());
        }
        Ok(record)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for CachedReads {
    fn capabilities(&self) -> Capabilities {
        self.tiers.capabilities()
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.tiers.create(record, limit).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        if ids.len() > MAX_BATCH {
            return self.tiers.load(ids).await;
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let answers: Vec<_> = ids.into_iter().map(|id| self.answer(id)).collect();
        stream::iter(answers)
            .buffer_unordered(AT_ONCE)
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.tiers.update(record, expected).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        self.tiers.touch(batch, now).await
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.tiers.end(scope, ended, created_until).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.tiers.list(query).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        self.tiers.expire(now, limit).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.tiers.purge(before, limit).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        self.tiers.erase(user, limit).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.tiers.stats(now).await
    }
}
