//! The handle that an application holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use session_core::rules::Reason;
use session_core::{
    DataLimits, Deadline, Error, RefreshToken, Result, SessionData, SessionId, SessionRecord, SessionToken,
    Timestamp, UserId,
};

use crate::info::SessionInfo;
use crate::manager::{Lane, SessionManager, Shared};
use crate::save::{Attempt, reserved};
use crate::tiers::Provenance;

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
pub struct Session {
    lane: Arc<Lane>,
    record: Arc<SessionRecord>,
    provenance: Provenance,
    challenge: Option<Reason>,
    /// What clones share. Made when it is needed first: most requests only look.
    state: OnceLock<Arc<Mutex<State>>>,
}

/// What the library's own keys begin with.
pub(crate) const RESERVED: &str = "session-kit.";

/// Keys that were changed and not saved yet.
pub(crate) type Changes = BTreeMap<String, Change>;

/// What a request did to a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// The key's value after the change.
    value: Option<Value>,
    /// Whether the request relies on being the one that removed the value that was there, because it [took](Session::take) it. What is
    /// put in its place changes nothing about that.
    exclusive: bool,
}

impl Change {
    /// The key's value after the change.
    pub(crate) fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive
    }
}

pub(crate) struct State {
    /// The record as this handle knows it.
    pub(crate) record: Arc<SessionRecord>,
    /// Its data, decoded when first asked for.
    base: Option<SessionData>,
    pub(crate) changes: Changes,
    /// Saves of this handle whose outcome is unknown.
    pub(crate) attempts: Vec<Attempt>,
    /// A token that its owner does not have yet.
    token: Option<SessionToken>,
    /// The refresh token that goes with it.
    refresh: Option<RefreshToken>,
}

impl State {
    /// Returns the data of the record, without changes.
    fn base(&mut self, limits: &DataLimits) -> Result<&SessionData> {
        let base = match self.base.take() {
            Some(base) => base,
            None => SessionData::decode(&self.record.data, limits)?,
        };
        Ok(self.base.insert(base))
    }

    /// Returns a key as this handle sees it.
    fn value(&mut self, key: &str, limits: &DataLimits) -> Result<Option<Value>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.value().cloned()),
            None => Ok(self.base(limits)?.value(key).cloned()),
        }
    }

    /// Notes a change of a key.
    fn change(&mut self, key: String, value: Option<Value>, takes: bool) {
        let exclusive = takes || self.changes.get(&key).is_some_and(Change::is_exclusive);
        self.changes.insert(key, Change { value, exclusive });
    }

    /// Takes over a record that was written or read.
    pub(crate) fn replace(&mut self, record: Arc<SessionRecord>) {
        self.record = record;
        self.base = None;
    }
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

    fn limits(&self) -> &DataLimits {
        &self.shared().settings.data_limits
    }

    pub(crate) fn state(&self) -> &Arc<Mutex<State>> {
        self.state.get_or_init(|| {
            let record = Arc::clone(&self.record);
            Arc::new(Mutex::new(State {
                record,
                base: None,
                changes: Changes::new(),
                attempts: Vec::new(),
                token: None,
                refresh: None,
            }))
        })
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

    /// Returns where the record came from when the session was opened, and how far it can be relied on.
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
    /// Judged by what was stored when the session was opened: this request itself counts as use and moves an idle deadline.
    #[must_use]
    pub fn expires_soon(&self, within: Duration) -> bool {
        let now = self.now();
        self.record().expiry(now).expires_soon(now, within)
    }

    /// Takes the token that replaces the presented one, if the secret was rotated: hand it to the client instead of the old one.
    ///
    /// The web integrations do that by themselves.
    #[must_use]
    pub fn take_token(&self) -> Option<SessionToken> {
        self.state.get()?.lock().token.take()
    }

    /// Takes the refresh token that replaces the one before, if the session has one and both were replaced: hand it to the client together
    /// with [the token](Self::take_token).
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
        let mut state = self.state().lock();
        state.token = Some(token);
        state.refresh = refresh;
        if record.revision > state.record.revision {
            state.replace(record);
        }
    }

    /// Returns what a rule wants the application to make sure of, see [`Verdict::Challenge`](session_core::rules::Verdict).
    #[must_use]
    pub fn challenge(&self) -> Option<Reason> {
        self.challenge
    }

    /// Returns the value of a key, with the changes of this handle.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data or the value is not what is expected.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.state().lock().value(key, self.limits())?;
        value.map(typed).transpose()
    }

    /// Sets a key. Nothing is written before [`save`](Self::save).
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the value is not JSON, or the key begins with `session-kit.`: under those the
    /// library keeps what must not be forged, like the candidate of a pending sign-in.
    pub fn insert<T: Serialize + ?Sized>(&self, key: impl Into<String>, value: &T) -> Result<()> {
        let key = key.into();
        if key.starts_with(RESERVED) {
            return Err(reserved("insert"));
        }
        let value = serde_json::to_value(value)
            .map_err(|source| Error::invalid("insert", "the value is not JSON").with_source(source))?;
        self.state().lock().change(key, Some(value), false);
        Ok(())
    }

    /// Removes a key and tells whether it was there.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn remove(&self, key: &str) -> Result<bool> {
        self.drop_key(key, false)
    }

    /// Removes a key and returns what it was, for values that may be used once.
    ///
    /// If two requests take the same key, exactly one of them can [`save`](Self::save); the other's save is a
    /// [`Conflict`](session_core::ErrorKind::Conflict) under every [`ConflictPolicy`](crate::ConflictPolicy), whatever it puts in the
    /// place of the value. So act on the value after saving.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data or the value is not what is expected; the key stays then.
    pub fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let value = self.get(key)?;
        self.drop_key(key, true)?;
        Ok(value)
    }

    fn drop_key(&self, key: &str, takes: bool) -> Result<bool> {
        let mut state = self.state().lock();
        let present = state.value(key, self.limits())?.is_some();
        if present {
            state.change(key.to_owned(), None, takes);
        }
        Ok(present)
    }

    /// Returns the data with the changes of this handle.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn data(&self) -> Result<SessionData> {
        let mut state = self.state().lock();
        let mut data = state.base(self.limits())?.clone();
        for (key, change) in &state.changes {
            data.set_value(key, change.value().cloned());
        }
        Ok(data)
    }

    /// Removes all keys that this handle sees. Nothing is written before [`save`](Self::save); keys that another request adds meanwhile
    /// stay.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored data cannot be read.
    pub fn clear(&self) -> Result<()> {
        let mut state = self.state().lock();
        let stored: Vec<_> = state.base(self.limits())?.keys().map(str::to_owned).collect();
        let keys: Vec<_> = stored.into_iter().chain(state.changes.keys().cloned()).collect();
        for key in keys.into_iter().filter(|key| !key.starts_with(RESERVED)) {
            state.change(key, None, false);
        }
        Ok(())
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

/// Removes the library's own keys from data that goes on in another session.
pub(crate) fn remove_reserved(data: &mut SessionData) {
    let own: Vec<_> = data.keys().filter(|key| key.starts_with(RESERVED)).map(str::to_owned).collect();
    own.iter().for_each(|key| data.set_value(key, None));
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
