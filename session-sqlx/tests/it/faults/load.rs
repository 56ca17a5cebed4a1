//! Sign-ins, requests and sign-outs that go on while the database fails, and what was promised to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use session_conformance::fixtures::{NOW, limit, logged_out, record_at, touch, user};
use session_core::prelude::*;
use session_sqlx::SqlStore;
use tokio::task::JoinSet;

use super::calls::{assert_transient, in_time};
use super::target::Target;
use super::{DEADLINE, PATIENT};

/// Tasks that make calls until they are stopped.
pub(super) struct Load<D: Target> {
    store: Arc<SqlStore<D>>,
    promised: Arc<Promised>,
    tasks: JoinSet<()>,
}

/// What was answered with "done".
#[derive(Default)]
struct Promised {
    created: Mutex<BTreeSet<SessionId>>,
    ended: Mutex<BTreeSet<SessionId>>,
    rounds: AtomicU64,
    failures: AtomicU64,
    is_over: AtomicBool,
}

impl<D: Target> Load<D> {
    pub(super) fn start(store: &Arc<SqlStore<D>>) -> Self {
        let promised = Arc::<Promised>::default();
        let mut tasks = JoinSet::new();
        for task in 0..4 {
            tasks.spawn(run(Arc::clone(store), Arc::clone(&promised), task));
        }
        Self { store: Arc::clone(store), promised, tasks }
    }

    /// Waits until so many more rounds went well.
    pub(super) async fn wait_for_rounds(&self, rounds: u64) -> Duration {
        let began = Instant::now();
        let target = self.promised.rounds.load(Ordering::SeqCst) + rounds;
        while self.promised.rounds.load(Ordering::SeqCst) < target {
            assert!(began.elapsed() < PATIENT, "no {rounds} rounds in {PATIENT:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        began.elapsed()
    }

    /// Waits until calls fail.
    pub(super) async fn wait_for_failures(&self) {
        let (began, before) = (Instant::now(), self.promised.failures.load(Ordering::SeqCst));
        while self.promised.failures.load(Ordering::SeqCst) == before {
            assert!(began.elapsed() < PATIENT, "nothing fails");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops, and asserts that everything promised is so.
    pub(super) async fn assert_kept(self) {
        self.promised.is_over.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        let created = self.promised.created.lock().clone();
        let ended = self.promised.ended.lock().clone();
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

async fn run<D: Target>(store: Arc<SqlStore<D>>, promised: Arc<Promised>, task: u64) {
    let mut name = format!("user {task}");
    for round in 0.. {
        if promised.is_over.load(Ordering::SeqCst) {
            return;
        }
        // A failed call comes to its end early only where the server refuses; the next one should not come at once.
        if self::round(&store, &promised, &name, round).await.is_err() {
            promised.failures.fetch_add(1, Ordering::SeqCst);
            // What was given up may be carried out later, and would end the sessions of the next round.
            name = format!("user {task} after round {round}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else {
            promised.rounds.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A session from its sign-in to its sign-out, or until the limit ends it.
async fn round<D: Target>(
    store: &SqlStore<D>,
    promised: &Promised,
    name: &str,
    round: u64,
) -> Result<(), Error> {
    let session = Arc::new(record_at(name, round));
    let limit = limit(2, OnExceed::EndOldest, round);
    let limit = round.is_multiple_of(2).then_some(&limit);
    let evicted = expected(in_time(DEADLINE, "create", store.create(Arc::clone(&session), limit)).await)?;
    promised.created.lock().insert(session.id);
    promised.ended.lock().extend(evicted.iter().map(|record| record.id));

    let found = expected(in_time(DEADLINE, "load", store.load(&[session.id])).await)?;
    assert_eq!(found.len(), 1, "a session was reported as absent");
    let mut changed = SessionRecord::clone(&session);
    changed.label = Some("seen".to_owned());
    expected(in_time(DEADLINE, "update", store.update(Arc::new(changed), session.revision)).await)?;
    expected(in_time(DEADLINE, "touch", store.touch(&[touch(session.id, round + 1)], NOW)).await)?;
    if !round.is_multiple_of(3) {
        let scope = if round % 3 == 1 { EndScope::id(session.id) } else { EndScope::User(user(name)) };
        let ended = expected(
            in_time(DEADLINE, "end", store.end(&scope, &logged_out(round + 2), Timestamp::MAX)).await,
        )?;
        promised.ended.lock().extend(ended.iter().map(|record| record.id).chain([session.id]));
    }
    Ok(())
}

/// A failure in between says that nobody can tell, and nothing else.
fn expected<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| assert_transient::<()>("a call under load", Err(error)))
}
