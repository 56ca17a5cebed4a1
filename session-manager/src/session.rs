//! The handle that an application holds.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use session_core::rules::Reason;
use session_core::{
    Deadline, Error, RefreshToken, Result, SessionData, SessionId, SessionRecord, SessionToken, Timestamp,
    UserId,
};

use crate::changes::{Change, State};
use crate::data::{DataCodec, check_key, is_reserved};
use crate::info::SessionInfo;
use crate::manager::{Lane, SessionManager, Shared};
use crate::tiers::Provenance;

/// A live session: who it belongs to, its data, and the changes of this request.
///
/// Cheap to clone; clones share their changes. Reading and changing data never waits: changes stay
/// here until [`save`](Self::save), which writes only if something changed.
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
pub struct Session {
    lane: Arc<Lane>,
    record: Arc<SessionRecord>,
    provenance: Provenance,
    challenge: Option<Reason>,
    /// What clones share. Made when it is needed first: most requests only look.
    state: OnceLock<Arc<Mutex<State>>>,
}

impl Session {
    #[inline]
    pub(crate) fn new(
        manager: &SessionManager,
        record: Arc<SessionRecord>,
        provenance: Provenance,
        challenge: Option<Reason>,
    ) -> Self {
        Self { lane: manager.lane(), record, provenance, challenge, state: OnceLock::new() }
    }

    /// A session that the store of record has just answered for.
    pub(crate) fn written(manager: &SessionManager, record: Arc<SessionRecord>) -> Self {
        Self::new(manager, record, Provenance::store(manager.now()), None)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.lane.core.shared
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared().clock.now()
    }

    fn codec(&self) -> DataCodec {
        self.shared().settings.codec()
    }

    pub(crate) fn state(&self) -> &Arc<Mutex<State>> {
        self.state.get_or_init(|| Arc::new(Mutex::new(State::new(Arc::clone(&self.record)))))
    }

    /// Returns the public id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.record.id
    }

    /// Returns the user, `None` for an anonymous session.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.record.user_id.clone()
    }

    /// Returns the record as this handle last read or wrote it.
    #[must_use]
    pub fn record(&self) -> Arc<SessionRecord> {
        match self.state.get() {
            Some(state) => Arc::clone(&state.lock().record),
            None => Arc::clone(&self.record),
        }
    }

    /// Returns where the record came from when the session was opened, and how far it can be relied
    /// on.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// Returns what may be shown of the session.
    #[must_use]
    pub fn info(&self) -> SessionInfo {
        self.shared().info(&self.record(), self.now())
    }

    /// Returns when the session ends unless it is used.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.record().expiry(self.now()).deadline()
    }

    /// Returns true if the session ends within that time, so that a page can warn.
    ///
    /// Judged by what was stored when the session was opened: this request itself counts as use and
    /// moves an idle deadline.
    #[must_use]
    pub fn expires_soon(&self, within: Duration) -> bool {
        let now = self.now();
        self.record().expiry(now).expires_soon(now, within)
    }

    /// Takes the token that replaces the presented one, if the secret was rotated: hand it to the
    /// client instead of the old one.
    ///
    /// The web integrations do that by themselves.
    #[must_use]
    pub fn take_token(&self) -> Option<SessionToken> {
        self.state.get()?.lock().token.take()
    }

    /// Takes the refresh token that replaces the one before, if the session has one and both were
    /// replaced: hand it to the client together with [the token](Self::take_token).
    #[must_use]
    pub fn take_refresh_token(&self) -> Option<RefreshToken> {
        self.state.get()?.lock().refresh.take()
    }

    pub(crate) fn hand_out(&self, token: SessionToken) {
        self.state().lock().token = Some(token);
    }

    /// Takes over a record with new secrets.
    pub(crate) fn renewed(
        &self,
        record: Arc<SessionRecord>,
        token: SessionToken,
        refresh: Option<RefreshToken>,
    ) {
        {
            let mut state = self.state().lock();
            state.token = Some(token);
            state.refresh = refresh;
        }
        self.changed(record);
    }

    /// Takes over a changed record.
    pub(crate) fn changed(&self, record: Arc<SessionRecord>) {
        let mut state = self.state().lock();
        if record.revision > state.record.revision {
            state.replace(record);
        }
    }

    /// Returns what a rule wants the application to make sure of, see
    /// [`Verdict::Challenge`](session_core::rules::Verdict).
    #[must_use]
    pub fn challenge(&self) -> Option<Reason> {
        self.challenge
    }

    /// Returns the value of a key, with the changes of this handle.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data or the value is not what is
    /// expected.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.state().lock().value(key, self.codec())?;
        value.map(typed).transpose()
    }

    /// Sets a key. Nothing is written before [`save`](Self::save).
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the value is not JSON, or the key begins
    /// with `session-kit.`: under those the library keeps what must not be forged, like the
    /// candidate of a pending sign-in.
    pub fn insert<T: Serialize + ?Sized>(&self, key: impl Into<String>, value: &T) -> Result<()> {
        let key = key.into();
        check_key("insert", &key)?;
        let value = serde_json::to_value(value)
            .map_err(|source| Error::invalid("insert", "the value is not JSON").with_source(source))?;
        self.state().lock().change(key, Some(value), false, self.codec());
        Ok(())
    }

    /// Removes a key. Returns true if it was there.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn remove(&self, key: &str) -> Result<bool> {
        self.drop_key(key, false)
    }

    /// Removes a key and returns what it was, for values that may be used once.
    ///
    /// If two requests take the same key, exactly one of them can [`save`](Self::save); the other's
    /// save is a [`Conflict`](session_core::ErrorKind::Conflict) under every
    /// [`ConflictPolicy`](crate::ConflictPolicy), whatever it puts in the place of the value. So
    /// act on the value after saving.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data or the value is not what is
    /// expected; the key stays then.
    pub fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.get(key)?;
        self.drop_key(key, true)?;
        Ok(value)
    }

    fn drop_key(&self, key: &str, takes: bool) -> Result<bool> {
        let mut state = self.state().lock();
        let present = state.value(key, self.codec())?.is_some();
        if present {
            state.change(key.to_owned(), None, takes, self.codec());
        }
        Ok(present)
    }

    /// Returns the data with the changes of this handle.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn data(&self) -> Result<SessionData> {
        let mut state = self.state().lock();
        let mut data = state.base(self.codec())?.clone();
        for (key, change) in &state.changes {
            data.set_value(key, change.value().cloned());
        }
        Ok(data)
    }

    /// Removes all keys that this handle sees. Nothing is written before [`save`](Self::save); keys
    /// that another request adds meanwhile stay.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn clear(&self) -> Result<()> {
        let mut state = self.state().lock();
        let stored: Vec<_> = state.base(self.codec())?.keys().map(str::to_owned).collect();
        let keys: Vec<_> = stored.into_iter().chain(state.changes.keys().cloned()).collect();
        for key in keys.into_iter().filter(|key| !is_reserved(key)) {
            state.change(key, None, false, self.codec());
        }
        Ok(())
    }

    /// Refuses to go on if this handle took a key that another request has changed since.
    pub(crate) fn check_taken(&self, stored: &SessionData, current: &SessionRecord) -> Result<()> {
        let Some(state) = self.state.get().map(|state| state.lock()) else { return Ok(()) };
        let is_lost =
            |(key, change): (&String, &Change)| change.is_exclusive() && state.is_moved(key, change, stored);
        if !state.changes.iter().any(is_lost) {
            return Ok(());
        }
        let error = Error::conflict("manager", "create", current.revision);
        Err(error.with_detail("another request took the same key"))
    }

    /// Puts the changes of this handle onto other data.
    pub(crate) fn onto(&self, mut data: SessionData) -> SessionData {
        if let Some(state) = self.state.get() {
            for (key, change) in &state.lock().changes {
                data.set_value(key, change.value().cloned());
            }
        }
        data
    }

    /// Returns true if something was changed and not saved.
    #[must_use]
    pub fn is_modified(&self) -> bool {
        self.state.get().is_some_and(|state| !state.lock().changes.is_empty())
    }
}

pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T> {
    // The source would show the value.
    serde_json::from_value(value).map_err(|_| Error::corrupt("data", "get", "the value has another type"))
}

impl Clone for Session {
    fn clone(&self) -> Self {
        Self {
            lane: Arc::clone(&self.lane),
            record: Arc::clone(&self.record),
            provenance: self.provenance,
            challenge: self.challenge,
            state: OnceLock::from(Arc::clone(self.state())),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("record", &self.record())
            .field("provenance", &self.provenance)
            .field("modified", &self.is_modified())
            .finish_non_exhaustive()
    }
}
