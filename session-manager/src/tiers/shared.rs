//! One shared cache, and whether it can be asked.
//!
//! A tier is **serving**, or it is **catching up**: not read, and not written either, because it
//! failed or missed something. What it misses goes into its outbox. One task per tier that is
//! catching up tries it, sends it what it missed, and lets it serve again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use session_core::{
    CacheEntry, CacheHit, Clock, Error, ErrorKind, Result, Scope, SessionCache, SessionId, SessionStore,
    Timestamp,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::breaker::{Breaker, trial_delay};
use super::health::TierHealth;
use super::metrics::TierMetrics;
use super::outbox::{Missed, Missing, Outbox};

/// How many sessions are sent to a tier at the same time.
const AT_ONCE: usize = 32;

/// How many batches of records that were read may be on their way to a tier.
const FILLS_AT_ONCE: usize = 64;

/// How many sessions of the outbox are sent between two looks at it.
const SENT_AT_ONCE: usize = 256;

/// After which part of the time limit a call that is dropped counts as failed: a fifth.
const IMPATIENCE: u32 = 5;

/// The time limit for loading what a tier has to receive from the store of record.
const RELOAD_LIMIT: Duration = Duration::from_secs(2);

/// Settings of every shared tier.
#[derive(Debug, Clone, Copy)]
pub(super) struct TierSettings {
    pub(super) scope: Scope,
    pub(super) timeout: Duration,
    pub(super) max_stale: Duration,
    pub(super) outbox: usize,
}

impl TierSettings {
    /// Tombstones outlive every read that may still be under way.
    const fn tombstone_ttl(&self) -> Duration {
        self.max_stale.saturating_mul(4)
    }
}

pub(super) struct SharedTier {
    cache: Arc<dyn SessionCache>,
    /// The store of record, for the current state of sessions whose change a tier missed.
    store: Arc<dyn SessionStore>,
    settings: TierSettings,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    stop: CancellationToken,
    /// How many batches of records are kept at the same time; others are not kept.
    fills: Arc<Semaphore>,
    metrics: TierMetrics,
    serving: AtomicBool,
    state: Mutex<State>,
    /// Notifying whenever the tier begins or ends to serve.
    changed: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    outbox: Outbox,
    /// Until when it is not believed, because it missed more than was remembered.
    distrusted_until: Option<Instant>,
    since: Timestamp,
}

impl SharedTier {
    pub(super) fn new(
        cache: Arc<dyn SessionCache>,
        store: Arc<dyn SessionStore>,
        settings: TierSettings,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
        changed: Box<dyn Fn() + Send + Sync>,
    ) -> Arc<Self> {
        let state = State {
            breaker: Breaker::default(),
            outbox: Outbox::new(settings.outbox, settings.max_stale),
            distrusted_until: None,
            since: clock.now(),
        };
        let metrics = TierMetrics::new(cache.name());
        metrics.serving.set(1.0);
        Arc::new(Self {
            cache,
            store,
            settings,
            clock,
            runtime: Handle::current(),
            stop,
            fills: Arc::new(Semaphore::new(FILLS_AT_ONCE)),
            metrics,
            serving: AtomicBool::new(true),
            state: Mutex::new(state),
            changed,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        self.cache.name()
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    pub(super) fn health(&self) -> TierHealth {
        let state = self.state.lock();
        TierHealth {
            name: self.name(),
            healthy: self.is_serving(),
            since: state.since,
            outbox: state.outbox.len(),
        }
    }

    /// Asks for a session. A failure is a miss.
    pub(super) async fn get(self: &Arc<Self>, id: SessionId) -> Option<CacheHit> {
        let scope = self.settings.scope;
        let call = Call::begin(self);
        let found = self.call("get", self.cache.get(scope, id)).await;
        call.settle(found.as_ref().err());
        let hit = match found {
            Ok(hit) => hit.filter(|hit| hit.entry.id == id && hit.entry.scope == scope),
            Err(_) => {
                self.metrics.failed.increment(1);
                return None;
            }
        };
        if hit.is_some() { &self.metrics.hits } else { &self.metrics.misses }.increment(1);
        hit
    }

    /// A place for records that were read, if there is one.
    pub(super) fn place_to_fill(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.fills).try_acquire_owned().ok()
    }

    /// Keeps a record that was read from the store of record. A failure costs nothing but the next
    /// read.
    pub(super) async fn fill(&self, entry: CacheEntry, ttl: Duration) {
        if self.is_serving() {
            let _ = self.put(&entry, ttl).await;
        }
    }

    /// Notifies the tier of changes: now, or when it is reachable again.
    pub(super) async fn notify(self: &Arc<Self>, changes: &[(CacheEntry, Duration)]) {
        let notifying: Vec<_> = changes.iter().map(|(entry, ttl)| self.notify_one(entry, *ttl)).collect();
        stream::iter(notifying).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// Remembers what the tier has to receive, because it cannot receive it now.
    pub(super) fn miss_all(self: &Arc<Self>, changes: &[(CacheEntry, Duration)]) {
        for (entry, _) in changes {
            self.miss(entry.id, missing_in(entry));
        }
    }

    async fn notify_one(self: &Arc<Self>, entry: &CacheEntry, ttl: Duration) {
        if self.is_serving() {
            let call = Call::begin(self);
            let sent = self.put(entry, ttl).await;
            call.settle(sent.as_ref().err());
            if sent.is_ok() {
                return;
            }
        }
        self.miss(entry.id, missing_in(entry));
    }

    async fn put(&self, entry: &CacheEntry, ttl: Duration) -> Result<()> {
        let ttl = if entry.is_tombstone() { self.settings.tombstone_ttl() } else { ttl };
        self.call("put", self.cache.put_if_newer(entry.clone(), ttl)).await.map(drop)
    }

    async fn call<T>(&self, what: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let late = || Error::timeout(self.name(), what);
        timeout(self.settings.timeout, call).await.unwrap_or_else(|_| Err(late()))
    }

    /// Takes note of a call, and stops asking the tier if too many failed.
    fn judge(self: &Arc<Self>, error: Option<&Error>) {
        // What cannot be understood is one entry's fault.
        let failed = error.is_some_and(|error| error.kind() != ErrorKind::Corrupt);
        let mut state = self.state.lock();
        if state.breaker.record(failed) && self.is_serving() {
            self.stop_serving(&mut state);
        }
    }

    fn miss(self: &Arc<Self>, id: SessionId, missing: Missing) {
        let mut state = self.state.lock();
        if !state.outbox.push(id, missing) {
            state.distrusted_until = Some(Instant::now() + self.settings.max_stale);
            self.metrics.overflows.increment(1);
            tracing::warn!(tier = self.name(), "session cache missed more than can be remembered");
        }
        self.metrics.outbox.set(state.outbox.len() as f64);
        if self.is_serving() {
            self.stop_serving(&mut state);
        }
    }

    fn stop_serving(self: &Arc<Self>, state: &mut State) {
        self.serving.store(false, Ordering::Release);
        self.metrics.serving.set(0.0);
        state.since = self.clock.now();
        let tier = Arc::clone(self);
        let stop = self.stop.clone();
        self.runtime.spawn(async move { stop.run_until_cancelled(tier.catch_up()).await });
    }

    /// Tries the tier until it answers and has received everything that it missed.
    async fn catch_up(self: Arc<Self>) {
        (self.changed)();
        let mut failed = 0;
        loop {
            sleep_until(self.next_trial(failed)).await;
            match self.send_missed().await {
                Ok(()) if self.serve_again() => break,
                Ok(()) => failed = 0,
                Err(_) => failed += 1,
            }
        }
        (self.changed)();
    }

    fn next_trial(&self, failed: u32) -> Instant {
        let trial = Instant::now() + trial_delay(failed);
        self.state.lock().distrusted_until.map_or(trial, |until| until.max(trial))
    }

    /// The trial: one question, and then everything that waits. Stops at the first failure.
    async fn send_missed(&self) -> Result<()> {
        self.call(
            "get",
            self.cache.get(self.settings.scope, SessionId::derive("session-kit", b"trial", None)),
        )
        .await?;
        loop {
            let (asked, missing) = (Instant::now(), self.state.lock().outbox.some(SENT_AT_ONCE));
            if missing.is_empty() {
                return Ok(());
            }
            let entries = self.entries(&missing, asked).await?;
            let notifying: Vec<_> = entries.iter().map(|(entry, ttl)| self.put(entry, *ttl)).collect();
            let sent: Vec<_> = stream::iter(notifying).buffer_unordered(AT_ONCE).collect().await;
            sent.into_iter().collect::<Result<()>>()?;
            let mut state = self.state.lock();
            missing.iter().for_each(|missed| state.outbox.sent(missed));
            self.metrics.outbox.set(state.outbox.len() as f64);
        }
    }

    /// What the tier has to receive, as entries: ends as they are known, everything else as the
    /// store of record has it now.
    async fn entries(&self, missing: &[Missed], asked: Instant) -> Result<Vec<(CacheEntry, Duration)>> {
        let now = self.clock.now();
        let mut entries = Vec::with_capacity(missing.len());
        let mut outdated = Vec::new();
        for missed in missing {
            match &missed.what {
                Missing::Tombstone(entry) => entries.push((entry.clone(), Duration::ZERO)),
                Missing::Refresh => outdated.push(missed.id),
            }
        }
        if !outdated.is_empty() {
            let late = || Error::timeout(self.name(), "load");
            let loaded = timeout(RELOAD_LIMIT, self.store.load(&outdated)).await;
            let ttl = || self.settings.max_stale.saturating_sub(asked.elapsed());
            let fresh = loaded.unwrap_or_else(|_| Err(late()))?;
            entries.extend(
                fresh.into_iter().map(|record| (CacheEntry::of(self.settings.scope, record, now), ttl())),
            );
        }
        Ok(entries)
    }

    /// Serves again, if nothing came in between.
    fn serve_again(&self) -> bool {
        let mut state = self.state.lock();
        let distrusted = state.distrusted_until.is_some_and(|until| Instant::now() < until);
        if state.outbox.len() > 0 || distrusted {
            return false;
        }
        state.distrusted_until = None;
        state.breaker.reset();
        state.since = self.clock.now();
        self.serving.store(true, Ordering::Release);
        self.metrics.serving.set(1.0);
        true
    }
}

fn missing_in(entry: &CacheEntry) -> Missing {
    if entry.is_tombstone() { Missing::Tombstone(entry.clone()) } else { Missing::Refresh }
}

/// A call that is under way. One that its caller drops, because it takes too long, counts as a
/// failure too: else a cache that hangs would never be given up where callers are impatient.
struct Call<'a> {
    tier: &'a Arc<SharedTier>,
    began: Instant,
    is_settled: bool,
}

impl<'a> Call<'a> {
    fn begin(tier: &'a Arc<SharedTier>) -> Self {
        Self { tier, began: Instant::now(), is_settled: false }
    }

    fn settle(mut self, error: Option<&Error>) {
        self.is_settled = true;
        self.tier.judge(error);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // A caller that left at once is no evidence about the cache.
        if !self.is_settled && self.began.elapsed() >= self.tier.settings.timeout / IMPATIENCE {
            self.tier.judge(Some(&Error::timeout(self.tier.name(), "dropped")));
        }
    }
}

impl fmt::Debug for SharedTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTier")
            .field("cache", &self.cache)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
