//! Sign-ins, requests and sign-outs that continue while the server fails, and a record of those
//! that succeeded.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use session_conformance::fixtures::{NOW, limit, logged_out, record_at, touch, user};
use session_core::SessionId;
use session_core::prelude::*;
use session_redis::RedisStore;
use tokio::task::JoinSet;

use super::DEADLINE;
use super::calls::{assert_transient, in_time};
use super::lab::wait_for;
use crate::support::PATIENT;

/// Number of tasks that make calls.
pub(super) const TASKS: usize = 64;

/// Pause of each task after a session, so that a test does not store more than it can check.
const REST: Duration = Duration::from_millis(8);

/// Tasks that make calls until they are stopped.
pub(super) struct Load {
    store: Arc<RedisStore>,
    pub(super) promised: Arc<Promised>,
    tasks: JoinSet<()>,
}

/// The calls that succeeded.
#[derive(Default)]
pub(super) struct Promised {
    pub(super) created: Mutex<BTreeSet<SessionId>>,
    pub(super) ended: Mutex<BTreeSet<SessionId>>,
    rounds: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<Error>>,
    is_over: AtomicBool,
}

impl Load {
    pub(super) fn start(store: &Arc<RedisStore>) -> Self {
        Self::start_in(DEADLINE, store)
    }

    pub(super) fn start_in(deadline: Duration, store: &Arc<RedisStore>) -> Self {
        Self::of((0..TASKS).map(|task| format!("user {task}")), store, deadline)
    }

    /// Starts one task for each user.
    pub(super) fn of(
        users: impl Iterator<Item = String>,
        store: &Arc<RedisStore>,
        deadline: Duration,
    ) -> Self {
        let promised = Arc::<Promised>::default();
        let mut tasks = JoinSet::new();
        for name in users {
            tasks.spawn(run(Arc::clone(store), Arc::clone(&promised), name, deadline));
        }
        Self { store: Arc::clone(store), promised, tasks }
    }

    /// Waits until this many more rounds succeeded.
    pub(super) async fn wait_for_rounds(&self, rounds: u64) -> Duration {
        self.wait_for_rounds_in(PATIENT, rounds).await
    }

    pub(super) async fn wait_for_rounds_in(&self, patience: Duration, rounds: u64) -> Duration {
        let began = Instant::now();
        let target = self.promised.rounds.load(Ordering::SeqCst) + rounds;
        let is_there = async || self.promised.rounds.load(Ordering::SeqCst) >= target;
        wait_for(patience, "rounds that succeed", is_there).await;
        began.elapsed()
    }

    pub(super) fn failures(&self) -> u64 {
        self.promised.failures.load(Ordering::SeqCst)
    }

    pub(super) fn last_failure(&self) -> Option<Error> {
        self.promised.last_failure.lock().clone()
    }

    /// Waits until calls fail.
    pub(super) async fn wait_for_failures(&self) {
        let before = self.failures();
        wait_for(PATIENT, "calls fail", async || self.failures() > before).await;
    }

    /// Stops all tasks after their current round.
    pub(super) async fn stop(self) -> Arc<Promised> {
        self.promised.is_over.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        self.promised
    }

    /// Stops, and asserts that every successful call took effect.
    pub(super) async fn assert_kept(self) {
        let store = Arc::clone(&self.store);
        self.assert_kept_in(&store).await;
    }

    /// Does the same through another store.
    pub(super) async fn assert_kept_in(self, store: &RedisStore) {
        let promised = self.stop().await;
        assert_eq!(promised.lost(store).await, (0, 0), "sign-ins and ends were lost");
        assert!(promised.ended.lock().len() > 10, "only {} ends", promised.ended.lock().len());
    }
}

impl Promised {
    /// Returns how many sign-ins, and how many ends, were lost.
    pub(super) async fn lost(&self, store: &RedisStore) -> (usize, usize) {
        let (created, ended) = (self.created.lock().clone(), self.ended.lock().clone());
        let (mut stored, mut over) = (BTreeSet::new(), BTreeSet::new());
        for ids in created.iter().copied().collect::<Vec<_>>().chunks(500) {
            for record in store.load(ids).await.unwrap() {
                stored.insert(record.id);
                over.extend(record.ended().map(|_| record.id));
            }
        }
        (
            created.difference(&stored).count(),
            ended.intersection(&stored).filter(|id| !over.contains(id)).count(),
        )
    }
}

async fn run(store: Arc<RedisStore>, promised: Arc<Promised>, name: String, deadline: Duration) {
    for round in 0.. {
        if promised.is_over.load(Ordering::SeqCst) {
            return;
        }
        match self::round(&store, &promised, &name, round, deadline).await {
            Ok(()) => promised.rounds.fetch_add(1, Ordering::SeqCst),
            Err(error) => {
                *promised.last_failure.lock() = Some(error);
                promised.failures.fetch_add(1, Ordering::SeqCst)
            }
        };
        tokio::time::sleep(REST).await;
    }
}

/// Runs a session from its sign-in to its sign-out, or until the limit ends it.
async fn round(
    store: &RedisStore,
    promised: &Promised,
    name: &str,
    round: u64,
    deadline: Duration,
) -> Result<()> {
    let session = Arc::new(record_at(name, round));
    let limit = limit(2, OnExceed::EndOldest, round);
    let limit = round.is_multiple_of(2).then_some(&limit);
    let evicted = expected(in_time(deadline, "create", store.create(Arc::clone(&session), limit)).await)?;
    assert!(evicted.iter().all(|record| record.user_id == session.user_id), "another user was signed out");
    promised.created.lock().insert(session.id);
    promised.ended.lock().extend(evicted.iter().map(|record| record.id));

    let found = expected(in_time(deadline, "load", store.load(&[session.id])).await)?;
    assert_eq!(found.len(), 1, "a session was reported as absent");
    assert_eq!((found[0].id, &found[0].user_id), (session.id, &session.user_id), "another's session");
    let mut changed = SessionRecord::clone(&session);
    changed.label = Some(format!("{name} {round}"));
    expected(in_time(deadline, "update", store.update(Arc::new(changed), session.revision)).await)?;
    expected(in_time(deadline, "touch", store.touch(&[touch(session.id, round + 1)], NOW)).await)?;
    let stored = expected(in_time(deadline, "load", store.load(&[session.id])).await)?;
    assert_eq!(stored[0].label, Some(format!("{name} {round}")), "an update was lost");
    if !round.is_multiple_of(3) {
        let scope = if round % 3 == 1 { EndScope::id(session.id) } else { EndScope::User(user(name)) };
        let ended = expected(
            in_time(deadline, "end", store.end(&scope, &logged_out(round + 2), Timestamp::MAX)).await,
        )?;
        assert!(ended.iter().all(|record| record.user_id == session.user_id), "another user was signed out");
        promised.ended.lock().extend(ended.iter().map(|record| record.id).chain([session.id]));
    }
    Ok(())
}

/// A call under load may fail only with a transient error.
fn expected<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| assert_transient::<()>("a call under load", Err(error)))
}
