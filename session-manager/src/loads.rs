//! Gathered loads: what many requests ask at the same time goes to the store as one question.
//!
//! The first load goes out at once, so a quiet service waits for nothing. As many run at the same
//! time as the store's capabilities allow; the ids that arrive meanwhile form the next batch, first
//! come, first served. Under load a batch costs little more than a single load, so throughput
//! multiplies. It stands here and not in a backend, so that every backend has it.
//!
//! | meets | how |
//! |---|---|
//! | a caller that is dropped | its slot goes to the next batch; a batch leaves out ids without a waiting caller |
//! | a caller that stops polling | its slot is given up when others have waited for longer than the deadline |
//! | a batch that fails | its callers get the failure, those behind it get the next batch |
//! | one row that cannot be read | the batch is asked for again, one by one |
//! | a runtime that ends | waiting callers get `Unavailable` |

use std::collections::{HashMap, VecDeque};
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

/// Most requests that wait for a batch. Beyond that a load is refused as unavailable at once: a
/// caller that would have to wait that long would give up anyway.
const MAX_WAITING: usize = 10_000;

type Answer = Result<Option<Arc<SessionRecord>>>;
type Senders = Vec<oneshot::Sender<Answer>>;

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
    waiting: HashMap<SessionId, Senders>,
    /// The ids that wait, in the order in which they were first asked for.
    order: VecDeque<SessionId>,
    /// How many senders wait, over all ids.
    waiters: usize,
    /// Since when callers wait without a batch having gone out.
    waiting_since: Option<Instant>,
    /// Raised when all slots are given up for lost. What an older slot does no longer counts.
    epoch: u64,
}

impl State {
    /// A load ends by its deadline and hands its slot to those who wait. If they waited longer than
    /// that, its caller stopped polling it without dropping it, and must not stop everybody else.
    fn give_up_lost_slots(&mut self, deadline: Duration) {
        if self.waiting_since.is_some_and(|since| since.elapsed() > deadline) {
            self.epoch += 1;
            self.under_way = 0;
            self.waiting_since = None;
        }
    }

    fn wait(&mut self, id: SessionId) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.waiters += 1;
        self.waiting_since.get_or_insert_with(Instant::now);
        let senders = self.waiting.entry(id).or_default();
        if senders.is_empty() {
            self.order.push_back(id);
        }
        senders.push(sender);
        receiver
    }

    /// Takes the ids of the next batch with those who wait for them, leaving out callers that are
    /// gone.
    fn next_batch(&mut self) -> HashMap<SessionId, Senders> {
        let mut batch = HashMap::new();
        while batch.len() < MAX_GATHERED {
            let Some(id) = self.order.pop_front() else { break };
            let mut senders = self.waiting.remove(&id).unwrap_or_default();
            self.waiters -= senders.len();
            senders.retain(|sender| !sender.is_closed());
            if !senders.is_empty() {
                batch.insert(id, senders);
            }
        }
        self.waiting_since = (self.waiters > 0).then(Instant::now);
        batch
    }
}

/// What a caller gets when it asks.
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
    /// A load never joins a batch that is under way: its answer is newer than every write that
    /// ended before it was asked.
    pub(crate) async fn load(self: &Arc<Self>, operation: &mut Operation<'_>, id: SessionId) -> Answer {
        match self.turn(id)? {
            Turn::Go(_slot) => operation.load(id).await,
            Turn::Wait(answer) => operation.wait("load", answer).await,
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
        Ok(Turn::Wait(state.wait(id)))
    }

    async fn run_batch(&self, batch: HashMap<SessionId, Senders>) {
        let mut ids: Vec<_> = batch.keys().copied().collect();
        ids.sort_unstable();
        match self.backend.operation().load_many(&ids).await {
            Ok(mut found) => answer(batch, |id| Ok(found.remove(&id))),
            // One damaged row must not fail the others: they are asked for again, alone.
            Err(error) if error.kind() == ErrorKind::Corrupt && ids.len() > 1 => self.run_singly(batch).await,
            Err(error) => answer(batch, |_| Err(error.clone())),
        }
    }

    async fn run_singly(&self, batch: HashMap<SessionId, Senders>) {
        for (id, senders) in batch {
            let result = self.backend.operation().load(id).await;
            senders.into_iter().for_each(|sender| drop(sender.send(result.clone())));
        }
    }
}

fn answer(batch: HashMap<SessionId, Senders>, mut of: impl FnMut(SessionId) -> Answer) {
    for (id, senders) in batch {
        let result = of(id);
        senders.into_iter().for_each(|sender| drop(sender.send(result.clone())));
    }
}

/// A caller's right to ask the store. On drop, also of a caller that panics, it goes to the batches
/// if a caller waits.
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
        let batches = Batches { loads: Arc::clone(&self.loads), epoch: self.epoch, is_over: false };
        // A runtime that has ended drops the task at once, which gives the slot back.
        self.loads.tasks.spawn_on(batches.run(), &self.loads.runtime);
    }
}

/// The same right in the hands of the task that runs batches, one after the other. It starts no
/// task when it is dropped.
#[derive(Debug)]
struct Batches {
    loads: Arc<Loads>,
    epoch: u64,
    /// Whether the right was given back, or taken away.
    is_over: bool,
}

impl Batches {
    async fn run(mut self) {
        while let Some(batch) = self.next() {
            self.loads.run_batch(batch).await;
        }
    }

    /// The next batch. If there is none, the right is given back in the same step, so that no caller
    /// begins to wait in between.
    fn next(&mut self) -> Option<HashMap<SessionId, Senders>> {
        let mut state = self.loads.state.lock();
        if state.epoch != self.epoch {
            self.is_over = true;
            return None;
        }
        while !state.waiting.is_empty() {
            let batch = state.next_batch();
            if !batch.is_empty() {
                return Some(batch);
            }
        }
        state.under_way -= 1;
        self.is_over = true;
        None
    }
}

impl Drop for Batches {
    /// If it ends before its time, with its runtime or by a panic, and no other task runs batches,
    /// waiting callers get an error instead of waiting for ever.
    fn drop(&mut self) {
        let mut state = self.loads.state.lock();
        if self.is_over || state.epoch != self.epoch {
            return;
        }
        state.under_way -= 1;
        if state.under_way == 0 {
            state.order.clear();
            state.waiters = 0;
            state.waiting_since = None;
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            drop(waiting);
        }
    }
}
