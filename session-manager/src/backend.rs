//! The one way from the manager to the store: every call has a deadline, is measured, and fails with a kind.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;

use session_core::{
    EndScope, Ended, Error, ErrorKind, EventKind, Result, SessionId, SessionRecord, SessionStore,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::events::Events;
use crate::metrics::{Op, StoreMetrics};

/// The store with what every call to it needs.
pub(crate) struct Backend {
    store: Arc<dyn SessionStore>,
    name: &'static str,
    deadline: Duration,
    metrics: StoreMetrics,
    events: Arc<Events>,
}

impl Backend {
    pub(crate) fn new(store: Arc<dyn SessionStore>, deadline: Duration, events: Arc<Events>) -> Self {
        let name = store.capabilities().name;
        Self { store, name, deadline, metrics: StoreMetrics::new(name), events }
    }

    pub(crate) fn store(&self) -> &dyn SessionStore {
        &*self.store
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Begins an operation: all of its calls together have one deadline.
    pub(crate) fn operation(&self) -> Operation<'_> {
        Operation { backend: self, deadline: None }
    }

    fn record(&self, op: Op, took: Duration, error: Option<&Error>) {
        self.metrics.record(op, took, error);
        if let Some(error) = error.filter(|error| is_failure(error.kind())) {
            let event = EventKind::StoreError { operation: op.as_str(), kind: error.kind() };
            self.events.emit(event, None, None);
        }
    }
}

/// Whether the store itself failed, as against an answer that is not the hoped-for one.
const fn is_failure(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Corrupt | ErrorKind::Other | ErrorKind::Timeout | ErrorKind::Unavailable)
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("store", &self.store)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// One operation of the manager, made of one or more calls.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    backend: &'a Backend,
    /// Set when the operation first has to wait: before that no time passes.
    deadline: Option<Instant>,
}

impl Operation<'_> {
    fn deadline(&mut self) -> Instant {
        *self.deadline.get_or_insert_with(|| Instant::now() + self.backend.deadline)
    }

    /// Makes a call. What it did when the deadline passes is unknown: the answer is [`ErrorKind::Timeout`].
    pub(crate) async fn call<T>(&mut self, op: Op, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mut call = pin!(call);
        // A store in this process answers at once, and reading the clock costs as much as its answer.
        let (result, took) = match poll!(call.as_mut()) {
            Poll::Ready(result) => (result, Duration::ZERO),
            Poll::Pending => {
                let (started, deadline) = (Instant::now(), self.deadline());
                let timed_out = || Error::timeout(self.backend.name, op.as_str());
                let result = timeout_at(deadline, call).await.unwrap_or_else(|_| Err(timed_out()));
                (result, started.elapsed())
            }
        };
        self.backend.record(op, took, result.as_ref().err());
        result
    }

    /// Loads one session. An answer that names another session is a swapped reply, not an answer.
    pub(crate) async fn load(&mut self, id: SessionId) -> Result<Option<Arc<SessionRecord>>> {
        let mut found = self.call(Op::Load, self.backend.store().load(&[id])).await?;
        match (found.pop(), found.is_empty()) {
            (None, _) => Ok(None),
            (Some(record), true) if record.id == id => Ok(Some(record)),
            _ => Err(Error::corrupt(self.backend.name, "load", "the store answered with another session")),
        }
    }

    /// Loads several sessions at once, by their ids in ascending order.
    pub(crate) async fn load_many(
        &mut self,
        ids: &[SessionId],
    ) -> Result<HashMap<SessionId, Arc<SessionRecord>>> {
        let found = self.call(Op::Load, self.backend.store().load(ids)).await?;
        if found.iter().all(|record| ids.binary_search(&record.id).is_ok()) {
            return Ok(found.into_iter().map(|record| (record.id, record)).collect());
        }
        Err(Error::corrupt(self.backend.name, "load", "the store answered with another session"))
    }

    /// Asks somebody else than the store, within the same deadline.
    pub(crate) async fn ask<T>(
        &mut self,
        (whom, what): (&'static str, &'static str),
        question: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let late = || Error::timeout(whom, what);
        timeout_at(self.deadline(), question).await.unwrap_or_else(|_| Err(late()))
    }

    /// Waits for an answer that somebody else asks for.
    pub(crate) async fn wait<T>(&mut self, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        match timeout_at(self.deadline(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(gone)) => Err(Error::other(self.backend.name, "load", gone)),
            Err(_) => Err(Error::timeout(self.backend.name, "load")),
        }
    }

    /// Loads one session that has to be there and active.
    pub(crate) async fn load_active(&mut self, id: SessionId) -> Result<Arc<SessionRecord>> {
        let record = self.load(id).await?.ok_or_else(|| Error::not_found(self.backend.name, "load"))?;
        match record.ended() {
            Some(ended) => Err(Error::ended(self.backend.name, "load", ended.clone())),
            None => Ok(record),
        }
    }

    pub(crate) async fn end(&mut self, scope: &EndScope, ended: &Ended) -> Result<Vec<Arc<SessionRecord>>> {
        self.call(Op::End, self.backend.store().end(scope, ended)).await
    }

    /// Writes a changed record, based on what is stored: reloads and changes again when another write came first, at most
    /// [`RETRIES`](Self::RETRIES) times. `change` returns `None` if nothing has to be written.
    pub(crate) async fn modify(
        &mut self,
        mut current: Arc<SessionRecord>,
        mut change: impl FnMut(&SessionRecord) -> Result<Option<SessionRecord>>,
    ) -> Result<Arc<SessionRecord>> {
        for attempt in 0..=Self::RETRIES {
            let Some(mut next) = change(&current)? else { return Ok(current) };
            let update = self.backend.store().update(Arc::new(next.clone()), current.revision);
            match self.call(Op::Update, update).await {
                Ok(revision) => {
                    next.revision = revision;
                    return Ok(Arc::new(next));
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    self.pause(attempt).await;
                    current = self.load_active(current.id).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(self.backend.name, "update", current.revision)
            .with_detail("other writers kept coming first"))
    }

    /// How often a write is tried again after a conflict.
    const RETRIES: u32 = 3;

    /// Waits 0 to 1, 0 to 2, 0 to 4 ms: conflicting writers must not meet again.
    async fn pause(&mut self, attempt: u32) {
        let longest = 1_000_u64 << attempt;
        let until = Instant::now() + Duration::from_micros(fastrand::u64(0..longest));
        tokio::time::sleep_until(until.min(self.deadline())).await;
    }
}
