//! Gathered loads: what many requests ask at the same time goes to the store as one question.
//!
//! The first load goes out at once, so a quiet service waits for nothing. As many run at the same time as the store says that it
//! serves; the ids that arrive meanwhile form the next batch. Under load a batch costs little more than a single load, so throughput
//! multiplies. It stands here and not in a backend, so that every backend has it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{Error, ErrorKind, Result, SessionId, SessionRecord};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, Operation};

/// Most ids of one batch. More answers at once than this make a batch slow and gain little.
const MAX_GATHERED: usize = 256;

/// Most requests that wait for a batch. Beyond that a load is refused as unavailable at once: whoever would have to wait that long
/// would give up anyway.
const MAX_WAITING: usize = 10_000;

type Answer = Result<Option<Arc<SessionRecord>>>;

/// The loads of one manager.
#[derive(Debug)]
pub(crate) struct Loads {
    backend: Arc<Backend>,
    tasks: TaskTracker,
    runtime: Handle,
    at_once: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: usize,
    waiting: HashMap<SessionId, Vec<oneshot::Sender<Answer>>>,
    /// How many senders wait, over all ids.
    waiters: usize,
    /// Since when somebody waits without a batch having gone out.
    waiting_since: Option<Instant>,
    /// Raised when all slots are given up for lost. What an older slot does no longer counts.
    epoch: u64,
}

impl State {
    /// A load ends by its deadline and hands its slot to those who wait. If they waited longer than that, its caller stopped polling it
    /// without dropping it, and must not stop everybody else.
    fn give_up_lost_slots(&mut self, deadline: Duration) {
        if self.waiting_since.is_some_and(|since| since.elapsed() > deadline) {
            self.epoch += 1;
            self.under_way = 0;
            self.waiting_since = None;
        }
    }
}

/// What a caller is told when it asks.
enum Turn {
    Go(Slot),
    Wait(oneshot::Receiver<Answer>),
}

impl Loads {
    /// `at_once` of `None` asks the store how many it serves.
    pub(crate) fn new(backend: Arc<Backend>, tasks: TaskTracker, at_once: Option<NonZeroUsize>) -> Self {
        let at_once = at_once.unwrap_or(backend.store().capabilities().concurrent_loads).get();
        Self { backend, tasks, runtime: Handle::current(), at_once, state: Mutex::default() }
    }

    /// Loads one session, alone or together with what others ask.
    ///
    /// A load never joins a batch that is under way: its answer is newer than every write that ended before it was asked.
    pub(crate) async fn load(self: &Arc<Self>, operation: &mut Operation<'_>, id: SessionId) -> Answer {
        match self.turn(id)? {
            Turn::Go(_slot) => operation.load(id).await,
            Turn::Wait(answer) => operation.wait(answer).await,
        }
    }

    fn turn(self: &Arc<Self>, id: SessionId) -> Result<Turn> {
        let mut state = self.state.lock();
        if state.under_way >= self.at_once {
            state.give_up_lost_slots(self.backend.deadline());
        }
        if state.under_way < self.at_once {
            state.under_way += 1;
            return Ok(Turn::Go(Slot { loads: Arc::clone(self), epoch: state.epoch }));
        }
        if state.waiters >= MAX_WAITING {
            return Err(
                Error::unavailable("manager", "load").with_detail("too many loads wait for the store")
            );
        }
        let (sender, receiver) = oneshot::channel();
        state.waiters += 1;
        state.waiting_since.get_or_insert_with(Instant::now);
        state.waiting.entry(id).or_default().push(sender);
        Ok(Turn::Wait(receiver))
    }

    /// Takes the ids of the next batch with those who wait for them, leaving out callers that are gone.
    fn next_batch(&self) -> HashMap<SessionId, Vec<oneshot::Sender<Answer>>> {
        let mut state = self.state.lock();
        let mut batch = HashMap::new();
        let ids: Vec<_> = state.waiting.keys().copied().take(MAX_GATHERED).collect();
        for id in ids {
            let mut senders = state.waiting.remove(&id).unwrap_or_default();
            state.waiters -= senders.len();
            senders.retain(|sender| !sender.is_closed());
            if !senders.is_empty() {
                batch.insert(id, senders);
            }
        }
        state.waiting_since = (state.waiters > 0).then(Instant::now);
        batch
    }

    async fn run_batch(&self) {
        let batch = self.next_batch();
        let mut ids: Vec<_> = batch.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        ids.sort_unstable();
        match self.backend.operation().load_many(&ids).await {
            Ok(mut found) => answer(batch, |id| Ok(found.remove(&id))),
            // One damaged row must not fail the others: they are asked for again, alone.
            Err(error) if error.kind() == ErrorKind::Corrupt && ids.len() > 1 => self.run_singly(batch).await,
            Err(error) => answer(batch, |_| Err(error.clone())),
        }
    }

    async fn run_singly(&self, batch: HashMap<SessionId, Vec<oneshot::Sender<Answer>>>) {
        for (id, senders) in batch {
            let result = self.backend.operation().load(id).await;
            senders.into_iter().for_each(|sender| drop(sender.send(result.clone())));
        }
    }
}

fn answer(batch: HashMap<SessionId, Vec<oneshot::Sender<Answer>>>, mut of: impl FnMut(SessionId) -> Answer) {
    for (id, senders) in batch {
        let result = of(id);
        senders.into_iter().for_each(|sender| drop(sender.send(result.clone())));
    }
}

/// The right to ask the store. Given back on drop, also by a caller that is dropped or panics: to the next batch if somebody waits.
#[derive(Debug)]
struct Slot {
    loads: Arc<Loads>,
    epoch: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.loads.state.lock();
        if state.epoch != self.epoch {
            return;
        }
        if state.waiting.is_empty() {
            state.under_way -= 1;
            return;
        }
        drop(state);
        let slot = Slot { loads: Arc::clone(&self.loads), epoch: self.epoch };
        self.loads.tasks.spawn_on(async move { slot.loads.run_batch().await }, &self.loads.runtime);
    }
}
