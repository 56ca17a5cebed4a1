//! Sign-ins, requests and sign-outs that continue while the server fails, and the check that no
//! confirmed result is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use session_conformance::fixtures::{NOW, at, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_mongo::MongoStore;
use tokio::task::JoinSet;

use super::calls::{assert_transient, in_time};
use super::lab::{Stores, wait_for};
use super::{DEADLINE, RECOVERY};

/// The number of tasks that make calls, each for its own user. Every second one uses
/// compare-and-set.
const TASKS: usize = 8;

/// The pause of a task after each session, so that a test does not store more sessions than it can
/// check.
const REST: Duration = Duration::from_millis(5);

/// The limit of live sessions of a user, in the rounds that have a limit.
const MAX: u32 = 2;

/// Tasks that make calls until they are stopped.
pub(super) struct Load {
    stores: Stores,
    confirmed: Arc<Confirmed>,
    tasks: JoinSet<()>,
}

/// The confirmed sign-ins and ends.
#[derive(Default)]
struct Confirmed {
    created: Mutex<BTreeSet<SessionId>>,
    ended: Mutex<BTreeSet<SessionId>>,
    rounds: AtomicU64,
    failures: AtomicU64,
    is_over: AtomicBool,
}

impl Load {
    pub(super) fn start(stores: &Stores) -> Self {
        let confirmed = Arc::<Confirmed>::default();
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let store = if task % 2 == 0 { &stores.store } else { &stores.cas_store };
            tasks.spawn(run(store.clone(), Arc::clone(&confirmed), format!("user {task}")));
        }
        Self { stores: stores.clone(), confirmed, tasks }
    }

    /// Waits until this many more rounds have succeeded.
    pub(super) async fn wait_for_rounds(&self, rounds: u64) -> Duration {
        let began = Instant::now();
        let target = self.confirmed.rounds.load(Ordering::SeqCst) + rounds;
        let is_done = async || self.confirmed.rounds.load(Ordering::SeqCst) >= target;
        wait_for(RECOVERY, "rounds succeed", is_done).await;
        began.elapsed()
    }

    pub(super) fn failures(&self) -> u64 {
        self.confirmed.failures.load(Ordering::SeqCst)
    }

    /// Waits until calls fail.
    pub(super) async fn wait_for_failures(&self) {
        let before = self.failures();
        wait_for(RECOVERY, "calls fail", async || self.failures() > before).await;
    }

    /// Stops the tasks, and asserts that every confirmed sign-in and end is stored.
    pub(super) async fn assert_nothing_lost(self) {
        self.confirmed.is_over.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        let store = &self.stores.store;
        assert_eq!(self.confirmed.lost(store).await, (0, 0), "sign-ins and ends were lost");
        let ended = self.confirmed.ended.lock().len();
        assert!(ended > 10, "only {ended} ends");
        for task in 0..TASKS {
            assert_limit(store, &format!("user {task}")).await;
        }
    }
}

/// Asserts that the next sign-in under the limit finds no lock, and that the limit holds after it.
async fn assert_limit(store: &MongoStore, name: &str) {
    let limit = limit(MAX, OnExceed::EndOldest, 500_000);
    store.create(Arc::new(record_at(name, 400_000)), Some(&limit)).await.unwrap();
    let query = ListQuery::default().with_user(user(name)).with_state(StateFilter::Live(at(500_000)));
    assert!(store.list(&query).await.unwrap().records.len() <= MAX as usize);
}

impl Confirmed {
    /// Returns the number of confirmed sign-ins and of confirmed ends that are not stored.
    async fn lost(&self, store: &MongoStore) -> (usize, usize) {
        let (created, ended) = (self.created.lock().clone(), self.ended.lock().clone());
        let (mut stored, mut over) = (BTreeSet::new(), BTreeSet::new());
        for ids in created.iter().copied().collect::<Vec<_>>().chunks(500) {
            for record in store.load(ids).await.unwrap() {
                assert!(stored.insert(record.id), "a session was loaded twice");
                over.extend(record.ended().map(|_| record.id));
            }
        }
        (
            created.difference(&stored).count(),
            ended.intersection(&stored).filter(|id| !over.contains(id)).count(),
        )
    }
}

async fn run(store: MongoStore, confirmed: Arc<Confirmed>, name: String) {
    for round in 0.. {
        if confirmed.is_over.load(Ordering::SeqCst) {
            return;
        }
        let counter = match self::round(&store, &confirmed, &name, round).await {
            Ok(()) => &confirmed.rounds,
            Err(_) => &confirmed.failures,
        };
        counter.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(REST).await;
    }
}

/// Runs a session from its sign-in to its sign-out, or until the limit ends it.
async fn round(store: &MongoStore, confirmed: &Confirmed, name: &str, round: u64) -> Result<()> {
    let session = Arc::new(record_at(name, round));
    let limit = limit(MAX, OnExceed::EndOldest, round);
    let limit = round.is_multiple_of(2).then_some(&limit);
    let created = in_time(DEADLINE, "create", store.create(Arc::clone(&session), limit)).await;
    // In a crash, the test server, which replaces MongoDB, forgets which writes it has applied, and
    // then rejects the driver's retry.
    // MongoDB remembers them: https://www.mongodb.com/docs/manual/core/retryable-writes/
    if created.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
        let found = expected(in_time(DEADLINE, "load", store.load(&[session.id])).await)?;
        assert_eq!(found[0].user_id, session.user_id, "the id belongs to another user");
        return created.map(drop);
    }
    let evicted = expected(created)?;
    assert!(evicted.iter().all(|record| record.user_id == session.user_id), "another user was signed out");
    confirmed.created.lock().insert(session.id);
    confirmed.ended.lock().extend(evicted.iter().map(|record| record.id));

    let found = expected(in_time(DEADLINE, "load", store.load(&[session.id])).await)?;
    assert_eq!(found.len(), 1, "a session was reported as absent");
    assert_eq!((found[0].id, &found[0].user_id), (session.id, &session.user_id), "another's session");
    let mut changed = SessionRecord::clone(&session);
    changed.label = Some(format!("{name} {round}"));
    expected(in_time(DEADLINE, "update", store.update(Arc::new(changed), session.revision)).await)?;
    expected(in_time(DEADLINE, "touch", store.touch(&[touch(session.id, round + 1)], NOW)).await)?;
    let stored = expected(in_time(DEADLINE, "load", store.load(&[session.id])).await)?;
    assert_eq!(stored[0].label, Some(format!("{name} {round}")), "an update was lost");
    if !round.is_multiple_of(3) {
        let scope = if round % 3 == 1 { EndScope::id(session.id) } else { EndScope::User(user(name)) };
        let ended = expected(
            in_time(DEADLINE, "end", store.end(&scope, &logged_out(round + 2), Timestamp::MAX)).await,
        )?;
        assert!(ended.iter().all(|record| record.user_id == session.user_id), "another user was signed out");
        confirmed.ended.lock().extend(ended.iter().map(|record| record.id).chain([session.id]));
    }
    Ok(())
}

/// Asserts that a failure under load is transient.
fn expected<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| assert_transient::<()>("a call under load", Err(error)))
}
