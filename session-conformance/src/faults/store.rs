use std::sync::Arc;

use session_core::Revision;
use session_core::prelude::*;

use super::Faults;
use super::plan::Effect;

/// A store that fails as its [`Faults`] demand, and forwards to the wrapped store otherwise.
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: Arc<S>,
    faults: Faults,
}

impl<S> Clone for FaultyStore<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), faults: self.faults.clone() }
    }
}

impl<S: SessionStore> FaultyStore<S> {
    /// Wraps a store, with no fault armed.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner: Arc::new(inner), faults: Faults::default() }
    }

    /// Returns the handle that arms faults and counts calls.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Returns the wrapped store, to inspect its real state. Calls on it are not counted.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    async fn call<T: Send, C: Future<Output = Result<T>> + Send + 'static>(
        &self,
        operation: &'static str,
        call: impl FnOnce(Arc<S>) -> C,
    ) -> Result<T> {
        let injected = |kind| {
            let backend = self.inner.capabilities().name;
            Err(Error::new(kind, backend, operation).with_detail("injected fault"))
        };
        let call = call(Arc::clone(&self.inner));
        let mut lost = None;
        for effect in self.faults.count_call(operation) {
            match effect {
                Effect::Delay(by) => tokio::time::sleep(by).await,
                Effect::Error(kind) => return injected(kind),
                Effect::Hang => std::future::pending().await,
                Effect::Late(by, kind) => {
                    tokio::spawn(async move {
                        tokio::time::sleep(by).await;
                        drop(call.await);
                    });
                    return injected(kind);
                }
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
        let limit = limit.copied();
        self.call("create", |store| async move { store.create(record, limit.as_ref()).await }).await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        let ids = ids.to_vec();
        self.call("load", |store| async move { store.load(&ids).await }).await
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.call("update", |store| async move { store.update(record, expected).await }).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        let batch = batch.to_vec();
        self.call("touch", |store| async move { store.touch(&batch, now).await }).await
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let (scope, ended) = (scope.clone(), ended.clone());
        self.call("end", |store| async move { store.end(&scope, &ended, created_until).await }).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        let query = query.clone();
        self.call("list", |store| async move { store.list(&query).await }).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        self.call("expire", |store| async move { store.expire(now, limit).await }).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.call("purge", |store| async move { store.purge(before, limit).await }).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        let user = user.clone();
        self.call("erase", |store| async move { store.erase(&user, limit).await }).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.call("stats", |store| async move { store.stats(now).await }).await
    }
}
