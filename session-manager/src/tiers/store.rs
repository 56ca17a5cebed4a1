//! What reads and writes of the store of record mean for the copies.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    CacheEntry, Capabilities, Clock, EndScope, Ended, Error, ListQuery, Page, Result, Revision, Scope,
    SessionId, SessionLimit, SessionRecord, SessionStore, StoreStats, Timestamp, Touch, UserId, async_trait,
};
use session_memory::{Authority, L1, L1Settings, Moment, Ticket};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::bus_out::BusOut;
use super::ends::Ends;
use super::flights::Flights;
use super::health::{Health, is_healthy, serving};
use super::listen::Listener;
use super::metrics::Metrics;
use super::serving::Serving;
use super::settings::Tiers;
use super::shared::{SharedTier, TierSettings};
use super::spread::{Changes, SENT_AT_ONCE, Spread};
use crate::workers::Workers;

/// How long an id is remembered as unknown. A session that is created on another node under an id
/// that was asked for before, is unknown here for at most this long.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// By how much the clocks of nodes may differ, unless a manager sets another value.
const DEFAULT_SKEW: Duration = Duration::from_secs(30);

/// How long a read may take before others stop waiting for it and read by themselves.
const PATIENCE: Duration = Duration::from_secs(2);

/// A store of record with caches in front of it.
///
/// As a [`SessionStore`] it is as exact as the store of record: [`load`](SessionStore::load) reads
/// it, and every write notifies the caches of what changed. [`find`](Self::find) is the fast way:
/// it may answer from a copy, within the bounds of [`Tiers`].
///
/// The manager makes one of its store by [`with_tiers`](crate::SessionManagerBuilder::with_tiers).
/// It works without a manager, too.
///
/// A written record is kept as the caller gave it, so [`update`](SessionStore::update) with what
/// was read and changed, as the manager does: what an update cannot change (the user, the kind, the
/// beginning) is not asked for again.
///
/// # Cancellation
/// The caches receive writes even if the caller is dropped after the store of record answered.
/// If it is dropped before, or the store fails, this process's own copies of what the write
/// concerned are forgotten, because it is unknown what the store holds.
pub struct TieredStore {
    pub(super) store: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    max_skew: Duration,
    pub(super) l1: Arc<L1>,
    tiers: Tiers,
    pub(super) spread: Arc<Spread>,
    flights: Flights,
    metrics: Arc<Metrics>,
    serving: Arc<Serving>,
    started: Timestamp,
    workers: Workers,
}

impl TieredStore {
    /// Puts tiers in front of a store of record, on the current tokio runtime.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a setting out of its bounds, for shared
    /// tiers without a
    /// [scope](Tiers::with_scope), or outside of a tokio runtime.
    pub fn new(store: impl SessionStore, tiers: Tiers, clock: impl Clock) -> Result<Self> {
        Self::start(Arc::new(store), tiers, Arc::new(clock), DEFAULT_SKEW)
    }

    pub(crate) fn start(
        store: Arc<dyn SessionStore>,
        tiers: Tiers,
        clock: Arc<dyn Clock>,
        max_skew: Duration,
    ) -> Result<Self> {
        tiers.check()?;
        let scope = tiers.scope_of(&store.capabilities())?;
        let runtime = Handle::try_current()
            .map_err(|_| Error::invalid("build", "tiers are built inside of a tokio runtime"))?;
        let l1 = Arc::new(L1::new(L1Settings {
            bytes: tiers.memory_bytes,
            max_stale: tiers.max_stale,
            max_age: tiers.l1_max_age,
            unknown_for: UNKNOWN_FOR,
            max_skew,
        }));
        let workers = Workers::default();
        let serving = Arc::new(Serving::default());
        let settings = TierSettings {
            scope,
            timeout: tiers.cache_timeout,
            max_stale: tiers.max_stale,
            outbox: tiers.outbox_capacity,
        };
        let shared: Vec<_> = tiers
            .caches
            .iter()
            .map(|cache| {
                let report = Arc::clone(&serving);
                let (cache, store, clock) = (Arc::clone(cache), Arc::clone(&store), Arc::clone(&clock));
                let changed = Box::new(move || report.look());
                SharedTier::new(cache, store, settings, clock, workers.stopping(), changed)
            })
            .collect();
        serving.begin(shared.clone());
        let metrics = Arc::new(Metrics::new());
        if let Some(bus) = tiers.bus.clone() {
            let listener = Listener { bus, l1: Arc::downgrade(&l1), scope, metrics: Arc::clone(&metrics) };
            let listener = Arc::new(listener);
            workers.supervise("bus", move |stop| Arc::clone(&listener).run_until(stop));
        }
        let spread = Arc::new(Spread {
            shared,
            bus: tiers
                .bus
                .clone()
                .map(|bus| BusOut::new(bus, scope, tiers.cache_timeout, Arc::clone(&metrics))),
            limit: tiers.cache_timeout,
            runtime,
            places: Arc::new(Semaphore::new(SENT_AT_ONCE)),
        });
        let (flights, started) = (Flights::default(), clock.now());
        Ok(Self {
            store,
            clock,
            scope,
            max_skew,
            l1,
            tiers,
            spread,
            flights,
            metrics,
            serving,
            started,
            workers,
        })
    }

    /// Returns whose sessions these are, as caches and messages name them.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    pub(super) fn l1(&self) -> &L1 {
        &self.l1
    }

    pub(super) fn shared(&self) -> &[Arc<SharedTier>] {
        &self.spread.shared
    }

    pub(super) fn flights(&self) -> &Flights {
        &self.flights
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn max_skew(&self) -> Duration {
        self.max_skew
    }

    pub(crate) fn l1_max_age(&self) -> Duration {
        self.tiers.l1_max_age
    }

    pub(super) fn max_stale(&self) -> Duration {
        self.tiers.max_stale
    }

    pub(super) fn stale_if_error(&self) -> Option<Duration> {
        self.tiers.stale_if_error
    }

    /// An answer must not be older than a copy may be.
    pub(super) fn patience(&self) -> Duration {
        PATIENCE.min(self.tiers.l1_max_age)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { wall: self.clock.now(), mono: self.clock.monotonic() }
    }

    pub(super) async fn load_one(&self, id: SessionId) -> Result<Option<Arc<SessionRecord>>> {
        Ok(self.load(&[id]).await?.into_iter().find(|record| record.id == id))
    }

    /// Returns the state of all tiers.
    #[must_use]
    pub fn health(&self) -> Health {
        let tiers: Vec<_> = self.shared().iter().map(|tier| tier.health()).collect();
        let (serving, since) = serving(&tiers, self.started);
        let usage = self.l1.usage();
        Health {
            serving,
            since,
            copies: usage.sessions,
            copies_bytes: usage.bytes,
            tiers,
            bus_healthy: self.tiers.bus.as_ref().map(|bus| is_healthy(bus.health())),
            store_healthy: true,
            store_since: self.started,
        }
    }

    /// Notifies all tiers of what the store of record ended, and waits as long as a cache may take.
    pub(crate) async fn ended(&self, records: &[Arc<SessionRecord>]) {
        self.ends().notify(records).wait().await;
    }

    pub(super) fn ends(&self) -> Ends {
        Ends {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            scope: self.scope,
            counts_for: self.tiers.max_stale + self.max_skew,
            l1: Arc::clone(&self.l1),
            spread: Arc::clone(&self.spread),
        }
    }

    /// Takes note of an active record that was written.
    pub(super) fn note_write(
        &self,
        ticket: &Ticket,
        record: &Arc<SessionRecord>,
        began: Moment,
        changes: &mut Changes,
    ) {
        let (now, stale_at) = (self.moment(), self.stale_at(began));
        self.l1.wrote(ticket, record, began.wall, stale_at, now);
        let ttl = stale_at.saturating_sub(now.mono);
        changes.push(CacheEntry::of(self.scope, Arc::clone(record), began.wall), ttl);
    }

    /// A refused write shows what the store of record holds.
    pub(super) fn note_refusal(&self, id: SessionId, error: &Error) {
        if let Some(ended) = error.ended_session() {
            self.l1.end(id, ended);
        }
        if let Some(current) = error.current_revision() {
            self.l1.changed(id, current, false);
        }
    }

    fn stale_at(&self, began: Moment) -> Duration {
        began.mono.saturating_add(self.tiers.max_stale)
    }

    /// Takes note of what was read, and returns what a shared cache may keep of it.
    fn note_read(
        &self,
        tickets: &[Ticket],
        records: &[Arc<SessionRecord>],
        began: Moment,
    ) -> Vec<(CacheEntry, Duration)> {
        let (now, stale_at) = (self.moment(), self.stale_at(began));
        let ttl = stale_at.saturating_sub(now.mono);
        let records: HashMap<_, _> = records.iter().map(|record| (record.id, record)).collect();
        let mut entries = Vec::with_capacity(records.len());
        for ticket in tickets {
            let Some(&record) = records.get(&ticket.id()) else {
                self.l1.absent(ticket, now);
                continue;
            };
            match record.ended() {
                Some(ended) => self.l1.end(record.id, ended),
                None => drop(self.l1.fill(ticket, record, began.wall, stale_at, now, Authority::Store)),
            }
            entries.push((CacheEntry::of(self.scope, Arc::clone(record), began.wall), ttl));
        }
        entries
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for TieredStore {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let (evicted, notifying) = self.create_and_notify(record, limit).await?;
        notifying.wait().await;
        Ok(evicted)
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        let tickets: Vec<_> = ids.iter().map(|id| self.l1.ticket(*id)).collect();
        let began = self.moment();
        let records = self.store.load(ids).await?;
        self.spread.fill(self.note_read(&tickets, &records, began));
        Ok(records)
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        let (revision, notifying) = self.update_and_notify(record, expected).await?;
        notifying.wait().await;
        Ok(revision)
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        let moved = self.store.touch(batch, now).await?;
        batch.iter().for_each(|touch| self.l1.touched(touch, now));
        Ok(moved)
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let (records, notifying) = self.end_and_notify(scope, ended, created_until).await?;
        notifying.wait().await;
        Ok(records)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.store.list(query).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        let (records, notifying) = self.expire_and_notify(now, limit).await?;
        notifying.wait().await;
        Ok(records)
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.store.purge(before, limit).await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        self.store.erase(user, limit).await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.store.stats(now).await
    }
}

impl Drop for TieredStore {
    fn drop(&mut self) {
        self.workers.cancel();
        // The tiers and who watches them hold each other.
        self.serving.end();
    }
}

impl fmt::Debug for TieredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredStore")
            .field("store", &self.store)
            .field("tiers", &self.tiers)
            .finish_non_exhaustive()
    }
}
