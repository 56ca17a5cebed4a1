use std::sync::Arc;

use session_core::Revision;
use session_core::prelude::*;

use super::Faults;
use super::plan::Effect;

/// A store that fails as its [`Faults`] demand, and forwards to the wrapped store otherwise.
#[derive(Debug, Clone)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Faults,
}

impl<S: SessionStore> FaultyStore<S> {
    /// Wraps a store, with no fault armed.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// Returns the handle that arms faults and counts calls.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Returns the wrapped store, to inspect its real state. Calls on it are not counted.
    #[must_use]
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let injected = |kind| {
            let backend = self.inner.capabilities().name;
            Err(Error::new(kind, backend, operation).with_detail("injected fault"))
        };
        let mut lost = None;
        for effect in self.faults.count_call(operation) {
            match effect {
                Effect::Delay(by) => tokio::time::sleep(by).await,
                Effect::Error(kind) => return injected(kind),
                Effect::Hang => std::future::pending().await,
                Effect::LostReply(kind) => lost = lost.or(Some(kind)),
            }
        }
        let answer = call.await;
        lost.map_or(answer, injected)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: SessionStore> SessionStore for FaultyStore<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.call("create", self.inner.create(record, limit)).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        self.call("load", self.inner.load(ids)).await
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.call("update", self.inner.update(record, expected)).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        self.call("touch", self.inner.touch(batch, now)).await
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.call("end", self.inner.end(scope, ended, created_until)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.call("list", self.inner.list(query)).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        self.call("expire", self.inner.expire(now, limit)).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.call("purge", self.inner.purge(before, limit)).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        self.call("erase", self.inner.erase(user, limit)).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.call("stats", self.inner.stats(now)).await
    }
}
