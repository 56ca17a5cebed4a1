//! What becomes of a session whose creation was not answered.
//!
//! The store may carry it out later, long after its caller got an error. The token of a sign-in
//! that failed was never handed out, so the session is ended; what it evicted is reported. An
//! `ensure` that failed is asked for again and finds its session, so that one stays.
//!
//! The store is looked at several times within half a minute. A creation that it carries out later
//! than that, because it was stopped meanwhile, is not noticed: its session stays until it expires
//! or gives way to a limit.

use std::sync::Arc;
use std::time::Duration;

use session_core::{Actor, EndReason, EndScope, Ended, ListQuery, SessionRecord, StateFilter, Timestamp};

use crate::manager::{SessionManager, Shared};

/// When to look, counted from the time before.
const PAUSES: [u64; 6] = [0, 200, 800, 2_000, 6_000, 15_000];

/// Most ended sessions of a user among which evicted ones are looked for.
const MAX_EVICTED: usize = 500;

/// What was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    Ensure,
    SignIn,
}

impl SessionManager {
    /// Looks in the background for a session that the store may have kept.
    pub(crate) fn follow_up(&self, record: Arc<SessionRecord>, now: Timestamp, lost: Lost) {
        let (shared, has_limit) = (Arc::clone(self.shared()), self.limit_for(&record, now).is_some());
        if lost == Lost::Ensure && !has_limit {
            return;
        }
        // Beyond the bound it is left to its expiry, like an end that was not confirmed.
        let Ok(place) = Arc::clone(&shared.carried).try_acquire_owned() else { return };
        self.workers().spawn(async move {
            let mut is_stored = false;
            for pause in PAUSES {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                is_stored = is_stored || shared.is_stored(&record, now, lost).await;
                if is_stored && (!has_limit || shared.report_evicted_by(&record, now).await) {
                    break;
                }
            }
            drop(place);
        });
    }
}

impl Shared {
    /// Whether the store has the session by now. One of a sign-in is ended.
    async fn is_stored(&self, record: &SessionRecord, now: Timestamp, lost: Lost) -> bool {
        let mut operation = self.backend.operation();
        if lost == Lost::SignIn {
            let ended = Ended::new(EndReason::Superseded, now, Actor::System);
            match operation.end(&EndScope::id(record.id), &ended, Timestamp::MAX).await {
                Ok(records) if !records.is_empty() => {
                    self.report_ended(&records);
                    return true;
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        let Ok(Some(stored)) = operation.load(record.id).await else { return false };
        if stored.ended().is_none() {
            // A sign-in was stored after it was to be ended: the next look ends it.
            return lost == Lost::Ensure;
        }
        // If another attempt ended it, that attempt's reply was lost.
        self.found_ended(&[stored]).await;
        true
    }

    /// Reports what a session evicted whose creation was not answered. The
    /// sessions and their reports are identified by their ends, so that none is reported twice.
    /// False if the store does not answer yet.
    async fn report_evicted_by(&self, record: &SessionRecord, now: Timestamp) -> bool {
        let Some(user) = record.user_id.clone() else { return true };
        let evicted = Ended::new(EndReason::LimitEvicted, now, Actor::System);
        let query =
            ListQuery::default().with_user(user).with_state(StateFilter::Ended).with_limit(MAX_EVICTED);
        let Ok(page) = self.backend.operation().list(&query).await else { return false };
        let ours = |record: &Arc<SessionRecord>| record.ended() == Some(&evicted);
        let ended: Vec<_> = page.records.into_iter().filter(ours).collect();
        self.found_ended(&ended).await;
        true
    }
}
