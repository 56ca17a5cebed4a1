//! Several applications or tenants in one store.

use std::sync::Arc;

use async_trait::async_trait;

use crate::end::Ended;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NAMESPACE_SEPARATOR, SessionId, UserId};
use crate::record::{Revision, SessionRecord};
use crate::store::{
    Capabilities, EndScope, ListQuery, Page, SessionLimit, SessionStore, StoreStats, Touch, check_touches,
};
use crate::time::Timestamp;

/// Shows only the sessions of one namespace of a shared store, and creates all sessions in it.
///
/// User ids and user names are stored with the namespace in front; seen through this store they are without it. A user `42` of
/// one namespace and a user `42` of another are different users with separate limits. Session ids need no prefix, because no two
/// are alike; a session of another namespace is simply not there.
///
/// # What is store-wide
/// [`expire`](SessionStore::expire) and [`purge`](SessionStore::purge) are housekeeping and work on the whole store, though
/// `expire` returns this namespace's sessions only (so fewer than its limit does not mean that nothing is left), and [`stats`](SessionStore::stats) counts everything. Run sweeps on the store
/// inside.
///
/// [Erased](SessionStore::erase) sessions belong to nobody, and so to no namespace.
///
/// # Limits
/// A namespace is 1 to 64 bytes; user ids and names are shorter by its length plus one. Ending and touching by id costs one
/// more load, which tells whose the sessions are.
///
/// # Security
/// Isolation holds if every user of the shared store goes through a namespace of their own.
#[derive(Debug, Clone)]
pub struct NamespacedStore<S> {
    inner: S,
    /// The namespace with its separator. Every name in the namespace begins with it, and none outside does.
    prefix: Arc<str>,
}

impl<S: SessionStore> NamespacedStore<S> {
    /// Opens a namespace of a store.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) unless the namespace is 1 to 64 bytes without control characters.
    pub fn new(inner: S, namespace: &str) -> Result<Self> {
        if namespace.is_empty() || namespace.len() > 64 || namespace.contains(char::is_control) {
            return Err(Error::invalid(
                "namespace",
                "a namespace is 1 to 64 bytes without control characters",
            ));
        }
        Ok(Self { inner, prefix: format!("{namespace}{NAMESPACE_SEPARATOR}").into() })
    }

    fn user_in(&self, user: &UserId) -> Result<UserId> {
        UserId::try_from(format!("{}{user}", self.prefix))
    }

    /// The user name carries the namespace of every record, that of an anonymous session too.
    fn name_in(&self, name: Option<&str>) -> String {
        format!("{}{}", self.prefix, name.unwrap_or_default())
    }

    fn record_in(&self, record: &SessionRecord) -> Result<Arc<SessionRecord>> {
        // A wrong name must be refused before the prefix hides it.
        record.check()?;
        let mut stored = record.clone();
        stored.user_id = record.user_id.as_ref().map(|user| self.user_in(user)).transpose()?;
        stored.username = Some(self.name_in(record.username.as_deref()));
        Ok(Arc::new(stored))
    }

    fn owns(&self, record: &SessionRecord) -> bool {
        record.username.as_deref().is_some_and(|name| name.starts_with(&*self.prefix))
    }

    /// Shows a stored record without its namespace, or nothing if it belongs to another.
    fn record_out(&self, stored: &Arc<SessionRecord>) -> Result<Option<Arc<SessionRecord>>> {
        if !self.owns(stored) {
            return Ok(None);
        }
        let mut record = SessionRecord::clone(stored);
        let name =
            record.username.take().and_then(|name| name.strip_prefix(&*self.prefix).map(str::to_owned));
        record.username = name.filter(|name| !name.is_empty());
        record.user_id = record.user_id.map(|user| self.user_out(&user)).transpose()?;
        Ok(Some(Arc::new(record)))
    }

    fn user_out(&self, user: &UserId) -> Result<UserId> {
        let outside = || Error::corrupt("namespace", "load", "the user id lies outside of the namespace");
        user.as_str().strip_prefix(&*self.prefix).ok_or_else(outside)?.parse()
    }

    fn records_out(&self, stored: &[Arc<SessionRecord>]) -> Result<Vec<Arc<SessionRecord>>> {
        stored.iter().filter_map(|record| self.record_out(record).transpose()).collect()
    }

    /// Keeps the ids that belong to the namespace. A session never changes its namespace, so this cannot go stale.
    async fn ids_in(&self, ids: Vec<SessionId>) -> Result<Vec<SessionId>> {
        let found = self.inner.load(&ids).await?;
        Ok(found.iter().filter(|record| self.owns(record)).map(|record| record.id).collect())
    }

    async fn scope_in(&self, scope: &EndScope) -> Result<EndScope> {
        Ok(match scope {
            EndScope::Device { user, device } => {
                EndScope::Device { user: self.user_in(user)?, device: *device }
            }
            EndScope::Ids(ids) => EndScope::Ids(self.ids_in(ids.clone()).await?),
            EndScope::User(user) => EndScope::User(self.user_in(user)?),
            EndScope::UserExcept { user, keep } => {
                EndScope::UserExcept { user: self.user_in(user)?, keep: *keep }
            }
        })
    }

    /// A limit's refusal lists sessions, which must not show the namespace either.
    fn error_out(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::LimitExceeded {
            return error;
        }
        match self.records_out(error.live_sessions()) {
            Ok(live) => Error::limit_exceeded(error.backend(), error.operation(), live),
            Err(corrupt) => corrupt,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: SessionStore> SessionStore for NamespacedStore<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let ended = self
            .inner
            .create(self.record_in(&record)?, limit)
            .await
            .map_err(|error| self.error_out(error))?;
        self.records_out(&ended)
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        self.records_out(&self.inner.load(ids).await?)
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.capabilities().check_active(&record)?;
        if self.ids_in(vec![record.id]).await?.is_empty() {
            return Err(Error::not_found(self.capabilities().name, "update"));
        }
        self.inner.update(self.record_in(&record)?, expected).await
    }

    async fn touch(&self, batch: &[Touch]) -> Result<u64> {
        check_touches(batch)?;
        let own = self.ids_in(batch.iter().map(|touch| touch.id).collect()).await?;
        let batch: Vec<_> = batch.iter().filter(|touch| own.contains(&touch.id)).cloned().collect();
        self.inner.touch(&batch).await
    }

    async fn end(&self, scope: &EndScope, ended: &Ended) -> Result<Vec<Arc<SessionRecord>>> {
        self.records_out(&self.inner.end(&self.scope_in(scope).await?, ended).await?)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        let mut inside = query.clone();
        inside.user = query.user.as_ref().map(|user| self.user_in(user)).transpose()?;
        inside.username = query.username.as_deref().map(|name| self.name_in(Some(name)));
        if inside.user.is_some() || inside.username.is_some() {
            let Page { records, next } = self.inner.list(&inside).await?;
            return Ok(Page { records: self.records_out(&records)?, next });
        }
        self.list_everything(inside).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        self.records_out(&self.inner.expire(now, limit).await?)
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.inner.purge(before, limit).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        self.inner.erase(&self.user_in(user)?, limit).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.inner.stats(now).await
    }
}

impl<S: SessionStore> NamespacedStore<S> {
    /// Lists without a user or a name, so the store's index does not separate the namespaces: pages of the whole store are read
    /// until one page of the namespace is full.
    async fn list_everything(&self, mut query: ListQuery) -> Result<Page> {
        let limit = query.limit;
        let mut found = Vec::new();
        loop {
            let page = self.inner.list(&query).await?;
            found.extend(self.records_out(&page.records)?);
            query.after = page.next;
            if found.len() > limit || page.next.is_none() {
                return Ok(Page::cut(found, limit));
            }
        }
    }
}
