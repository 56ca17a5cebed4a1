//! A store that traces its calls.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument;

use crate::end::Ended;
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::record::{Revision, SessionRecord};
use crate::store::{Capabilities, EndScope, ListQuery, Page, SessionLimit, SessionStore, StoreStats, Touch};
use crate::time::Timestamp;

/// Wraps every call in a `tracing` span at debug level, and reports failures with their kind.
///
/// # Security
/// Spans carry the backend's name, the operation and counts; no id, no user, no address.
///
/// # Examples
/// ```
/// use session_core::{SessionStore, TracedStore};
///
/// fn observe(store: impl SessionStore) -> impl SessionStore {
///     TracedStore::new(store)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct TracedStore<S> {
    inner: S,
    name: &'static str,
}

impl<S: SessionStore> TracedStore<S> {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: S) -> Self {
        let name = inner.capabilities().name;
        Self { inner, name }
    }

    async fn observe<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let span = tracing::debug_span!("session_store", backend = self.name, operation);
        async {
            let result = call.await;
            if let Err(error) = &result {
                tracing::debug!(kind = error.kind().as_str(), "session store call failed");
            }
            result
        }
        .instrument(span)
        .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: SessionStore> SessionStore for TracedStore<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.observe("create", self.inner.create(record, limit)).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        self.observe("load", self.inner.load(ids)).await
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.observe("update", self.inner.update(record, expected)).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        self.observe("touch", self.inner.touch(batch, now)).await
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.observe("end", self.inner.end(scope, ended, created_until)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.observe("list", self.inner.list(query)).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        self.observe("expire", self.inner.expire(now, limit)).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.observe("purge", self.inner.purge(before, limit)).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        self.observe("erase", self.inner.erase(user, limit)).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.observe("stats", self.inner.stats(now)).await
    }
}
