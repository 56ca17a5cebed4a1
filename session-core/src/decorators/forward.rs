//! Implementations of the store and cache traits for `Arc<S>` and `Box<S>`, including trait
//! objects.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cache::{CacheEntry, CacheHit, SessionCache};
use crate::end::Ended;
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::record::{Revision, SessionRecord};
use crate::scope::Scope;
use crate::store::{Capabilities, EndScope, ListQuery, Page, SessionLimit, SessionStore, StoreStats, Touch};
use crate::time::Timestamp;

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<S: SessionStore + ?Sized> SessionStore for $pointer<S> {
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            async fn create(
                &self,
                record: Arc<SessionRecord>,
                limit: Option<&SessionLimit>,
            ) -> Result<Vec<Arc<SessionRecord>>> {
                (**self).create(record, limit).await
            }

            async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
                (**self).load(ids).await
            }

            async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
                (**self).update(record, expected).await
            }

            async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
                (**self).touch(batch, now).await
            }

            async fn end(
                &self,
                scope: &EndScope,
                ended: &Ended,
                created_until: Timestamp,
            ) -> Result<Vec<Arc<SessionRecord>>> {
                (**self).end(scope, ended, created_until).await
            }

            async fn list(&self, query: &ListQuery) -> Result<Page> {
                (**self).list(query).await
            }

            async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
                (**self).expire(now, limit).await
            }

            async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
                (**self).purge(before, limit).await
            }

            async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
                (**self).erase(user, limit).await
            }

            async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
                (**self).stats(now).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<C: SessionCache + ?Sized> SessionCache for $pointer<C> {
            fn name(&self) -> &'static str {
                (**self).name()
            }

            async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>> {
                (**self).get(scope, id).await
            }

            async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
                (**self).put_if_newer(entry, ttl).await
            }

            async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
                (**self).remove(scope, id).await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
