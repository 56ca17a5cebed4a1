//! The manager itself: what its parts share, and how it starts and stops.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use session_core::{
    Clock, Error, EventKind, Result, Scope, SecretHasher, SecureRandom, SessionId, SessionRecord,
    SessionStore, StoreStats, Timestamp,
};
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::task::TaskTracker;

use crate::backend::Backend;
use crate::builder::SessionManagerBuilder;
use crate::clocks::{ClockGuard, Reading};
use crate::directory::Directory;
use crate::events::Events;
use crate::in_flight::InFlight;
use crate::info::SessionInfo;
use crate::loads::Loads;
use crate::metrics::{Metrics, Op};
use crate::settings::Settings;
use crate::tiers::{Health, TieredStore, Tiers};
use crate::touch::TouchQueue;
use crate::transfer::Attempts;
use crate::workers::Workers;
use crate::writers::Writers;
use crate::{ending, outage, sweep, touch};

/// Creates, validates, changes and ends sessions on a store.
///
/// The one place that reads a clock and the one caller of the store. Cheap to clone; all clones are
/// the same manager. When the last clone is dropped its workers stop; [`shutdown`](Self::shutdown)
/// waits for them.
///
/// # Examples
/// ```
/// use session_core::{Actor, rules::RequestClient};
/// use session_manager::{NewSession, SessionManager, ValidateError};
/// use session_memory::MemoryStore;
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let manager = SessionManager::builder(MemoryStore::default()).build()?;
///
/// let created = manager.create(NewSession::for_user("ann".parse()?)).await?;
/// let cookie = created.token.expose();
///
/// let session = manager.validate(&cookie, &RequestClient::default()).await?;
/// session.insert("cart", &["apple"])?;
/// session.save().await?;
///
/// manager.revoke_all(&"ann".parse()?, &Actor::System).await?;
/// let refused = manager.validate(&cookie, &RequestClient::default()).await;
/// assert!(matches!(refused, Err(ValidateError::Rejected(_))));
/// manager.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SessionManager {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    /// One for each of some threads: see [`Lane`].
    lanes: [Arc<Lane>; LANES],
}

/// What managers and sessions keep alive.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    workers: Workers,
}

/// A session's way to its manager. Threads that open sessions at the same time count references in
/// different cache lines: one counter for all of them would cost more than everything else that a
/// validation from memory does.
#[repr(align(128))]
pub(crate) struct Lane {
    pub(crate) core: Arc<Core>,
}

const LANES: usize = 16;

thread_local! {
    static LANE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % LANES
    };
}

/// What the manager and its workers use. Workers hold this and not the manager, so that they do not
/// keep it alive.
pub(crate) struct Shared {
    pub(crate) backend: Arc<Backend>,
    pub(crate) tiers: Option<Arc<TieredStore>>,
    pub(crate) loads: Arc<Loads>,
    pub(crate) writers: Writers,
    /// What shutdown waits for.
    pub(crate) tasks: TaskTracker,
    pub(crate) events: Arc<Events>,
    pub(crate) directory: Option<Directory>,
    pub(crate) transfer_attempts: Attempts,
    pub(crate) clock: Arc<dyn Clock>,
    started: Timestamp,
    pub(crate) random: Arc<dyn SecureRandom>,
    pub(crate) hasher: SecretHasher,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) touches: TouchQueue,
    pub(crate) clock_guard: ClockGuard,
    /// Sessions of which it is being noted that their new secret was presented.
    pub(crate) presented: InFlight,
    /// Sessions whose end was reported.
    reported: Cache<SessionId, ()>,
    /// How many outdated hashes are replaced at once; the others wait for their next use.
    pub(crate) rehashes: Arc<Semaphore>,
    /// How many unconfirmed ends are carried through at once.
    pub(crate) carried: Arc<Semaphore>,
}

const REHASHES_AT_ONCE: usize = 8;

/// Most ended sessions that are remembered as reported, so that an end that is found twice is
/// reported once.
const MAX_REPORTED: usize = 65_536;

/// How long [`SessionManager::shutdown`] waits.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

impl SessionManager {
    /// Begins a manager on a store.
    #[must_use]
    pub fn builder(store: impl SessionStore) -> SessionManagerBuilder {
        SessionManagerBuilder::new(Arc::new(store))
    }

    pub(crate) fn start(builder: SessionManagerBuilder) -> Result<Self> {
        let SessionManagerBuilder { store, tiers, clock, random, hasher, directory, sink, settings } =
            builder;
        let tiers = tiers.map(|tiers| start_tiers(tiers, &store, &clock, &settings)).transpose()?;
        let workers = Workers::default();
        let events = Arc::new(Events::new(sink, Arc::clone(&clock)));
        let backend = Arc::new(Backend::new(
            store,
            tiers.clone(),
            settings.store_deadline,
            Arc::clone(&clock),
            Arc::clone(&events),
        ));
        let reading = Reading { wall: clock.now(), mono: clock.monotonic() };
        let directory = directory.map(|inner| Directory::new(inner, settings.directory_lag));
        let shared = Arc::new(Shared {
            loads: Arc::new(Loads::new(Arc::clone(&backend), workers.tasks(), settings.concurrent_loads)),
            writers: Writers::default(),
            tasks: workers.tasks(),
            backend,
            tiers,
            events,
            directory,
            transfer_attempts: Attempts::default(),
            started: reading.wall,
            clock,
            random,
            hasher,
            metrics: Metrics::new(),
            touches: TouchQueue::new(settings.touch_capacity),
            clock_guard: ClockGuard::new(reading),
            presented: InFlight::default(),
            reported: Cache::new(MAX_REPORTED),
            rehashes: Arc::new(Semaphore::new(REHASHES_AT_ONCE)),
            carried: Arc::new(Semaphore::new(ending::CARRIED_AT_ONCE)),
            settings,
        });
        let worker = Arc::clone(&shared);
        workers.supervise("touch", move |stop| touch::run(Arc::clone(&worker), stop));
        let worker = Arc::clone(&shared);
        workers.supervise("store", move |stop| outage::run(Arc::clone(&worker), stop));
        if let Some(interval) = shared.settings.sweep_interval {
            let worker = Arc::clone(&shared);
            workers.supervise("sweep", move |stop| sweep::run(Arc::clone(&worker), interval, stop));
        }
        let core = Arc::new(Core { shared, workers });
        let lanes = std::array::from_fn(|_| Arc::new(Lane { core: Arc::clone(&core) }));
        Ok(Self { inner: Arc::new(Inner { core, lanes }) })
    }

    /// The manager of a session.
    pub(crate) fn of(core: &Arc<Core>) -> Self {
        let lanes = std::array::from_fn(|_| Arc::new(Lane { core: Arc::clone(core) }));
        Self { inner: Arc::new(Inner { core: Arc::clone(core), lanes }) }
    }

    pub(crate) fn lane(&self) -> Arc<Lane> {
        Arc::clone(&self.inner.lanes[LANE.with(|lane| *lane)])
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.core.shared
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.inner.core.shared.backend
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.core.shared.settings
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.inner.core.workers
    }

    /// Returns the current time of the manager's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.core.shared.clock.now()
    }

    /// Runs an operation to its end, even if the caller goes away: a sign-in or a revocation that
    /// began is not half done because a browser closed the connection.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.inner.core.workers.spawn(operation);
        task.await.unwrap_or_else(|gone| Err(interrupted("finish", gone)))
    }

    /// Counts what the store holds. For operators: it may visit every record.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn stats(&self) -> Result<StoreStats> {
        let mut operation = self.backend().operation();
        operation.call(Op::Stats, self.backend().store().stats(self.now())).await
    }

    /// Returns the state of the store and of the tiers, as this node sees it: which one serves,
    /// since when, and what the shared caches have not received yet. Sends no request, so it is for
    /// a page that is looked at often; [`ping`](Self::ping) asks the store.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = self.shared();
        let health =
            shared.tiers.as_ref().map_or_else(|| Health::of_store(shared.started), |tiers| tiers.health());
        health.with_store(shared.backend.state.health())
    }

    /// Returns whose sessions these are, as shared caches and messages name them; `None` without
    /// tiers. See [`Tiers::with_scope`].
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        self.shared().tiers.as_ref().map(|tiers| tiers.scope())
    }

    /// Asks the store whether it answers, for a readiness probe: one load of an id that is never
    /// used.
    ///
    /// # Errors
    /// As the store answers, within the store's deadline.
    pub async fn ping(&self) -> Result<()> {
        self.backend().operation().load(outage::unused_id()).await.map(drop)
    }

    /// Stops the workers, writes the uses that are still waiting and waits for operations that are
    /// under way, at most 10 s.
    ///
    /// Call it before the process ends. The manager still answers afterwards, but uses are no
    /// longer written.
    pub async fn shutdown(&self) {
        let stop = async {
            self.inner.core.workers.stop().await;
            self.shared().events.flush().await;
        };
        if tokio::time::timeout(SHUTDOWN_LIMIT, stop).await.is_err() {
            tracing::warn!(
                "session manager: work was still under way after 10 s; it goes on without being waited for"
            );
        }
    }
}

/// Puts tiers in front of the store, and logs advice about their settings.
fn start_tiers(
    tiers: Tiers,
    store: &Arc<dyn SessionStore>,
    clock: &Arc<dyn Clock>,
    settings: &Settings,
) -> Result<Arc<TieredStore>> {
    for advice in tiers.advice(settings.expiry.lifetime(false).idle()) {
        tracing::warn!("session tiers: {advice}");
    }
    TieredStore::start(Arc::clone(store), tiers, Arc::clone(clock), settings.clock_skew).map(Arc::new)
}

impl Shared {
    /// Counts and reports records that just ended, each once, however many attempts and callers
    /// found its end.
    pub(crate) fn report_ended(&self, records: &[Arc<SessionRecord>]) {
        for record in records {
            if let Some(ended) = record.ended() {
                if self.is_reported(record.id) {
                    continue;
                }
                self.metrics.ended(ended);
                tracing::debug!(session = %record.id, reason = %ended.reason, "session ended");
                self.emit(EventKind::Ended(ended.clone()), record);
            }
        }
    }

    /// Whether the end of a session was reported before. It is from now on.
    fn is_reported(&self, id: SessionId) -> bool {
        let mut is_first = false;
        let _ = self.reported.get_or_insert_with(&id, || {
            is_first = true;
            Ok::<_, std::convert::Infallible>(())
        });
        !is_first
    }

    /// What may be shown of a record.
    pub(crate) fn info(&self, record: &SessionRecord, now: Timestamp) -> SessionInfo {
        SessionInfo::new(record, now, self.settings.step_up_lifetime)
    }

    pub(crate) fn emit(&self, kind: EventKind, record: &SessionRecord) {
        self.events.emit_for(kind, record);
    }
}

/// An operation whose task is gone: its runtime has ended, or it panicked. It is unknown what it
/// did.
pub(crate) fn interrupted(operation: &'static str, gone: JoinError) -> Error {
    let error = if gone.is_panic() {
        Error::other("manager", operation, gone)
    } else {
        Error::unavailable("manager", operation).with_source(gone)
    };
    error.with_detail("the operation was interrupted")
}

impl Drop for Core {
    fn drop(&mut self) {
        self.workers.cancel();
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("backend", &self.inner.core.shared.backend)
            .field("settings", &self.inner.core.shared.settings)
            .finish_non_exhaustive()
    }
}
