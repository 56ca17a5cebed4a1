//! The handle that an application holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use session_core::rules::Reason;
use session_core::{Deadline, Error, Result, SessionData, SessionId, SessionRecord, UserId};

use crate::info::SessionInfo;
use crate::manager::SessionManager;

/// A live session: who it belongs to, its data, and the changes of this request.
///
/// Cheap to clone; clones share their changes. Reading and changing data never waits: changes stay here until
/// [`save`](Self::save), which writes only if something changed.
///
/// # Examples
/// ```
/// # use session_manager::{NewSession, SessionManager};
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let manager = SessionManager::builder(session_memory::MemoryStore::default()).build()?;
/// # let session = manager.create(NewSession::anonymous()).await?.session;
/// session.insert("visits", &1)?;
/// let visits: u32 = session.get("visits")?.unwrap_or_default();
/// session.insert("visits", &(visits + 1))?;
/// session.save().await?;
/// assert_eq!(session.take::<u32>("visits")?, Some(2));
/// # Ok::<(), session_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    manager: SessionManager,
    challenge: Option<Reason>,
    state: Mutex<State>,
}

pub(crate) type Changes = BTreeMap<String, Option<Value>>;

pub(crate) struct State {
    /// The record as this handle knows it.
    pub(crate) record: Arc<SessionRecord>,
    /// Its data, decoded when first asked for.
    base: Option<SessionData>,
    /// Keys that were set (`Some`) or removed (`None`) and not saved yet.
    pub(crate) changes: Changes,
}

impl State {
    /// Returns the data of the record, without changes.
    fn base(&mut self, manager: &SessionManager) -> Result<&SessionData> {
        let base = match self.base.take() {
            Some(base) => base,
            None => SessionData::decode(&self.record.data, &manager.settings().data_limits)?,
        };
        Ok(self.base.insert(base))
    }

    /// Returns a key as this handle sees it.
    fn value(&mut self, key: &str, manager: &SessionManager) -> Result<Option<Value>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => Ok(self.base(manager)?.value(key).cloned()),
        }
    }

    /// Takes over a record that was written or read.
    pub(crate) fn replace(&mut self, record: Arc<SessionRecord>) {
        self.record = record;
        self.base = None;
    }
}

impl Session {
    pub(crate) fn new(
        manager: SessionManager,
        record: Arc<SessionRecord>,
        challenge: Option<Reason>,
    ) -> Self {
        let state = Mutex::new(State { record, base: None, changes: Changes::new() });
        Self { inner: Arc::new(Inner { manager, challenge, state }) }
    }

    pub(crate) fn manager(&self) -> &SessionManager {
        &self.inner.manager
    }

    pub(crate) fn state(&self) -> &Mutex<State> {
        &self.inner.state
    }

    /// Returns the public id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.inner.state.lock().record.id
    }

    /// Returns the user, `None` for an anonymous session.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.inner.state.lock().record.user_id.clone()
    }

    /// Returns the record as this handle last read or wrote it.
    #[must_use]
    pub fn record(&self) -> Arc<SessionRecord> {
        Arc::clone(&self.inner.state.lock().record)
    }

    /// Returns what may be shown of the session.
    #[must_use]
    pub fn info(&self) -> SessionInfo {
        SessionInfo::new(&self.record(), self.manager().now())
    }

    /// Returns when the session ends unless it is used.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.record().expiry(self.manager().now()).deadline()
    }

    /// Returns true if the session ends within that time, so that a page can warn.
    ///
    /// Judged by what was stored when the session was opened: this request itself counts as use and moves an idle deadline.
    #[must_use]
    pub fn expires_soon(&self, within: Duration) -> bool {
        let now = self.manager().now();
        self.record().expiry(now).expires_soon(now, within)
    }

    /// Returns what a rule wants the application to make sure of, see [`Verdict::Challenge`](session_core::rules::Verdict).
    #[must_use]
    pub fn challenge(&self) -> Option<Reason> {
        self.inner.challenge
    }

    /// Returns the value of a key, with the changes of this handle.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data or the value is not what is expected.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.inner.state.lock().value(key, self.manager())?;
        value.map(typed).transpose()
    }

    /// Sets a key. Nothing is written before [`save`](Self::save).
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the value is not JSON.
    pub fn insert<T: Serialize + ?Sized>(&self, key: impl Into<String>, value: &T) -> Result<()> {
        let value = serde_json::to_value(value)
            .map_err(|source| Error::invalid("insert", "the value is not JSON").with_source(source))?;
        self.inner.state.lock().changes.insert(key.into(), Some(value));
        Ok(())
    }

    /// Removes a key and tells whether it was there.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn remove(&self, key: &str) -> Result<bool> {
        Ok(self.take_value(key)?.is_some())
    }

    /// Removes a key and returns what it was. If two requests take the same key, only one of them can save.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data or the value is not what is expected; the key stays then.
    pub fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.get(key)?;
        self.take_value(key)?;
        Ok(value)
    }

    fn take_value(&self, key: &str) -> Result<Option<Value>> {
        let mut state = self.inner.state.lock();
        let value = state.value(key, self.manager())?;
        if value.is_some() {
            state.changes.insert(key.to_owned(), None);
        }
        Ok(value)
    }

    /// Returns the data with the changes of this handle.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn data(&self) -> Result<SessionData> {
        let mut state = self.inner.state.lock();
        let mut data = state.base(self.manager())?.clone();
        for (key, value) in &state.changes {
            data.set_value(key, value.clone());
        }
        Ok(data)
    }

    /// Returns true if something was changed and not saved.
    #[must_use]
    pub fn is_modified(&self) -> bool {
        !self.inner.state.lock().changes.is_empty()
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|source| Error::corrupt("data", "get", "the value has another type").with_source(source))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        f.debug_struct("Session")
            .field("record", &state.record)
            .field("changed", &state.changes.len())
            .finish_non_exhaustive()
    }
}
