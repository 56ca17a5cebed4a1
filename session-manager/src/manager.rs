//! The manager itself: what its parts share, and how it starts and stops.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use session_core::{
    Clock, Error, EventKind, Result, SecretHasher, SecureRandom, SessionRecord, SessionStore, StoreStats,
    Timestamp,
};
use tokio::sync::Semaphore;

use crate::backend::Backend;
use crate::builder::SessionManagerBuilder;
use crate::directory::Directory;
use crate::events::Events;
use crate::loads::Loads;
use crate::metrics::{Metrics, Op};
use crate::settings::Settings;
use crate::touch::TouchQueue;
use crate::transfer::Attempts;
use crate::workers::Workers;
use crate::{ending, sweep, touch};

/// Creates, validates, changes and ends sessions on a store.
///
/// The one place that reads a clock and the one caller of the store. Cheap to clone; all clones are the same manager. When the
/// last clone is dropped its workers stop; [`shutdown`](Self::shutdown) waits for them.
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
    shared: Arc<Shared>,
    workers: Workers,
}

/// What the manager and its workers use. Workers hold this and not the manager, so that they do not keep it alive.
pub(crate) struct Shared {
    pub(crate) backend: Arc<Backend>,
    pub(crate) loads: Arc<Loads>,
    pub(crate) events: Arc<Events>,
    pub(crate) directory: Option<Directory>,
    pub(crate) transfer_attempts: Attempts,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn SecureRandom>,
    pub(crate) hasher: SecretHasher,
    pub(crate) settings: Settings,
    pub(crate) metrics: Metrics,
    pub(crate) touches: TouchQueue,
    /// How many outdated hashes are replaced at once; the others wait for their next use.
    pub(crate) rehashes: Arc<Semaphore>,
    /// How many unconfirmed ends are carried through at once.
    pub(crate) carried: Arc<Semaphore>,
}

const REHASHES_AT_ONCE: usize = 8;

/// How long [`SessionManager::shutdown`] waits.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

impl SessionManager {
    /// Begins a manager on a store.
    #[must_use]
    pub fn builder(store: impl SessionStore) -> SessionManagerBuilder {
        SessionManagerBuilder::new(Arc::new(store))
    }

    pub(crate) fn start(builder: SessionManagerBuilder) -> Self {
        let SessionManagerBuilder { store, clock, random, hasher, directory, sink, settings } = builder;
        let workers = Workers::default();
        let events = Arc::new(Events::new(sink, Arc::clone(&clock)));
        let backend = Arc::new(Backend::new(store, settings.store_deadline, Arc::clone(&events)));
        let directory = directory.map(|inner| Directory::new(inner, settings.directory_lag));
        let shared = Arc::new(Shared {
            loads: Arc::new(Loads::new(Arc::clone(&backend), workers.tasks(), settings.concurrent_loads)),
            backend,
            events,
            directory,
            transfer_attempts: Attempts::default(),
            clock,
            random,
            hasher,
            metrics: Metrics::new(),
            touches: TouchQueue::new(settings.touch_capacity),
            rehashes: Arc::new(Semaphore::new(REHASHES_AT_ONCE)),
            carried: Arc::new(Semaphore::new(ending::CARRIED_AT_ONCE)),
            settings,
        });
        let worker = Arc::clone(&shared);
        workers.supervise("touch", move |stop| touch::run(Arc::clone(&worker), stop));
        if let Some(interval) = shared.settings.sweep_interval {
            let worker = Arc::clone(&shared);
            workers.supervise("sweep", move |stop| sweep::run(Arc::clone(&worker), interval, stop));
        }
        Self { inner: Arc::new(Inner { shared, workers }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.inner.shared.backend
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.shared.settings
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.inner.workers
    }

    /// Returns the current time of the manager's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.shared.clock.now()
    }

    /// Runs an operation to its end, even if the caller goes away: a sign-in or a revocation that began is not half done
    /// because a browser closed the connection.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.inner.workers.spawn(operation);
        task.await.unwrap_or_else(|source| Err(Error::other("manager", "finish", source)))
    }

    /// Counts what the store holds. For operators: it may visit every record.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn stats(&self) -> Result<StoreStats> {
        let mut operation = self.backend().operation();
        operation.call(Op::Stats, self.backend().store().stats(self.now())).await
    }

    /// Stops the workers, writes the uses that are still waiting and waits for operations that are under way, at most 10 s.
    ///
    /// Call it before the process ends. The manager still answers afterwards, but uses are no longer written.
    pub async fn shutdown(&self) {
        let stop = async {
            self.inner.workers.stop().await;
            self.shared().events.flush().await;
        };
        if tokio::time::timeout(SHUTDOWN_LIMIT, stop).await.is_err() {
            tracing::warn!(
                "session manager: work was still under way after 10 s; it goes on without being waited for"
            );
        }
    }
}

impl Shared {
    /// Counts and reports records that just ended.
    pub(crate) fn report_ended(&self, records: &[Arc<SessionRecord>]) {
        self.metrics.ended(records.iter().map(|record| &**record));
        for record in records {
            if let Some(ended) = record.ended() {
                tracing::debug!(session = %record.id, reason = %ended.reason, "session ended");
                self.emit(EventKind::Ended(ended.clone()), record);
            }
        }
    }

    pub(crate) fn emit(&self, kind: EventKind, record: &SessionRecord) {
        self.events.emit_for(kind, record);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.workers.cancel();
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("backend", &self.inner.shared.backend)
            .field("settings", &self.inner.shared.settings)
            .finish_non_exhaustive()
    }
}
