use std::sync::Arc;
use std::time::Duration;

use session_core::{CacheEntry, CacheHit, Scope, SessionCache, SessionId};

use crate::Form;
use crate::fixtures::SCOPE;

/// The time to live of the entries of most cases.
const LONG: Duration = Duration::from_secs(600);

/// An empty cache, wrapped in one of the [forms](Form) that applications use.
#[derive(Debug, Clone)]
pub struct CacheHarness {
    cache: Arc<dyn SessionCache>,
}

impl CacheHarness {
    /// Wraps an empty cache.
    #[must_use]
    pub fn new(cache: Arc<dyn SessionCache>) -> Self {
        Self { cache }
    }

    /// Wraps an empty cache in the given form. The decorated form of a cache is a `Box<dyn
    /// SessionCache>`.
    #[must_use]
    pub fn in_form(cache: impl SessionCache, form: Form) -> Self {
        match form {
            Form::Bare => Self::new(Arc::new(cache)),
            Form::Shared => {
                let shared: Arc<dyn SessionCache> = Arc::new(cache);
                Self::new(Arc::new(shared))
            }
            Form::Decorated => {
                let boxed: Box<dyn SessionCache> = Box::new(cache);
                Self::new(Arc::new(boxed))
            }
        }
    }

    /// Returns the cache.
    #[must_use]
    pub fn cache(&self) -> &dyn SessionCache {
        &*self.cache
    }

    /// Puts an entry with a time to live that is long enough for every case.
    pub async fn put(&self, entry: &CacheEntry) -> bool {
        self.put_for(entry, LONG).await
    }

    /// Puts an entry with the given time to live.
    pub async fn put_for(&self, entry: &CacheEntry, ttl: Duration) -> bool {
        self.cache.put_if_newer(entry.clone(), ttl).await.expect("put_if_newer")
    }

    /// Puts an entry that must be stored.
    pub async fn given(&self, entry: &CacheEntry) {
        assert!(self.put(entry).await, "the cache did not store {entry:?}");
    }

    /// Reads an entry of [`SCOPE`].
    pub async fn get(&self, id: SessionId) -> Option<CacheEntry> {
        self.get_in(SCOPE, id).await
    }

    /// Reads an entry of a scope.
    pub async fn get_in(&self, scope: Scope, id: SessionId) -> Option<CacheEntry> {
        self.read(scope, id).await.map(|found| found.entry)
    }

    /// Reads an entry of [`SCOPE`] with its remaining time to live.
    pub async fn get_with_life(&self, id: SessionId) -> Option<CacheHit> {
        self.read(SCOPE, id).await
    }

    async fn read(&self, scope: Scope, id: SessionId) -> Option<CacheHit> {
        let found = self.cache.get(scope, id).await.expect("get")?;
        assert_eq!(found.entry.id, id, "the cache answered with another session");
        assert_eq!(found.entry.scope, scope, "the cache answered with an entry of another scope");
        Some(found)
    }

    /// Asserts that the cache holds exactly this entry.
    pub async fn assert_holds(&self, entry: &CacheEntry) {
        assert_eq!(self.get_in(entry.scope, entry.id).await.as_ref(), Some(entry));
    }

    /// Removes an entry of [`SCOPE`].
    pub async fn remove(&self, id: SessionId) {
        self.remove_in(SCOPE, id).await;
    }

    /// Removes an entry of a scope.
    pub async fn remove_in(&self, scope: Scope, id: SessionId) {
        self.cache.remove(scope, id).await.expect("remove");
    }
}
