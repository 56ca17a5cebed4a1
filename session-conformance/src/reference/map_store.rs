use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use session_core::prelude::*;
use session_core::{Actor, Cursor, EndReason, SecureRandom, SystemRandom};

const NAME: &str = "map";

/// All rows of the store.
pub(crate) type Rows = BTreeMap<SessionId, Arc<SessionRecord>>;

/// A store in a map behind one lock: every method is a critical section, so all atomicity
/// guarantees hold by construction.
///
/// It is exact, and as slow as a full scan for every query that is not by id. Use it to learn the
/// contract and to test against it; applications use `session-memory`.
///
/// # Examples
/// ```
/// use session_conformance::reference::MapStore;
/// use session_core::{SessionStore, Timestamp};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = MapStore::default();
/// assert_eq!(store.stats(Timestamp::from_millis(0)).await?.live, 0);
/// # Ok::<(), session_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MapStore {
    /// The place of the sessions: this map, unique across all processes.
    place: Arc<str>,
    pub(crate) rows: Mutex<Rows>,
}

impl Default for MapStore {
    fn default() -> Self {
        let mut number = [0; 16];
        SystemRandom.fill(&mut number).expect("random bytes");
        let place = format!("{NAME}-{:032x}", u128::from_ne_bytes(number)).into();
        Self { place, rows: Mutex::default() }
    }
}

#[async_trait]
impl SessionStore for MapStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(NAME, Durability::Process).with_place(Arc::clone(&self.place))
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.capabilities().check_new(&record, limit)?;
        let mut rows = self.rows.lock();
        if rows.contains_key(&record.id) {
            return Err(Error::already_exists(NAME, "create"));
        }
        let ended = match limit {
            Some(limit) => make_room(&mut rows, &record, limit)?,
            None => Vec::new(),
        };
        rows.insert(record.id, record);
        Ok(ended)
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("load", ids.len())?;
        let ids: BTreeSet<_> = ids.iter().collect();
        let rows = self.rows.lock();
        Ok(ids.into_iter().filter_map(|id| rows.get(id)).cloned().collect())
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.capabilities().check_active(&record)?;
        let mut rows = self.rows.lock();
        let row = rows.get_mut(&record.id).ok_or_else(|| Error::not_found(NAME, "update"))?;
        if let Some(ended) = row.ended() {
            return Err(Error::ended(NAME, "update", ended.clone()));
        }
        if row.revision != expected {
            return Err(Error::conflict(NAME, "update", row.revision));
        }
        *row = Arc::new(row.updated_by(&record));
        Ok(row.revision)
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        check_touches(batch)?;
        let mut rows = self.rows.lock();
        let mut moved = 0;
        for touch in Touch::latest_of_each(batch) {
            if let Some(row) = rows.get_mut(&touch.id) {
                moved += u64::from(Arc::make_mut(row).touch(touch, now));
            }
        }
        Ok(moved)
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        scope.check()?;
        let mut rows = self.rows.lock();
        let is_in_scope = |row: &SessionRecord| scope.contains(row) && row.created_at <= created_until;
        let claimed = rows.values_mut().filter(|row| row.ended().is_none() && is_in_scope(row));
        Ok(claimed.map(|row| end_row(row, ended.clone())).collect())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        query.check()?;
        let rows = self.rows.lock();
        let mut found: Vec<_> = rows.values().filter(|row| query.matches(row)).collect();
        found.sort_unstable_by_key(|row| std::cmp::Reverse(Cursor::of(row)));
        // One record more than the page shows whether there is a next page.
        let found = found.into_iter().take(query.limit + 1).map(|row| Arc::new(row.redacted()));
        Ok(Page::cut(found.collect(), query.limit))
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("expire", limit)?;
        let mut rows = self.rows.lock();
        Ok(rows.values_mut().filter_map(|row| expire_row(row, now)).take(limit).collect())
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        check_batch("purge", limit)?;
        let mut rows = self.rows.lock();
        let is_due = |row: &SessionRecord| row.ended().is_some_and(|ended| ended.at < before);
        let purged: Vec<_> = rows.values().filter(|row| is_due(row)).map(|row| row.id).take(limit).collect();
        rows.retain(|id, _| !purged.contains(id));
        Ok(purged.len() as u64)
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        check_batch("erase", limit)?;
        let mut rows = self.rows.lock();
        let is_ended =
            |row: &&mut Arc<SessionRecord>| row.user_id.as_ref() == Some(user) && row.ended().is_some();
        let erased = rows.values_mut().filter(is_ended).take(limit);
        let erase = |row: &mut Arc<SessionRecord>| *row = Arc::new(SessionRecord::clone(row).into_erased());
        Ok(erased.map(erase).count() as u64)
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        Ok(StoreStats::of(self.rows.lock().values().map(|row| &**row), now))
    }
}

/// Ends the surplus sessions so that the new session fits.
fn make_room(rows: &mut Rows, new: &SessionRecord, limit: &SessionLimit) -> Result<Vec<Arc<SessionRecord>>> {
    let counted = rows.values().filter(|row| limit.counts(row, new)).cloned().collect();
    let surplus: BTreeSet<_> = limit.evict(NAME, new, counted)?.iter().map(|row| row.id).collect();
    let ended = Ended::new(EndReason::LimitEvicted, limit.now, Actor::System);
    let claimed = rows.values_mut().filter(|row| surplus.contains(&row.id));
    Ok(claimed.map(|row| end_row(row, ended.clone())).collect())
}

/// Ends one active row and returns it as it is now stored.
pub(crate) fn end_row(row: &mut Arc<SessionRecord>, ended: Ended) -> Arc<SessionRecord> {
    *row = Arc::new(SessionRecord::clone(row).into_ended(ended));
    Arc::clone(row)
}

/// Ends one active row if it is past a deadline, with the reason and the time of that deadline.
fn expire_row(row: &mut Arc<SessionRecord>, now: Timestamp) -> Option<Arc<SessionRecord>> {
    row.overdue(now).map(|ended| end_row(row, ended))
}
