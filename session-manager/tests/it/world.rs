//! What every test begins with: a manager on a store that can be made to fail, and a clock that
//! stands still.

use std::sync::Arc;
use std::time::Duration;

use session_conformance::faults::{Faults, FaultyStore};
use session_core::rules::{Facts, Reason, RequestClient, ValidationRule, Verdict};
use session_core::{
    DataLimits, ErrorKind, ManualClock, Result, SessionData, SessionId, SessionRecord, SessionStore,
    Timestamp, UserId,
};
use session_manager::{
    Created, NewSession, Rejection, Session, SessionManager, SessionManagerBuilder, ValidateError,
};
use session_memory::MemoryStore;

pub(crate) struct World {
    pub(crate) manager: SessionManager,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) faults: Faults,
    pub(crate) clock: Arc<ManualClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// Without the sweep worker, so that only the test itself asks the store.
    pub(crate) fn with(configure: impl FnOnce(SessionManagerBuilder) -> SessionManagerBuilder) -> Self {
        Self::on(Arc::default(), configure)
    }

    /// A further manager on a store, as another process would be.
    pub(crate) fn on(
        store: Arc<MemoryStore>,
        configure: impl FnOnce(SessionManagerBuilder) -> SessionManagerBuilder,
    ) -> Self {
        let clock = Arc::new(ManualClock::default());
        let faulty = FaultyStore::new(Arc::clone(&store));
        let faults = faulty.faults();
        let builder =
            SessionManager::builder(faulty).with_clock(Arc::clone(&clock)).with_sweep_interval(None);
        Self { manager: configure(builder).build().unwrap(), store, faults, clock }
    }

    pub(crate) async fn sign_in(&self, name: &str) -> Created {
        self.manager.create(NewSession::for_user(user(name)).with_username(name)).await.unwrap()
    }

    pub(crate) async fn validate(&self, token: &str) -> Result<Session, ValidateError> {
        self.manager.validate(token, &RequestClient::default()).await
    }

    /// The record as the store holds it, without the manager.
    pub(crate) async fn stored(&self, id: SessionId) -> Arc<SessionRecord> {
        self.store.load(&[id]).await.unwrap().pop().unwrap()
    }

    /// The data of a session as the store holds it.
    pub(crate) async fn data(&self, id: SessionId) -> serde_json::Value {
        let stored = self.stored(id).await;
        let data = SessionData::decode(&stored.data, &DataLimits::default()).unwrap();
        data.keys().map(|key| (key.to_owned(), data.value(key).cloned().unwrap())).collect()
    }

    pub(crate) async fn live(&self) -> u64 {
        self.store.stats(self.now()).await.unwrap().live
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.manager.now()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Presents a token, and lets the node take note of it.
    pub(crate) async fn present(&self, token: &str) {
        self.validate(token).await.unwrap();
        self.settle().await;
    }

    /// Lets background tasks run until nothing is left to do. Needs a runtime of one thread.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

#[track_caller]
pub(crate) fn rejection(outcome: Result<Session, ValidateError>) -> Rejection {
    match outcome {
        Err(ValidateError::Rejected(rejection)) => rejection,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn unavailable(outcome: Result<Session, ValidateError>) -> ErrorKind {
    match outcome {
        Err(ValidateError::Unavailable(error)) => error.kind(),
        other => panic!("expected an outage, got {other:?}"),
    }
}

#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("expected a failure").kind()
}

/// Polls a future once and drops it, as a server does when the client goes away.
pub(crate) async fn abandon<T>(future: impl Future<Output = T>) {
    let mut future = Box::pin(future);
    assert!(
        futures_util::poll!(&mut future).is_pending(),
        "the operation ended before it could be abandoned"
    );
}

/// The address that [`NotFromOutside`] denies.
pub(crate) const OUTSIDE: &str = "198.51.100.1";

/// Denies requests from one address.
#[derive(Debug)]
pub(crate) struct NotFromOutside;

impl ValidationRule for NotFromOutside {
    fn name(&self) -> &'static str {
        "not from outside"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        if facts.client.ip == OUTSIDE.parse().ok() { Verdict::Deny(Reason::Custom) } else { Verdict::Allow }
    }
}
