//! Carrying an end through: once it was asked for, it happens, and it is reported once.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use session_core::{
    EndScope, Ended, ErrorKind, ListQuery, Result, SessionId, SessionRecord, StateFilter, UserId,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use crate::backend::Operation;
use crate::manager::{SessionManager, Shared};
use crate::metrics::Op;

/// How often an end whose outcome is unknown is tried again: after about 0.1, 0.2, 0.4 ... s, for half a minute.
const RETRIES: usize = 8;

/// Most ends that are carried through at once. In an outage that lasts, whoever asks beyond that has their answer, "not confirmed", and
/// asks again.
pub(crate) const CARRIED_AT_ONCE: usize = 1_000;

impl SessionManager {
    /// Ends a session of which nobody waits to hear.
    pub(crate) fn end_in_background(&self, id: SessionId, ended: Ended) {
        let (shared, tasks) = (Arc::clone(self.shared()), self.workers().tasks());
        self.workers().spawn(async move {
            let mut operation = shared.backend.operation();
            // A failure is carried through like every other.
            let _ = shared.end_sessions(&mut operation, EndScope::id(id), ended, &tasks).await;
        });
    }
}

impl Shared {
    /// Ends sessions. If the store does not answer, the caller is told so, and the end is tried again in the background: a
    /// revocation that was asked for is not forgotten because a reply was lost.
    pub(crate) async fn end_sessions(
        self: &Arc<Self>,
        operation: &mut Operation<'_>,
        scope: EndScope,
        ended: Ended,
        tasks: &TaskTracker,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let result = operation.end(&scope, &ended).await;
        match &result {
            Ok(records) => self.report_ended(records),
            Err(error) if error.is_transient() => {
                if let Ok(place) = Arc::clone(&self.carried).try_acquire_owned() {
                    tasks.spawn(Arc::clone(self).end_later(scope, ended, place));
                }
            }
            Err(_) => {}
        }
        result
    }

    async fn end_later(self: Arc<Self>, scope: EndScope, ended: Ended, _place: OwnedSemaphorePermit) {
        let delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(10))
            .with_jitter()
            .with_max_times(RETRIES)
            .build();
        for delay in delays {
            tokio::time::sleep(delay).await;
            if let Ok(records) = self.end_again(&scope, &ended).await {
                // The copies have not heard of those that the lost attempt had ended.
                if let Some(tiers) = &self.tiers {
                    tiers.ended(&records).await;
                }
                self.report_ended(&records);
                return;
            }
        }
        tracing::warn!("sessions could not be ended: the store did not answer");
    }

    /// Ends what is still active, and finds what the lost attempt had ended: its end is exactly ours.
    async fn end_again(&self, scope: &EndScope, ended: &Ended) -> Result<Vec<Arc<SessionRecord>>> {
        let mut records = self.backend.operation().end(scope, ended).await?;
        let known: Vec<_> = records.iter().map(|record| record.id).collect();
        let before = self.ended_in(scope).await?;
        let ours = |record: &Arc<SessionRecord>| record.ended() == Some(ended) && !known.contains(&record.id);
        records.extend(before.into_iter().filter(|record| scope.contains(record)).filter(ours));
        Ok(records)
    }

    async fn ended_in(&self, scope: &EndScope) -> Result<Vec<Arc<SessionRecord>>> {
        let mut operation = self.backend.operation();
        match scope {
            EndScope::Ids(ids) => operation.call(Op::Load, self.backend.store().load(ids)).await,
            EndScope::Device { user, .. } | EndScope::User(user) | EndScope::UserExcept { user, .. } => {
                self.all_of(user, StateFilter::Ended).await
            }
            _ => Err(session_core::Error::new(ErrorKind::Unsupported, "manager", "end")),
        }
    }

    /// Reads all of a user's records, page by page.
    pub(crate) async fn all_of(&self, user: &UserId, state: StateFilter) -> Result<Vec<Arc<SessionRecord>>> {
        let mut query = ListQuery::default().with_user(user.clone()).with_state(state).with_limit(500);
        let mut records = Vec::new();
        loop {
            let list = self.backend.store().list(&query);
            let page = self.backend.operation().call(Op::List, list).await?;
            records.extend(page.records);
            match page.next {
                None => return Ok(records),
                next => query.after = next,
            }
        }
    }
}
