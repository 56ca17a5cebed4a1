//! The store: 64 partitions with a lock each.

use std::array;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::process;
use std::sync::Arc;

use parking_lot::RwLock;
use session_core::{
    Capabilities, Cursor, Durability, EndScope, Ended, ListQuery, Page, Result, Revision, SessionId,
    SessionLimit, SessionRecord, SessionStore, Shard, StoreStats, Timestamp, Touch, UserId, async_trait,
    check_batch, check_touches,
};

use crate::partition::{Partition, is_purgeable};

pub(crate) const NAME: &str = "memory";

/// Enough that two threads rarely contend, few enough that visiting all of them is cheap.
const PARTITIONS: usize = 64;

/// A store that keeps sessions in this process, exactly as a database would.
///
/// Loads copy nothing: records are shared as `Arc`. All sessions of a user change under one lock,
/// so limits and revocations are atomic. Listings by user are indexed; listings by name, sweeps and
/// statistics visit every record.
///
/// The store is unbounded, see the [crate's documentation](crate).
///
/// # Examples
/// ```
/// use session_core::{
///     Actor, EndReason, EndScope, Ended, SessionId, SessionRecord, SessionStore, SystemRandom,
///     Timestamp,
/// };
/// use session_memory::MemoryStore;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let store = MemoryStore::default();
/// let now = Timestamp::from_millis(1_767_225_600_000);
/// let id = SessionId::mint(now, None, &SystemRandom)?;
/// let record = SessionRecord::new(id, now, Timestamp::from_millis(1_767_229_200_000));
/// store.create(record.into(), None).await?;
///
/// let end = Ended::new(EndReason::LoggedOut, now, Actor::System);
/// store.end(&EndScope::id(id), &end, now).await?;
/// assert!(!store.load(&[id]).await?[0].is_live(now));
/// # Ok::<(), session_core::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    /// Names this instance as the place of the sessions. No other instance of any process has the
    /// same name.
    place: Arc<str>,
    partitions: [RwLock<Partition>; PARTITIONS],
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { place: new_place(), partitions: array::from_fn(|_| RwLock::default()) }
    }
}

impl MemoryStore {
    fn partition(&self, shard: Shard) -> &RwLock<Partition> {
        &self.partitions[usize::from(shard.index()) % PARTITIONS]
    }

    fn of_user(&self, user: &UserId) -> &RwLock<Partition> {
        self.partition(user.shard())
    }

    fn of_session(&self, id: SessionId) -> &RwLock<Partition> {
        self.partition(id.shard())
    }

    fn matching(&self, query: &ListQuery) -> Vec<Arc<SessionRecord>> {
        match &query.user {
            Some(user) => self.of_user(user).read().matching(query),
            None => self.partitions.iter().flat_map(|partition| partition.read().matching(query)).collect(),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        let loads = NonZeroUsize::MIN.saturating_add(PARTITIONS - 1);
        Capabilities::new(NAME, Durability::Process)
            .with_concurrent_loads(loads)
            .with_place(Arc::clone(&self.place))
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.capabilities().check_new(&record, limit)?;
        self.of_session(record.id).write().create(record, limit)
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("load", ids.len())?;
        // The hot path has one id; only a longer batch can contain duplicates.
        if let [id] = ids {
            return Ok(self.of_session(*id).read().get(*id).cloned().into_iter().collect());
        }
        let distinct: HashSet<_> = ids.iter().copied().collect();
        Ok(distinct.into_iter().filter_map(|id| self.of_session(id).read().get(id).cloned()).collect())
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.capabilities().check_active(&record)?;
        self.of_session(record.id).write().update(&record, expected)
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        check_touches(batch)?;
        let latest = Touch::latest_of_each(batch);
        let moved = latest.iter().filter(|touch| self.of_session(touch.id).write().touch(touch, now));
        Ok(moved.count() as u64)
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        scope.check()?;
        match (scope.user(), scope) {
            (Some(user), _) => Ok(self.of_user(user).write().end(scope, ended, created_until)),
            (None, EndScope::Ids(ids)) => {
                let end = |id: &SessionId| {
                    self.of_session(*id).write().end(&EndScope::id(*id), ended, created_until)
                };
                Ok(ids.iter().flat_map(end).collect())
            }
            (None, _) => Err(session_core::Error::unsupported(NAME, "end")),
        }
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        query.check()?;
        let mut found = self.matching(query);
        found.sort_unstable_by_key(|record| Reverse(Cursor::of(record)));
        found.truncate(query.limit + 1);
        Ok(Page::cut(found.iter().map(|record| Arc::new(record.redacted())).collect(), query.limit))
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("expire", limit)?;
        let mut ended = Vec::new();
        for partition in &self.partitions {
            // Searches under the shared lock, so that a sweep blocks no reader, and ends under the
            // exclusive lock. Repeats until nothing is left, because another sweeper may have ended
            // what was found.
            loop {
                let ids = partition.read().find(limit - ended.len(), |record| record.overdue(now).is_some());
                if ids.is_empty() {
                    break;
                }
                ended.extend(partition.write().expire(&ids, now));
            }
        }
        Ok(ended)
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        check_batch("purge", limit)?;
        let mut purged = 0;
        for partition in &self.partitions {
            loop {
                let ids = partition.read().find(limit - purged, |record| is_purgeable(record, before));
                if ids.is_empty() {
                    break;
                }
                purged += partition.write().purge(&ids, before);
            }
        }
        Ok(purged as u64)
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        check_batch("erase", limit)?;
        Ok(self.of_user(user).write().erase(user, limit) as u64)
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        let records = |partition: &RwLock<Partition>| partition.read().records().cloned().collect::<Vec<_>>();
        let records: Vec<_> = self.partitions.iter().flat_map(records).collect();
        Ok(StoreStats::of(records.iter().map(|record| &**record), now))
    }
}

/// Returns a place that no other instance has, in this process or another one.
fn new_place() -> Arc<str> {
    // The keys of a hasher are random, and differ between the hashers of a process.
    let random = || RandomState::new().hash_one(process::id());
    format!("{NAME}-{:016x}{:016x}", random(), random()).into()
}
