//! Writing a session's changes without losing anybody else's.

use std::sync::Arc;

use session_core::{DataLimits, Error, Result, Revision, SessionData, SessionRecord};

use crate::session::{Change, Changes, Session};
use crate::settings::ConflictPolicy;

impl Session {
    /// Writes the changes of this handle. Does nothing, and asks nobody, if there are none.
    ///
    /// If the session was changed meanwhile, it is read again, this handle's keys are put on top, and that is written: requests that
    /// change different keys never lose anything. If both changed the *same* key to different values, the
    /// [`ConflictPolicy`] decides.
    ///
    /// # Errors
    /// [`Conflict`](session_core::ErrorKind::Conflict) under [`ConflictPolicy::Fail`], or if other writers came first four times;
    /// [`Ended`](session_core::ErrorKind::Ended) if the session was ended: it stays ended, and the changes are lost with it;
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the data is too large, too deep or too much;
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) and [`Timeout`](session_core::ErrorKind::Timeout) when the store failed.
    /// After an error the changes are still here, and saving again is safe even if the first attempt was written after all (a
    /// [taken](Self::take) key is then a conflict, because nobody can tell who took it).
    ///
    /// # Cancellation
    /// The old data or the new data is stored, whole.
    #[tracing::instrument(name = "session_save", level = "debug", skip_all)]
    pub async fn save(&self) -> Result<()> {
        let (start, changes) = {
            let state = self.state().lock();
            (Arc::clone(&state.record), state.changes.clone())
        };
        if changes.is_empty() {
            return Ok(());
        }
        let settings = &self.shared().settings;
        let mut merge = Merge::new(&start, changes.clone(), settings.data_limits, settings.conflict)?;
        let mut operation = self.shared().backend.operation();
        let saved = operation.modify(start, |current| merge.onto(current)).await?;
        self.saved(saved, &changes);
        Ok(())
    }

    /// Takes over what was written. A change made while it was being written stays.
    fn saved(&self, record: Arc<SessionRecord>, written: &Changes) {
        let mut state = self.state().lock();
        state.changes.retain(|key, value| written.get(key) != Some(value));
        if record.revision >= state.record.revision {
            state.replace(record);
        }
    }
}

/// A three-way merge: the data that the changes were made on, the changes, and the data as it is stored now.
struct Merge {
    base: SessionData,
    /// Of which revision `base` is the data.
    revision: Revision,
    changes: Changes,
    limits: DataLimits,
    policy: ConflictPolicy,
}

impl Merge {
    fn new(
        start: &SessionRecord,
        changes: Changes,
        limits: DataLimits,
        policy: ConflictPolicy,
    ) -> Result<Self> {
        Ok(Self {
            base: SessionData::decode(&start.data, &limits)?,
            revision: start.revision,
            changes,
            limits,
            policy,
        })
    }

    /// Puts the changes onto a record. `None` if it holds them already.
    fn onto(&mut self, current: &SessionRecord) -> Result<Option<SessionRecord>> {
        let stored = match current.revision == self.revision {
            true => self.base.clone(),
            false => SessionData::decode(&current.data, &self.limits)?,
        };
        self.resolve(&stored, current)?;
        let mut merged = stored.clone();
        for (key, change) in &self.changes {
            merged.set_value(key, change.value().cloned());
        }
        self.base = stored;
        self.revision = current.revision;
        if merged == self.base {
            return Ok(None);
        }
        let mut next = current.clone();
        next.data = merged.encode(&self.limits)?.into();
        Ok(Some(next))
    }

    /// Applies the policy to keys that both sides changed differently.
    fn resolve(&mut self, stored: &SessionData, current: &SessionRecord) -> Result<()> {
        let Self { base, changes, policy, .. } = self;
        let moved = |key: &str| base.value(key) != stored.value(key);
        let contested = |key: &str, mine: &Change| moved(key) && stored.value(key) != mine.value();
        let lost = |key: &str, mine: &Change| match mine {
            Change::Take => moved(key),
            Change::Set(_) | Change::Remove => *policy == ConflictPolicy::Fail && contested(key, mine),
        };
        if changes.iter().any(|(key, mine)| lost(key, mine)) {
            let error = Error::conflict("manager", "save", current.revision);
            return Err(error.with_detail("another request changed the same key"));
        }
        if *policy == ConflictPolicy::Theirs {
            changes.retain(|key, mine| !contested(key, mine));
        }
        Ok(())
    }
}
