//! A store with one mistake. Each method makes the mistake where it applies, and otherwise behaves
//! like the reference store.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use session_core::limits::MAX_DATA;
use session_core::prelude::*;

use super::Bug;
use super::locks::Locks;
use crate::reference::{MapStore, Rows};

pub(super) const NAME: &str = "broken";

/// Separates two steps that should be one. One yield is not enough to lose every race: now and then
/// the runtime continues with the task that yielded.
pub(super) async fn let_others_run() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

pub(super) type Records = Vec<Arc<SessionRecord>>;

/// A store with one [`Bug`].
pub struct BrokenStore {
    pub(super) bug: Bug,
    pub(super) map: MapStore,
    /// Rows that some mistakes read instead of the current ones: each row before the last write, or
    /// as it was created.
    old: Mutex<Rows>,
    /// Locks that some mistakes wait for.
    pub(super) locks: Locks,
}

impl BrokenStore {
    /// Creates an empty store with this mistake.
    #[must_use]
    pub fn new(bug: Bug) -> Self {
        Self { bug, map: MapStore::default(), old: Mutex::default(), locks: Locks::default() }
    }

    pub(super) fn row(&self, id: SessionId) -> Option<Arc<SessionRecord>> {
        self.map.rows.lock().get(&id).cloned()
    }

    pub(super) fn put(&self, record: impl Into<Arc<SessionRecord>>) {
        let record = record.into();
        self.map.rows.lock().insert(record.id, record);
    }

    /// Changes one row, ended or not.
    pub(super) fn alter(&self, id: SessionId, change: impl FnOnce(&mut SessionRecord)) {
        if let Some(row) = self.map.rows.lock().get_mut(&id) {
            change(Arc::make_mut(row));
        }
    }

    /// Returns the rows that satisfy a condition, newest first.
    pub(super) fn rows_where(&self, condition: impl Fn(&SessionRecord) -> bool) -> Records {
        let mut found: Vec<_> = self.map.rows.lock().values().filter(|row| condition(row)).cloned().collect();
        found.sort_unstable_by_key(|row| std::cmp::Reverse((row.created_at, row.id)));
        found
    }

    pub(super) fn remove(&self, ids: impl IntoIterator<Item = SessionId>) {
        let mut rows = self.map.rows.lock();
        for id in ids {
            rows.remove(&id);
        }
    }

    fn before_write(&self) {
        if matches!(self.bug, Bug::LaggingIndex | Bug::LaggingReplica) {
            let now = self.map.rows.lock().clone();
            *self.old.lock() = now;
        }
    }

    fn after_create(&self, id: SessionId) {
        if matches!(
            self.bug,
            Bug::ExpireByFirstDeadline
                | Bug::StaleDeviceIndex
                | Bug::StaleNameIndex
                | Bug::TouchArrivalByFirstDeadline
        ) {
            let created = self.row(id).map(|row| (id, row));
            self.old.lock().extend(created);
        }
    }

    pub(super) fn old_row(&self, id: SessionId) -> Option<Arc<SessionRecord>> {
        self.old.lock().get(&id).cloned()
    }
}

impl fmt::Debug for BrokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("BrokenStore");
        text.field("bug", &self.bug);
        if self.bug == Bug::DebugShowsData {
            let rows = self.map.rows.lock();
            text.field(
                "data",
                &rows.values().map(|row| row.data.escape_ascii().to_string()).collect::<Vec<_>>(),
            );
        }
        text.finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for BrokenStore {
    fn capabilities(&self) -> Capabilities {
        let capabilities = self.map.capabilities();
        match self.bug {
            Bug::CapabilitiesChange => capabilities.with_max_payload(MAX_DATA + self.map.rows.lock().len()),
            _ => capabilities,
        }
    }

    async fn create(&self, record: Arc<SessionRecord>, limit: Option<&SessionLimit>) -> Result<Records> {
        self.before_write();
        let id = record.id;
        let created = self.create_wrongly(self.as_kept(record), limit).await;
        self.after_create(id);
        created
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Records> {
        self.load_wrongly(ids).await
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.before_write();
        self.update_wrongly(self.as_kept(record), expected).await
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        self.before_write();
        self.touch_wrongly(batch, now).await
    }

    async fn end(&self, scope: &EndScope, ended: &Ended, created_until: Timestamp) -> Result<Records> {
        self.before_write();
        self.end_wrongly(scope, ended, created_until).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.list_wrongly(query)
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Records> {
        self.expire_wrongly(now, limit).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.purge_wrongly(before, limit).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        self.erase_wrongly(user, limit).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.stats_wrongly(now).await
    }
}
