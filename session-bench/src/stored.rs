//! A filled store, and the operations that are measured on every store.

use std::fmt;
use std::future::Future;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use session_conformance::fixtures;
use session_core::rules::RequestClient;
use session_core::{
    AuthEvent, AuthMethod, ClientInfo, DeviceKind, LastClient, ListQuery, Revision, SessionRecord,
    SessionStore, StateFilter, Timestamp, Touch, UserId,
};
use session_manager::SessionManager;
use tokio::runtime::{Builder, Runtime};

/// The number of sessions in the store before the measurement, and of each user.
const SESSIONS: u64 = 20_000;
const SESSIONS_OF_A_USER: u64 = 10;

/// The number of touches in one call.
pub(crate) const TOUCHES: u32 = 100;

/// The number of tasks that load at the same time.
pub(crate) const TASKS: u32 = 64;

/// A filled store.
pub struct Stored<S> {
    runtime: Runtime,
    store: Arc<S>,
    records: Vec<SessionRecord>,
    /// Increases with every operation, so that no write repeats the previous one: SQLite skips an
    /// unchanged page.
    step: AtomicU64,
    _keep: Box<dyn fmt::Debug>,
}

impl<S: fmt::Debug> fmt::Debug for Stored<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Creates a runtime with this many threads; one means the calling thread.
pub(crate) fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build().expect("a runtime")
}

impl<S: SessionStore> Stored<S> {
    /// Fills a store.
    pub(crate) fn fill(runtime: Runtime, store: S, keep: impl fmt::Debug + 'static) -> Self {
        let store = Arc::new(store);
        let records: Vec<_> = (0..SESSIONS).map(|number| record(number, 0)).collect();
        runtime.block_on(async {
            for record in &records {
                store.create(Arc::new(record.clone()), None).await.expect("a session");
            }
        });
        Self { runtime, store, records, step: AtomicU64::new(0), _keep: Box::new(keep) }
    }

    pub(crate) fn run(&self, times: u32, mut run: impl AsyncFnMut(&SessionRecord, u64)) {
        self.runtime.block_on(async {
            for _ in 0..times {
                let step = self.step.fetch_add(1, Ordering::Relaxed);
                run(self.record_of(step), step).await;
            }
        });
    }

    /// Runs a future on the scene's runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// Returns the sessions with which the store was filled.
    #[must_use]
    pub fn records(&self) -> &[SessionRecord] {
        &self.records
    }

    /// Loads sessions, one at a time.
    pub fn load(&self, times: u32) {
        let store: &S = &self.store;
        self.run(times, async |record, _| {
            let loaded = store.load(&[record.id]).await.expect("a session");
            assert_eq!(black_box(loaded).len(), 1);
        });
    }

    /// Creates sessions.
    pub fn create(&self, times: u32) {
        self.run(times, async |_, step| {
            self.store.create(Arc::new(new(step)), None).await.expect("an insert");
        });
    }

    /// Loads sessions and saves them.
    pub fn save(&self, times: u32) {
        self.run(times, async |record, step| {
            let loaded = self.store.load(&[record.id]).await.expect("a session");
            let expected = loaded[0].revision;
            self.store.update(Arc::new(saved(record, step)), expected).await.expect("an update");
        });
    }

    /// Saves sessions whose revision is known: the saves rotate over all sessions, so each has been
    /// saved equally often.
    pub fn update(&self, times: u32) {
        self.run(times, async |record, step| {
            let revision = Revision::new(1 + step / SESSIONS).expect("a revision");
            self.store.update(Arc::new(saved(record, step)), revision).await.expect("an update");
        });
    }

    /// Touches sessions, a hundred with one call.
    pub fn touch(&self, times: u32) {
        self.block_on(async {
            for _ in 0..times / TOUCHES {
                let batch: Vec<_> = self
                    .touches()
                    .map(|(record, at)| Touch::new(record.id, at, LastClient::default()))
                    .collect();
                assert_eq!(self.store.touch(&batch, fixtures::NOW).await.expect("rows"), u64::from(TOUCHES));
            }
        });
    }

    /// Returns a hundred different sessions, each with a last-seen time that is later than all
    /// previous ones.
    pub(crate) fn touches(&self) -> impl Iterator<Item = (&SessionRecord, Timestamp)> {
        let first = self.step.fetch_add(u64::from(TOUCHES), Ordering::Relaxed);
        (first..first + u64::from(TOUCHES)).map(|step| (self.record_of(step), fixtures::at(1_000 + step)))
    }

    /// Returns the session of a step. The factor is coprime to the number of sessions, so the steps
    /// visit all of them, out of order.
    fn record_of(&self, step: u64) -> &SessionRecord {
        let index = step.wrapping_mul(7_919) % SESSIONS;
        &self.records[usize::try_from(index).unwrap_or(0)]
    }

    /// Lists the sessions of users.
    pub fn list(&self, times: u32) {
        self.run(times, async |record, _| {
            let query = ListQuery::default()
                .with_user(user_of(record))
                .with_state(StateFilter::Live(fixtures::at(20)));
            let page = self.store.list(&query).await.expect("a page");
            assert!(black_box(page).records.len() as u64 >= SESSIONS_OF_A_USER);
        });
    }

    /// Loads sessions as a manager does for 64 tasks: with two concurrent calls, for half of the
    /// tasks each.
    pub fn load_gathered(&self, times: u32) {
        const CALLS: u32 = 2;
        let ids: Arc<Vec<_>> = Arc::new(self.records.iter().map(|record| record.id).collect());
        self.block_on(async {
            let calls = (0..CALLS).map(|call| {
                let (store, ids) = (Arc::clone(&self.store), Arc::clone(&ids));
                tokio::spawn(async move {
                    for step in 0..times / TASKS {
                        let first = (step * CALLS + call) * TASKS / CALLS;
                        let index = |task| (first + task) as usize * 7_919 % ids.len();
                        let batch: Vec<_> = (0..TASKS / CALLS).map(|task| ids[index(task)]).collect();
                        let loaded = store.load(&batch).await.expect("sessions");
                        assert_eq!(black_box(loaded).len(), batch.len());
                    }
                })
            });
            for call in calls.collect::<Vec<_>>() {
                call.await.expect("a task that ends");
            }
        });
    }

    /// Validates tokens in 64 tasks at once. The manager batches their loads.
    pub fn validate_at_once(&self, manager: &SessionManager, tokens: &Arc<Vec<String>>, times: u32) {
        self.block_on(async {
            let tasks = (0..TASKS).map(|task| {
                let (manager, tokens) = (manager.clone(), Arc::clone(tokens));
                tokio::spawn(async move {
                    let client = RequestClient::new(None, None);
                    for step in 0..times / TASKS {
                        let token = &tokens[(step * TASKS + task) as usize * 7_919 % tokens.len()];
                        black_box(manager.validate(token, &client).await.expect("a live session"));
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("a task that ends");
            }
        });
    }
}

/// Returns the user of a record.
pub(crate) fn user_of(record: &SessionRecord) -> UserId {
    record.user_id.clone().expect("a user")
}

/// Returns a session like one of a web application: twenty fields are set, except those of refresh
/// tokens and of former secrets.
fn record(number: u64, step: u64) -> SessionRecord {
    let mut record = fixtures::record(&format!("user {}", number / SESSIONS_OF_A_USER));
    let text = |text: &str| Some(text.to_owned());
    let user_agent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
    let mut client = ClientInfo::new(Some([192, 0, 2, 7].into()), Some(user_agent));
    client.device.kind = Some(DeviceKind::Desktop);
    client.device.os = text("Linux");
    client.device.browser = text("Firefox");
    client.device.browser_version = text("128.0");
    client.geo.country_code = text("DE");
    client.geo.country = text("Germany");
    record.idle_timeout = Some(Duration::from_secs(24 * 60 * 60));
    record.auth = vec![AuthEvent::new(AuthMethod::Password, fixtures::NOW)];
    record.last_client = LastClient::from(&client);
    record.client = Arc::new(client);
    record.data = data(step);
    record
}

/// Returns a session of a user who has no session yet.
pub(crate) fn new(step: u64) -> SessionRecord {
    record(SESSIONS + step * SESSIONS_OF_A_USER, step)
}

/// Returns the session with other data.
pub(crate) fn saved(record: &SessionRecord, step: u64) -> SessionRecord {
    let mut record = record.clone();
    record.data = data(step);
    record
}

fn data(step: u64) -> Arc<[u8]> {
    format!("\u{1}{{\"cart\":[\"apple\",\"pear\"],\"step\":{step}}}").into_bytes().into()
}
