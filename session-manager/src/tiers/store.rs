//! What reads and writes of the store of record mean for the copies.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    CacheEntry, Capabilities, Clock, EndScope, Ended, Error, ListQuery, Page, Result, Revision, SessionId,
    SessionLimit, SessionRecord, SessionStore, StoreStats, Timestamp, Touch, UserId, async_trait,
};
use session_memory::{Authority, L1, L1Settings, Moment, Ticket};
use tokio::runtime::Handle;

use super::flights::Flights;
use super::health::{Health, is_healthy, serving};
use super::listen::Listener;
use super::metrics::Metrics;
use super::serving::Serving;
use super::settings::Tiers;
use super::shared::{SharedTier, TierSettings};
use super::spread::{Changes, Spread};
use crate::workers::Workers;

/// How long an id is remembered as unknown. A session that is created on another node under an id that was asked for before, is unknown
/// here for at most this long.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

/// How long a read may take before others stop waiting for it and read by themselves.
const PATIENCE: Duration = Duration::from_secs(2);

/// A store of record with caches in front of it.
///
/// As a [`SessionStore`] it is as exact as the store of record: [`load`](SessionStore::load) reads it, and every write tells the caches what
/// changed. [`find`](Self::find) is the fast way: it may answer from a copy, within the bounds of [`Tiers`].
///
/// The manager makes one of its store by [`with_tiers`](crate::SessionManagerBuilder::with_tiers). It works without a manager, too.
///
/// A written record is kept as the caller gave it, so [`update`](SessionStore::update) with what was read and changed, as the manager does:
/// what an update cannot change (the user, the kind, the beginning) is not asked for again.
///
/// # Cancellation
/// Writes are told to the caches even if the caller is dropped after the store of record answered. If it is dropped before, or the store
/// fails, this process's own copies of what the write concerned are forgotten, because nobody knows what the store holds.
pub struct TieredStore {
    store: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    l1: Arc<L1>,
    tiers: Tiers,
    spread: Arc<Spread>,
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
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a setting out of its bounds, or outside of a tokio runtime.
    pub fn new(store: impl SessionStore, tiers: Tiers, clock: impl Clock) -> Result<Self> {
        Self::start(Arc::new(store), tiers, Arc::new(clock))
    }

    pub(crate) fn start(store: Arc<dyn SessionStore>, tiers: Tiers, clock: Arc<dyn Clock>) -> Result<Self> {
        tiers.check()?;
        let runtime = Handle::try_current()
            .map_err(|_| Error::invalid("build", "tiers are built inside of a tokio runtime"))?;
        let l1 = Arc::new(L1::new(L1Settings {
            bytes: tiers.memory_bytes,
            max_stale: tiers.max_stale,
            max_age: tiers.l1_max_age,
            unknown_for: UNKNOWN_FOR,
        }));
        let workers = Workers::default();
        let serving = Arc::new(Serving::default());
        let settings = TierSettings {
            timeout: tiers.cache_timeout,
            max_stale: tiers.max_stale,
            outbox: tiers.outbox_capacity,
        };
        let shared: Vec<_> = tiers
            .caches
            .iter()
            .map(|cache| {
                let told = Arc::clone(&serving);
                let (cache, store, clock) = (Arc::clone(cache), Arc::clone(&store), Arc::clone(&clock));
                let changed = Box::new(move || told.look());
                SharedTier::new(cache, store, settings, clock, workers.stopping(), changed)
            })
            .collect();
        serving.begin(shared.clone());
        let metrics = Arc::new(Metrics::new());
        if let Some(bus) = tiers.bus.clone() {
            let listener = Listener { bus, l1: Arc::downgrade(&l1), metrics: Arc::clone(&metrics) };
            let listener = Arc::new(listener);
            workers.supervise("bus", move |stop| Arc::clone(&listener).run_until(stop));
        }
        let spread = Arc::new(Spread {
            shared,
            bus: tiers.bus.clone(),
            bus_timeout: tiers.cache_timeout,
            runtime,
            metrics: Arc::clone(&metrics),
        });
        let (flights, started) = (Flights::default(), clock.now());
        Ok(Self { store, clock, l1, tiers, spread, flights, metrics, serving, started, workers })
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
        }
    }

    /// Tells all tiers what the store of record ended.
    pub(crate) async fn ended(&self, records: &[Arc<SessionRecord>]) {
        let now = self.moment();
        let mut changes = Changes::default();
        for record in records {
            self.note_end(record, now.wall, &mut changes);
        }
        self.spread.tell(changes).await;
    }

    fn note_end(&self, record: &Arc<SessionRecord>, verified_at: Timestamp, changes: &mut Changes) {
        if let Some(ended) = record.ended() {
            self.l1.end(record.id, ended);
            changes.push(CacheEntry::of(Arc::clone(record), verified_at), Duration::ZERO);
        }
    }

    /// Takes note of an active record that was written.
    fn note_write(&self, ticket: &Ticket, record: &Arc<SessionRecord>, began: Moment, changes: &mut Changes) {
        let (now, stale_at) = (self.moment(), self.stale_at(began));
        self.l1.wrote(ticket, record, began.wall, stale_at, now);
        let ttl = stale_at.saturating_sub(now.mono);
        changes.push(CacheEntry::of(Arc::clone(record), began.wall), ttl);
    }

    /// A refused write says what the store of record holds.
    fn note_refusal(&self, id: SessionId, error: &Error) {
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
            entries.push((CacheEntry::of(Arc::clone(record), began.wall), ttl));
        }
        entries
    }
}

/// Forgets this process's copies of what a write concerned, unless the store of record answered it: nobody knows what it holds then.
struct Unanswered<'a> {
    l1: &'a L1,
    concerns: Concerns,
}

enum Concerns {
    /// Sessions of which nobody knows, so all of them.
    Any,
    Ids(Vec<SessionId>),
    Nothing,
}

impl<'a> Unanswered<'a> {
    fn new(l1: &'a L1, concerns: Concerns) -> Self {
        Self { l1, concerns }
    }

    /// An answer says what happened; a failure of the store does not.
    fn settle<T>(mut self, answer: Result<T>) -> Result<T> {
        match (&answer, &self.concerns) {
            (Ok(_), _) => self.concerns = Concerns::Nothing,
            (Err(error), Concerns::Any) if !error.is_transient() => self.concerns = Concerns::Nothing,
            (Err(_), _) => {}
        }
        answer
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        match &self.concerns {
            Concerns::Any => self.l1.resync(),
            Concerns::Ids(ids) => ids.iter().for_each(|id| self.l1.distrust(*id)),
            Concerns::Nothing => {}
        }
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
        let (began, ticket) = (self.moment(), self.l1.ticket(record.id));
        let own = Unanswered::new(&self.l1, Concerns::Ids(vec![record.id]));
        let others = Unanswered::new(&self.l1, limit.map_or(Concerns::Nothing, |_| Concerns::Any));
        let created = self.store.create(Arc::clone(&record), limit).await;
        let evicted = own.settle(others.settle(created))?;
        let mut changes = Changes::default();
        self.note_write(&ticket, &record, began, &mut changes);
        evicted.iter().for_each(|record| self.note_end(record, began.wall, &mut changes));
        self.spread.tell(changes).await;
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
        let (began, ticket) = (self.moment(), self.l1.ticket(record.id));
        let unanswered = Unanswered::new(&self.l1, Concerns::Ids(vec![record.id]));
        let updated = unanswered.settle(self.store.update(Arc::clone(&record), expected).await);
        let revision = updated.inspect_err(|error| self.note_refusal(record.id, error))?;
        let written = Arc::new(Arc::unwrap_or_clone(record).with_revision(revision));
        let mut changes = Changes::default();
        self.note_write(&ticket, &written, began, &mut changes);
        self.spread.tell(changes).await;
        Ok(revision)
    }

    async fn touch(&self, batch: &[Touch]) -> Result<u64> {
        let moved = self.store.touch(batch).await?;
        batch.iter().for_each(|touch| self.l1.touched(touch));
        Ok(moved)
    }

    async fn end(&self, scope: &EndScope, ended: &Ended) -> Result<Vec<Arc<SessionRecord>>> {
        let concerns = match scope {
            EndScope::Ids(ids) => Concerns::Ids(ids.clone()),
            _ => Concerns::Any,
        };
        let unanswered = Unanswered::new(&self.l1, concerns);
        let records = unanswered.settle(self.store.end(scope, ended).await)?;
        self.ended(&records).await;
        Ok(records)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        self.store.list(query).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        let unanswered = Unanswered::new(&self.l1, Concerns::Any);
        let records = unanswered.settle(self.store.expire(now, limit).await)?;
        self.ended(&records).await;
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
