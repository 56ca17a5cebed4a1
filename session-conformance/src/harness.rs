//! The input of a case: an empty store for its exclusive use.

use std::fmt;
use std::sync::Arc;

use session_core::{
    EndScope, Ended, Error, ErrorKind, Result, Revision, SessionId, SessionLimit, SessionRecord,
    SessionStore, Timestamp, TracedStore,
};

/// An empty store, wrapped in one of the [forms](Form) that applications use.
#[derive(Debug, Clone)]
pub struct Harness {
    store: Arc<dyn SessionStore>,
}

/// The form in which a case uses a store. Every case runs in every form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// The store itself.
    Bare,
    /// `Arc<dyn SessionStore>` used as a store, through the forwarding implementation.
    Shared,
    /// The store inside a [`TracedStore`].
    Decorated,
}

impl Form {
    /// All forms.
    pub const ALL: [Self; 3] = [Self::Bare, Self::Shared, Self::Decorated];
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bare => "bare",
            Self::Shared => "shared",
            Self::Decorated => "decorated",
        })
    }
}

impl Harness {
    /// Wraps an empty store.
    #[must_use]
    pub fn new(store: Arc<dyn SessionStore>) -> Self {
        Self { store }
    }

    /// Wraps an empty store in the given form.
    #[must_use]
    pub fn in_form(store: impl SessionStore, form: Form) -> Self {
        match form {
            Form::Bare => Self::new(Arc::new(store)),
            Form::Shared => {
                let shared: Arc<dyn SessionStore> = Arc::new(store);
                Self::new(Arc::new(shared))
            }
            Form::Decorated => Self::new(Arc::new(TracedStore::new(store))),
        }
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &dyn SessionStore {
        &*self.store
    }

    /// Returns the store for another task.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.store)
    }

    /// Stores a new record without a limit.
    pub async fn given(&self, record: &SessionRecord) -> Arc<SessionRecord> {
        let record = Arc::new(record.clone());
        let ended = self.store.create(Arc::clone(&record), None).await.expect("create");
        assert!(ended.is_empty(), "create without a limit ended something");
        record
    }

    /// Creates under a limit.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn create(
        &self,
        record: &SessionRecord,
        limit: &SessionLimit,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.store.create(Arc::new(record.clone()), Some(limit)).await
    }

    /// Loads one record.
    pub async fn load(&self, id: SessionId) -> Option<Arc<SessionRecord>> {
        let mut found = self.store.load(&[id]).await.expect("load");
        assert!(found.len() <= 1, "one id gave {} records", found.len());
        let record = found.pop()?;
        assert_eq!(record.id, id, "load answered with another session");
        Some(record)
    }

    /// Loads one record that must exist.
    pub async fn loaded(&self, id: SessionId) -> Arc<SessionRecord> {
        self.load(id).await.expect("the session is stored")
    }

    /// Updates a record.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn update(&self, record: &SessionRecord, expected: Revision) -> Result<Revision> {
        self.store.update(Arc::new(record.clone()), expected).await
    }

    /// Ends sessions, regardless of their creation time, and returns the sorted ids of those that
    /// this call ended.
    pub async fn end(&self, scope: &EndScope, ended: &Ended) -> Vec<SessionId> {
        self.end_created_until(scope, ended, Timestamp::MAX).await
    }

    /// Ends sessions that were created at `created_until` or earlier, and returns the sorted ids of
    /// those that this call ended.
    pub async fn end_created_until(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Vec<SessionId> {
        ids(&self.store.end(scope, ended, created_until).await.expect("end"))
    }
}

/// Returns the sorted ids of records.
#[must_use]
pub fn ids(records: &[Arc<SessionRecord>]) -> Vec<SessionId> {
    let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
    ids.sort_unstable();
    ids
}

/// Asserts that a call failed with the given kind.
#[track_caller]
pub fn assert_kind<T: fmt::Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    match result {
        Err(error) if error.kind() == kind => error,
        other => panic!("expected {kind:?}, got {other:?}"),
    }
}
