//! Carrying an end through: once it was asked for, it happens, and it is reported once.
//!
//! | meets | how |
//! |---|---|
//! | a sign-in after the end was asked for | an end of a user's sessions names the time at which it was asked for as a bound, however late it is carried out; an id names one session for ever and needs none |
//! | a node whose clock is ahead | while the caller waits, sessions that such a node created within the [assumed skew](crate::SessionManagerBuilder::with_clock_skew) are listed, and ended by their ids |
//! | a node whose clock is behind | a sign-in there, within the skew after the end was asked for, looks like an earlier one: an attempt that is carried out later may end it. In doubt a session ends |
//! | a lost reply | what the lost attempt ended is found and reported, and the copies are notified |
//! | another node's end of the same session | the session keeps the first end; the copies of this node are notified all the same |
//! | events | one per session and process, however many attempts find it |

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use session_core::limits::MAX_BATCH;
use session_core::{
    EndScope, Ended, ErrorKind, ListQuery, Result, SessionId, SessionRecord, StateFilter, Timestamp, UserId,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::backend::Operation;
use crate::manager::{SessionManager, Shared};
use crate::metrics::Op;

/// How often an end whose outcome is unknown is tried again: after about 0.1, 0.2, 0.4 ... s, for
/// half a minute.
const RETRIES: usize = 8;

/// Most ends that are carried through at once. In an outage that lasts, an end beyond that has its
/// answer, "not confirmed", and is to be asked for again.
pub(crate) const CARRIED_AT_ONCE: usize = 1_000;

/// Most batches of sessions that were created ahead of time. A user does not sign in more often
/// within the skew.
const MAX_AHEAD: usize = 20;

/// Most ended sessions of a user that are looked at to find what a lost attempt had ended.
const MAX_FOUND: usize = 5_000;

impl SessionManager {
    /// Ends a session in the background.
    pub(crate) fn end_in_background(&self, id: SessionId, ended: Ended) {
        let shared = Arc::clone(self.shared());
        self.workers().spawn(async move {
            let mut operation = shared.backend.operation();
            // A failure is carried through like every other.
            let _ = shared.end_sessions(&mut operation, EndScope::id(id), ended).await;
        });
    }
}

impl Shared {
    /// Ends sessions. If the store does not answer, the caller gets the error, and the end is tried
    /// again in the background: a revocation that was asked for is not forgotten because a reply
    /// was lost.
    pub(crate) async fn end_sessions(
        self: &Arc<Self>,
        operation: &mut Operation<'_>,
        scope: EndScope,
        ended: Ended,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let result = self.end_first(operation, &scope, &ended).await;
        match &result {
            Ok(_) => {}
            Err(error) if error.is_transient() => {
                if let Ok(place) = Arc::clone(&self.carried).try_acquire_owned() {
                    self.tasks.spawn(Arc::clone(self).end_later(scope, ended, place));
                }
            }
            Err(_) => {}
        }
        result
    }

    /// Ends what exists while the caller waits, whichever node created it.
    async fn end_first(
        &self,
        operation: &mut Operation<'_>,
        scope: &EndScope,
        ended: &Ended,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let mut records = operation.end(scope, ended, created_until(scope, ended.at)).await?;
        self.report_ended(&records);
        // By their ids: an attempt that is carried out late must not end what is created after it
        // was asked for.
        for _ in 0..MAX_AHEAD {
            let ahead = self.created_ahead(operation, scope, ended.at).await?;
            if ahead.is_empty() {
                break;
            }
            let more = operation.end(&EndScope::Ids(ahead), ended, Timestamp::MAX).await?;
            self.report_ended(&more);
            records.extend(more);
        }
        Ok(records)
    }

    /// The active sessions of a scope that nodes created whose clocks are ahead.
    async fn created_ahead(
        &self,
        operation: &mut Operation<'_>,
        scope: &EndScope,
        at: Timestamp,
    ) -> Result<Vec<SessionId>> {
        let (EndScope::Device { user, .. } | EndScope::User(user) | EndScope::UserExcept { user, .. }) =
            scope
        else {
            return Ok(Vec::new());
        };
        if self.settings.clock_skew.is_zero() {
            return Ok(Vec::new());
        }
        let after = at.saturating_add(Duration::from_millis(1));
        let query = ListQuery::default()
            .with_user(user.clone())
            .with_state(StateFilter::Live(at))
            .with_created_since(after)
            .with_limit(MAX_BATCH);
        let page = operation.list(&query).await?;
        let within = at.saturating_add(self.settings.clock_skew);
        let ahead =
            page.records.iter().filter(|record| record.created_at <= within && scope.contains(record));
        Ok(ahead.map(|record| record.id).collect())
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
                return self.found_ended(&records).await;
            }
        }
        tracing::warn!("sessions could not be ended: the store did not answer");
    }

    /// Notifies the copies of what a lost attempt had ended, and reports it.
    pub(crate) async fn found_ended(&self, records: &[Arc<SessionRecord>]) {
        if let Some(tiers) = &self.tiers {
            tiers.ended(records).await;
        }
        self.report_ended(records);
    }

    /// Ends what is still active and existed when the end was asked for, and finds what the lost
    /// attempt had ended.
    async fn end_again(&self, scope: &EndScope, ended: &Ended) -> Result<Vec<Arc<SessionRecord>>> {
        let mut records = self.backend.operation().end(scope, ended, created_until(scope, ended.at)).await?;
        let known: Vec<_> = records.iter().map(|record| record.id).collect();
        let before = self.ended_in(scope, ended.at).await?;
        let ours = |record: &Arc<SessionRecord>| record.ended() == Some(ended) && !known.contains(&record.id);
        records.extend(before.into_iter().filter(|record| scope.contains(record)).filter(ours));
        Ok(records)
    }

    async fn ended_in(&self, scope: &EndScope, since: Timestamp) -> Result<Vec<Arc<SessionRecord>>> {
        let mut operation = self.backend.operation();
        match scope {
            EndScope::Ids(ids) => operation.call(Op::Load, self.backend.store().load(ids)).await,
            EndScope::Device { user, .. } | EndScope::User(user) | EndScope::UserExcept { user, .. } => {
                self.ended_of(user, since).await
            }
            _ => Err(session_core::Error::new(ErrorKind::Unsupported, "manager", "end")),
        }
    }

    /// Reads a user's records that ended then or later, page by page.
    pub(crate) async fn ended_of(&self, user: &UserId, since: Timestamp) -> Result<Vec<Arc<SessionRecord>>> {
        let mut query =
            ListQuery::default().with_user(user.clone()).with_state(StateFilter::Ended).with_limit(500);
        let (mut records, mut seen) = (Vec::new(), 0);
        loop {
            let page = self.backend.operation().list(&query).await?;
            seen += page.records.len();
            let recent = |record: &Arc<SessionRecord>| record.ended().is_some_and(|ended| ended.at >= since);
            records.extend(page.records.into_iter().filter(recent));
            match page.next {
                Some(_) if seen < MAX_FOUND => query.after = page.next,
                _ => return Ok(records),
            }
        }
    }
}

/// Until when a session may have been created to be in a scope. One that is named by its id exists:
/// no clock decides about it.
fn created_until(scope: &EndScope, at: Timestamp) -> Timestamp {
    match scope {
        EndScope::Ids(_) => Timestamp::MAX,
        _ => at,
    }
}
