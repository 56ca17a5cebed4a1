//! The one way from the manager to the store: every call has a deadline, is measured, and fails
//! with a kind.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use session_core::{
    Clock, EndScope, Ended, Error, ErrorKind, EventKind, ListQuery, Page, Result, Revision, SessionId,
    SessionLimit, SessionRecord, SessionStore, Timestamp, Touch,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::events::Events;
use crate::metrics::{Op, StoreMetrics};
use crate::outage::StoreState;
use crate::tiers::{Notifying, TieredStore};

/// The store with what every call to it needs.
pub(crate) struct Backend {
    store: Arc<dyn SessionStore>,
    /// The same store, if there are copies in front of it.
    tiers: Option<Arc<TieredStore>>,
    name: &'static str,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    metrics: StoreMetrics,
    events: Arc<Events>,
    pub(crate) state: StoreState,
}

impl Backend {
    pub(crate) fn new(
        store: Arc<dyn SessionStore>,
        tiers: Option<Arc<TieredStore>>,
        deadline: Duration,
        clock: Arc<dyn Clock>,
        events: Arc<Events>,
    ) -> Self {
        let name = store.capabilities().name;
        let store = tiers.clone().map_or(store, |tiers| tiers as Arc<dyn SessionStore>);
        let state = StoreState::new(clock.now());
        Self { store, tiers, name, deadline, clock, metrics: StoreMetrics::new(name), events, state }
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

    /// Goes on with an operation in another task.
    pub(crate) fn operation_until(&self, deadline: Instant) -> Operation<'_> {
        Operation { backend: self, deadline: Some(deadline) }
    }

    fn record(&self, op: Op, took: Duration, error: Option<&Error>) {
        self.metrics.record(op, took, error);
        if let Op::Load = op {
            self.state.record(error.is_some_and(Error::is_transient), || self.clock.now());
        }
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

type Records = Vec<Arc<SessionRecord>>;

impl Operation<'_> {
    pub(crate) fn deadline(&mut self) -> Instant {
        *self.deadline.get_or_insert_with(|| Instant::now() + self.backend.deadline)
    }

    /// Makes a call. What it did when the deadline passes is unknown: the answer is
    /// [`ErrorKind::Timeout`].
    pub(crate) async fn call<T>(&mut self, op: Op, call: impl Future<Output = Result<T>>) -> Result<T> {
        let mut call = pin!(call);
        // A store in this process answers at once, and reading the clock costs as much as its
        // answer.
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

    /// Makes a call that changes sessions. The copies are updated after the store has answered,
    /// within a limit of their own: the time that they take is not the store's.
    async fn write<T>(&mut self, op: Op, call: impl Future<Output = Result<(T, Notifying)>>) -> Result<T> {
        let (answer, notifying) = self.call(op, call).await?;
        notifying.wait().await;
        Ok(answer)
    }

    pub(crate) async fn create(
        &mut self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Records> {
        match &self.backend.tiers {
            Some(tiers) => self.write(Op::Create, tiers.create_and_notify(record, limit)).await,
            None => self.call(Op::Create, self.backend.store.create(record, limit)).await,
        }
    }

    pub(crate) async fn update(
        &mut self,
        record: Arc<SessionRecord>,
        expected: Revision,
    ) -> Result<Revision> {
        match &self.backend.tiers {
            Some(tiers) => self.write(Op::Update, tiers.update_and_notify(record, expected)).await,
            None => self.call(Op::Update, self.backend.store.update(record, expected)).await,
        }
    }

    /// Writes a changed record and returns it as it is stored then.
    pub(crate) async fn store(
        &mut self,
        next: SessionRecord,
        expected: Revision,
    ) -> Result<Arc<SessionRecord>> {
        let next = Arc::new(next);
        let revision = self.update(Arc::clone(&next), expected).await?;
        Ok(Arc::new(Arc::unwrap_or_clone(next).with_revision(revision)))
    }

    pub(crate) async fn end(
        &mut self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Records> {
        match &self.backend.tiers {
            Some(tiers) => self.write(Op::End, tiers.end_and_notify(scope, ended, created_until)).await,
            None => self.call(Op::End, self.backend.store.end(scope, ended, created_until)).await,
        }
    }

    pub(crate) async fn expire(&mut self, now: Timestamp, limit: usize) -> Result<Records> {
        match &self.backend.tiers {
            Some(tiers) => self.write(Op::Expire, tiers.expire_and_notify(now, limit)).await,
            None => self.call(Op::Expire, self.backend.store.expire(now, limit)).await,
        }
    }

    pub(crate) async fn touch(&mut self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        self.call(Op::Touch, self.backend.store.touch(batch, now)).await
    }

    /// Loads one session. An answer that names another session is a swapped reply, not an answer.
    pub(crate) async fn load(&mut self, id: SessionId) -> Result<Option<Arc<SessionRecord>>> {
        let mut found = self.call(Op::Load, self.backend.store.load(&[id])).await?;
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
        let found = self.call(Op::Load, self.backend.store.load(ids)).await?;
        if found.iter().all(|record| ids.binary_search(&record.id).is_ok()) {
            return Ok(found.into_iter().map(|record| (record.id, record)).collect());
        }
        Err(Error::corrupt(self.backend.name, "load", "the store answered with another session"))
    }

    pub(crate) async fn list(&mut self, query: &ListQuery) -> Result<Page> {
        self.call(Op::List, self.backend.store.list(query)).await
    }

    /// Asks another service than the store, within the same deadline.
    pub(crate) async fn ask<T>(
        &mut self,
        (whom, what): (&'static str, &'static str),
        question: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let late = || Error::timeout(whom, what);
        timeout_at(self.deadline(), question).await.unwrap_or_else(|_| Err(late()))
    }

    /// Waits for an answer that another task gets.
    pub(crate) async fn wait<T>(
        &mut self,
        operation: &'static str,
        answer: oneshot::Receiver<Result<T>>,
    ) -> Result<T> {
        match timeout_at(self.deadline(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(gone)) => Err(Error::unavailable(self.backend.name, operation)
                .with_detail("the task that asked the store is gone")
                .with_source(gone)),
            Err(_) => Err(Error::timeout(self.backend.name, operation)),
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
}
