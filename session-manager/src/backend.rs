//! The one way from the manager to the store: every call has a deadline, is measured, and fails with a kind.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use session_core::{EndScope, Ended, Error, ErrorKind, Result, SessionId, SessionRecord, SessionStore};
use tokio::time::{Instant, timeout_at};

use crate::metrics::{Op, StoreMetrics};

/// The store with what every call to it needs.
pub(crate) struct Backend {
    store: Arc<dyn SessionStore>,
    name: &'static str,
    deadline: Duration,
    metrics: StoreMetrics,
}

impl Backend {
    pub(crate) fn new(store: Arc<dyn SessionStore>, deadline: Duration) -> Self {
        let name = store.capabilities().name;
        Self { store, name, deadline, metrics: StoreMetrics::new(name) }
    }

    pub(crate) fn store(&self) -> &dyn SessionStore {
        &*self.store
    }

    /// Begins an operation: all of its calls together have one deadline.
    pub(crate) fn operation(&self) -> Operation<'_> {
        let mark = Instant::now();
        Operation { backend: self, mark, deadline: mark + self.deadline }
    }
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
    /// When the last call ended, so that one reading of the clock per call measures it.
    mark: Instant,
    deadline: Instant,
}

impl Operation<'_> {
    /// Makes a call. What it did when the deadline passes is unknown: the answer is [`ErrorKind::Timeout`].
    pub(crate) async fn call<T>(&mut self, op: Op, call: impl Future<Output = Result<T>>) -> Result<T> {
        let timed_out = || Error::timeout(self.backend.name, op.as_str());
        let result = timeout_at(self.deadline, call).await.unwrap_or_else(|_| Err(timed_out()));
        let now = Instant::now();
        self.backend.metrics.record(op, now - self.mark, result.as_ref().err());
        self.mark = now;
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
        tokio::time::sleep_until(until.min(self.deadline)).await;
        self.mark = Instant::now();
    }
}
