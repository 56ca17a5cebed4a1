//! Writing a session's changes without losing anybody else's.
//!
//! | meets | how |
//! |---|---|
//! | a save of another key | merged; within this process both are one write |
//! | a save of the same key | a conflict, equal values included; the [`ConflictPolicy`] decides |
//! | its own repetition after a lost reply | no conflict: the stored data names the saves that it holds |
//! | an end | fails as `Ended`; nothing is written |
//! | a sign-in that takes the session's place | fails as `Ended` once the sign-in has read the data; before that it is carried over |

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use session_core::{Error, Result, SaveMark, SessionData, SessionRecord, Timestamp};

use crate::changes::{Change, Changes, State};
use crate::data::{DataCodec, check_key};
use crate::replace::Superseding;
use crate::session::{Session, typed};
use crate::settings::ConflictPolicy;

impl Session {
    /// Writes the changes of this handle. Does nothing, without any I/O, if there are none.
    ///
    /// If the session was changed meanwhile, it is read again, this handle's keys are put on top,
    /// and that is written: requests that change different keys never lose anything, however many
    /// save at once. If a key was changed by another request since this handle read it, to whatever
    /// value, the [`ConflictPolicy`] decides: two requests that both read 1 and write 2 have lost
    /// one. For values that are computed from what is stored use [`update`](Self::update).
    ///
    /// # Errors
    /// [`Conflict`](session_core::ErrorKind::Conflict) under [`ConflictPolicy::Fail`], or if
    /// writers of other processes came first until the deadline;
    /// [`Ended`](session_core::ErrorKind::Ended) if the session was ended, or is just being
    /// replaced by a sign-in: the changes are lost with it;
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the data is too large, too deep or too
    /// much; [`Unavailable`](session_core::ErrorKind::Unavailable) and
    /// [`Timeout`](session_core::ErrorKind::Timeout) when the store failed. After an error the
    /// changes are still here, and saving again is safe even if the first attempt was written after
    /// all.
    ///
    /// # Cancellation
    /// The old data or the new data is stored, whole.
    #[tracing::instrument(name = "session_save", level = "debug", skip_all)]
    pub async fn save(&self) -> Result<()> {
        if !self.is_modified() {
            return Ok(());
        }
        self.write(None).await
    }

    /// Computes a key's value from the stored one and writes it, with all other changes of this
    /// handle.
    ///
    /// `change` gets the value as it is stored when it is written (with a change of this handle
    /// that is not saved yet, that one), and runs again if another request came first. So of a
    /// thousand requests that add one, none is lost.
    ///
    /// # Examples
    /// ```
    /// # use session_manager::{NewSession, SessionManager};
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let manager = SessionManager::builder(session_memory::MemoryStore::default()).build()?;
    /// # let session = manager.create(NewSession::anonymous()).await?.session;
    /// let visits = session.update("visits", |visits: Option<u32>| visits.unwrap_or_default() + 1).await?;
    /// assert_eq!(visits, 1);
    /// # Ok::<(), session_core::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`save`](Self::save); [`Corrupt`](session_core::ErrorKind::Corrupt) if the stored value
    /// is of another type. If the store failed, the value may have been written: read it before you
    /// call again.
    ///
    /// # Cancellation
    /// The old data or the new data is stored, whole.
    pub async fn update<T>(
        &self,
        key: impl Into<String>,
        mut change: impl FnMut(Option<T>) -> T + Send + 'static,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let key = key.into();
        check_key("update", &key)?;
        let compute = move |value: Option<Value>| {
            let value = value.map(typed).transpose()?;
            serde_json::to_value(change(value))
                .map_err(|source| Error::invalid("update", "the value is not JSON").with_source(source))
        };
        let computed = Arc::new(Mutex::new(None));
        self.write(Some(Computed { key, compute: Box::new(compute), result: Arc::clone(&computed) })).await?;
        let value = computed.lock().take().ok_or_else(|| Error::other("manager", "update", "no value"))?;
        typed(value)
    }

    async fn write(&self, computed: Option<Computed>) -> Result<()> {
        let shared = self.shared();
        let state = Arc::clone(self.state());
        let (start, changes) = {
            let state = state.lock();
            (Arc::clone(&state.record), state.changes.clone())
        };
        check_size(&changes, shared.settings.codec())?;
        let mut merge = Merge {
            changes: changes.clone(),
            computed,
            codec: shared.settings.codec(),
            policy: shared.settings.conflict,
            state,
        };
        let (clock, lasts) = (Arc::clone(&shared.clock), Superseding::lasts(&shared.settings));
        let change = move |current: &SessionRecord, mark| merge.onto(current, mark, clock.now(), lasts);
        let mut operation = shared.backend.operation();
        let saved = shared.modify_marked(&mut operation, start, Box::new(change)).await?;
        self.state().lock().saved(saved, &changes, shared.settings.codec());
        Ok(())
    }
}

/// Refuses values that can never be saved, before anybody is asked.
fn check_size(changes: &Changes, codec: DataCodec) -> Result<()> {
    let set = changes.iter().filter_map(|(key, change)| Some((key.clone(), change.value()?.clone())));
    codec.encode(&set.collect()).map(drop)
}

/// A key whose value is computed from the stored one.
struct Computed {
    key: String,
    compute: Box<dyn FnMut(Option<Value>) -> Result<Value> + Send>,
    /// What was computed last.
    result: Arc<Mutex<Option<Value>>>,
}

/// A three-way merge: what the changes were made on, the changes, and the data as it is stored now.
struct Merge {
    changes: Changes,
    computed: Option<Computed>,
    codec: DataCodec,
    policy: ConflictPolicy,
    /// What the handle knows. A clone of it may save at the same time.
    state: Arc<Mutex<State>>,
}

impl Merge {
    /// Puts the changes onto a record. `None` if it holds them already.
    fn onto(
        &mut self,
        current: &SessionRecord,
        mark: SaveMark,
        now: Timestamp,
        lasts: Duration,
    ) -> Result<Option<SessionRecord>> {
        let stored = self.codec.decode(&current.data)?;
        Superseding::check(&stored, now, lasts, "save")?;
        let changes = self.resolve(&stored, current)?;
        let mut merged = stored.clone();
        Superseding::remove(&mut merged);
        for (key, change) in &changes {
            merged.set_value(key, change.value().cloned());
        }
        self.compute(&mut merged)?;
        if merged == stored {
            return Ok(None);
        }
        if !merged.holds_save(mark) {
            merged.note_save(mark);
        }
        let mut next = current.clone();
        next.data = self.codec.encode(&merged)?;
        // Not before the change is known to be in the write: one that is refused was not written.
        self.state.lock().note_attempt(mark, changes);
        Ok(Some(next))
    }

    fn compute(&mut self, merged: &mut SessionData) -> Result<()> {
        let Some(computed) = &mut self.computed else { return Ok(()) };
        let value = (computed.compute)(merged.value(&computed.key).cloned())?;
        *computed.result.lock() = Some(value.clone());
        merged.set_value(&computed.key, Some(value));
        Ok(())
    }

    /// What of the changes is to be written. A key that moved since this handle read it, or wrote
    /// it, is contested.
    fn resolve(&mut self, stored: &SessionData, current: &SessionRecord) -> Result<Changes> {
        let state = self.state.lock();
        // What a clone of the handle saved meanwhile is written.
        self.changes.retain(|key, _| state.changes.contains_key(key));
        let is_lost = |(key, change): (&String, &Change)| {
            let matters = change.is_exclusive() || self.policy == ConflictPolicy::Fail;
            matters && state.is_moved(key, change, stored)
        };
        if self.changes.iter().any(is_lost) {
            let error = Error::conflict("manager", "save", current.revision);
            return Err(error.with_detail("another request changed the same key"));
        }
        let mut changes = self.changes.clone();
        if self.policy == ConflictPolicy::Theirs {
            changes.retain(|key, change| !state.is_moved(key, change, stored));
        }
        Ok(changes)
    }
}
