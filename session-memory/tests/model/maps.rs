//! Maps that evict nothing. Each call is one step, as in the real maps.

use std::collections::BTreeMap;
use std::time::Duration;

use session_core::{Ended, Revision, SessionId};

use super::protocol::Held;
use super::sync::Mutex;

#[derive(Debug, Clone)]
pub(super) enum Mark {
    Ended(Ended),
    OutdatedBelow(Revision),
}

#[derive(Debug)]
pub(super) struct Map<V> {
    inner: Mutex<BTreeMap<SessionId, V>>,
}

pub(super) type Copies = Map<Held>;
pub(super) type Marks = Map<Mark>;
pub(super) type Unknowns = Map<Duration>;

impl<V: Clone> Map<V> {
    pub(super) fn of_bytes(_: u64) -> Self {
        Self { inner: Mutex::new(BTreeMap::new()) }
    }

    pub(super) fn of_entries(_: u32) -> Self {
        Self::of_bytes(0)
    }

    pub(super) fn get(&self, id: SessionId) -> Option<V> {
        self.inner.lock().get(&id).cloned()
    }

    pub(super) fn insert(&self, id: SessionId, value: V) {
        self.inner.lock().insert(id, value);
    }

    pub(super) fn remove(&self, id: SessionId) {
        self.inner.lock().remove(&id);
    }

    pub(super) fn len(&self) -> usize {
        self.inner.lock().len()
    }

    pub(super) fn weight(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }
}
