//! What a request changed in a session's data and has not saved yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use session_core::{RefreshToken, Result, SaveMark, SessionData, SessionRecord, SessionToken};

use crate::data::DataCodec;

/// Keys that were changed and not saved yet.
pub(crate) type Changes = BTreeMap<String, Change>;

/// What a request did to a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// The key's value after the change.
    value: Option<Value>,
    /// The key's value before it, as the request saw it. If another one is stored when the change
    /// is written, another request changed the key.
    seen: Option<Value>,
    /// Whether the request relies on being the one that removed the value that was there, because
    /// it [took](crate::Session::take) it. What is put in its place changes nothing about that.
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

/// An attempt to save that may have been written.
#[derive(Debug, Clone)]
struct Attempt {
    mark: SaveMark,
    changes: Changes,
}

/// Most attempts that a handle remembers. The data names the latest four saves that it holds.
const MAX_ATTEMPTS: usize = 4;

/// What the clones of a handle share.
pub(crate) struct State {
    /// The record as this handle knows it.
    pub(crate) record: Arc<SessionRecord>,
    /// Its data, decoded when first asked for.
    base: Option<SessionData>,
    pub(crate) changes: Changes,
    /// Saves of this handle whose outcome is unknown.
    attempts: Vec<Attempt>,
    /// A token that its owner does not have yet.
    pub(crate) token: Option<SessionToken>,
    /// The refresh token that goes with it.
    pub(crate) refresh: Option<RefreshToken>,
}

impl State {
    pub(crate) fn new(record: Arc<SessionRecord>) -> Self {
        Self { record, base: None, changes: Changes::new(), attempts: Vec::new(), token: None, refresh: None }
    }

    /// Returns the data of the record, without changes.
    pub(crate) fn base(&mut self, codec: DataCodec) -> Result<&SessionData> {
        let base = match self.base.take() {
            Some(base) => base,
            None => codec.decode(&self.record.data)?,
        };
        Ok(self.base.insert(base))
    }

    /// Returns a key as this handle sees it.
    pub(crate) fn value(&mut self, key: &str, codec: DataCodec) -> Result<Option<Value>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.value().cloned()),
            None => Ok(self.base(codec)?.value(key).cloned()),
        }
    }

    /// Notes a change of a key.
    pub(crate) fn change(&mut self, key: String, value: Option<Value>, takes: bool, codec: DataCodec) {
        let (seen, exclusive) = match self.changes.remove(&key) {
            Some(change) => (change.seen, change.exclusive),
            // Data that cannot be read is reported when the change is saved.
            None => (self.base(codec).ok().and_then(|base| base.value(&key).cloned()), false),
        };
        self.changes.insert(key, Change { value, seen, exclusive: exclusive || takes });
    }

    /// Takes over a record that was written or read. Changes keep what they saw.
    pub(crate) fn replace(&mut self, record: Arc<SessionRecord>) {
        self.record = record;
        self.base = None;
    }

    /// Takes over what was written. A change made while it was being written stays, and has seen
    /// it.
    pub(crate) fn saved(&mut self, record: Arc<SessionRecord>, written: &Changes, codec: DataCodec) {
        self.changes.retain(|key, change| written.get(key) != Some(change));
        self.attempts.clear();
        if record.revision < self.record.revision {
            return;
        }
        self.replace(record);
        let stored = self.base(codec).cloned().unwrap_or_default();
        for (key, change) in self.changes.iter_mut().filter(|(key, _)| written.contains_key(*key)) {
            change.seen = stored.value(key).cloned();
        }
    }

    /// Whether another request changed a key since this handle read it, or wrote it.
    pub(crate) fn is_moved(&self, key: &str, change: &Change, stored: &SessionData) -> bool {
        let own = self.attempts.iter().rev().filter(|attempt| stored.holds_save(attempt.mark));
        let written = own.filter_map(|attempt| attempt.changes.get(key)).map(Change::value).next();
        written.unwrap_or(change.seen.as_ref()) != stored.value(key)
    }

    /// Notes that changes may have been written. Must happen before they can have been.
    pub(crate) fn note_attempt(&mut self, mark: SaveMark, changes: Changes) {
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt { mark, changes });
    }
}
