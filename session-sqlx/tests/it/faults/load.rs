//! Sign-ins, requests and sign-outs that go on while the database fails, and the writes that were
//! acknowledged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use session_conformance::fixtures::{NOW, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_sqlx::SqlStore;
use tokio::task::JoinSet;

use super::calls::{assert_transient, within};
use super::target::Target;
use super::{DEADLINE, LONG_DEADLINE};

/// Tasks that make calls until they are stopped.
pub(super) struct Load<D: Target> {
    store: Arc<SqlStore<D>>,
    acknowledged: Arc<Acknowledged>,
    tasks: JoinSet<()>,
}

/// The writes that were acknowledged.
#[derive(Default)]
struct Acknowledged {
    created: Mutex<BTreeSet<SessionId>>,
    ended: Mutex<BTreeSet<SessionId>>,
    rounds: AtomicU64,
    failures: AtomicU64,
    is_over: AtomicBool,
}

impl<D: Target> Load<D> {
    pub(super) fn start(store: &Arc<SqlStore<D>>) -> Self {
        let acknowledged = Arc::<Acknowledged>::default();
        let mut tasks = JoinSet::new();
        for task in 0..4 {
            tasks.spawn(run(Arc::clone(store), Arc::clone(&acknowledged), task));
        }
        Self { store: Arc::clone(store), acknowledged, tasks }
    }

    /// Waits until so many more rounds have succeeded.
    pub(super) async fn wait_for_rounds(&self, rounds: u64) -> Duration {
        let began = Instant::now();
        let target = self.acknowledged.rounds.load(Ordering::SeqCst) + rounds;
        while self.acknowledged.rounds.load(Ordering::SeqCst) < target {
            assert!(began.elapsed() < LONG_DEADLINE, "no {rounds} rounds in {LONG_DEADLINE:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        began.elapsed()
    }

    /// Waits until calls fail.
    pub(super) async fn wait_for_failures(&self) {
        let (began, before) = (Instant::now(), self.acknowledged.failures.load(Ordering::SeqCst));
        while self.acknowledged.failures.load(Ordering::SeqCst) == before {
            assert!(began.elapsed() < LONG_DEADLINE, "nothing fails");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops the tasks, and asserts that no acknowledged write was lost.
    pub(super) async fn assert_nothing_lost(self) {
        self.acknowledged.is_over.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        let created = self.acknowledged.created.lock().clone();
        let ended = self.acknowledged.ended.lock().clone();
        let mut stored = BTreeSet::new();
        for ids in created.iter().copied().collect::<Vec<_>>().chunks(500) {
            for record in self.store.load(ids).await.unwrap() {
                assert!(record.ended().is_some() || !ended.contains(&record.id), "an end was lost");
                stored.insert(record.id);
            }
        }
        assert_eq!(created.difference(&stored).count(), 0, "sign-ins were lost, of {}", created.len());
        assert!(ended.len() > 10, "only {} ends", ended.len());
    }
}

async fn run<D: Target>(store: Arc<SqlStore<D>>, acknowledged: Arc<Acknowledged>, task: u64) {
    let mut name = format!("user {task}");
    for round in 0.. {
        if acknowledged.is_over.load(Ordering::SeqCst) {
            return;
        }
        // A pause, because a call fails at once where the server refuses connections.
        if self::round(&store, &acknowledged, &name, round).await.is_err() {
            acknowledged.failures.fetch_add(1, Ordering::SeqCst);
            // The server may still carry out a call that timed out, which would end sessions of the
            // next round.
            name = format!("user {task} after round {round}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else {
            acknowledged.rounds.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Runs a session from its sign-in to its sign-out, or until the limit ends it.
async fn round<D: Target>(
    store: &SqlStore<D>,
    acknowledged: &Acknowledged,
    name: &str,
    round: u64,
) -> Result<(), Error> {
    let session = Arc::new(record_at(name, round));
    let limit = limit(2, OnExceed::EndOldest, round);
    let limit = round.is_multiple_of(2).then_some(&limit);
    let evicted = expected(within(DEADLINE, "create", store.create(Arc::clone(&session), limit)).await)?;
    acknowledged.created.lock().insert(session.id);
    acknowledged.ended.lock().extend(evicted.iter().map(|record| record.id));

    let found = expected(within(DEADLINE, "load", store.load(&[session.id])).await)?;
    assert_eq!(found.len(), 1, "a session was reported as absent");
    let mut changed = SessionRecord::clone(&session);
    changed.label = Some("seen".to_owned());
    expected(within(DEADLINE, "update", store.update(Arc::new(changed), session.revision)).await)?;
    expected(within(DEADLINE, "touch", store.touch(&[touch(session.id, round + 1)], NOW)).await)?;
    if !round.is_multiple_of(3) {
        let scope = if round % 3 == 1 { EndScope::id(session.id) } else { EndScope::User(user(name)) };
        let ended = expected(
            within(DEADLINE, "end", store.end(&scope, &logged_out(round + 2), Timestamp::MAX)).await,
        )?;
        acknowledged.ended.lock().extend(ended.iter().map(|record| record.id).chain([session.id]));
    }
    Ok(())
}

/// Asserts that a failure is transient.
fn expected<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| assert_transient::<()>("a call under load", Err(error)))
}
