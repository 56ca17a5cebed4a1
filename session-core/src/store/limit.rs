//! How many sessions a user may have.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::record::SessionRecord;
use crate::time::Timestamp;

/// How many sessions a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLimit {
    /// Most live sessions, the new one included.
    pub max: NonZeroU32,
    /// What happens to the one too many.
    pub on_exceed: OnExceed,
    /// Which of the user's sessions count.
    pub scope: LimitScope,
    /// The time at which "live" is judged.
    pub now: Timestamp,
}

impl SessionLimit {
    /// Limits all sessions of the user.
    #[must_use]
    pub const fn new(max: NonZeroU32, on_exceed: OnExceed, now: Timestamp) -> Self {
        Self { max, on_exceed, scope: LimitScope::User, now }
    }

    /// Sets which sessions count.
    #[must_use]
    pub const fn with_scope(mut self, scope: LimitScope) -> Self {
        self.scope = scope;
        self
    }

    /// Returns whether a stored record counts against this limit when `new` is created.
    #[must_use]
    pub fn counts(&self, stored: &SessionRecord, new: &SessionRecord) -> bool {
        let in_scope = match self.scope {
            LimitScope::User => true,
            LimitScope::UserAndDeviceKind => stored.client.device.kind == new.client.device.kind,
        };
        in_scope && stored.user_id == new.user_id && stored.is_live(self.now)
    }

    /// Picks the records that must end so that one more fits, given all that count.
    ///
    /// # Errors
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) if the limit refuses instead.
    pub fn evict(
        &self,
        backend: &'static str,
        mut counted: Vec<Arc<SessionRecord>>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        let allowed = usize::try_from(self.max.get() - 1).unwrap_or(usize::MAX);
        let surplus = counted.len().saturating_sub(allowed);
        if surplus == 0 {
            return Ok(Vec::new());
        }
        match self.on_exceed {
            OnExceed::EndLeastRecentlySeen => counted.sort_by_key(|record| (record.last_seen_at, record.id)),
            OnExceed::EndOldest => counted.sort_by_key(|record| (record.created_at, record.id)),
            OnExceed::Refuse => {
                let live = counted.iter().map(|record| Arc::new(record.redacted())).collect();
                return Err(Error::limit_exceeded(backend, "create", live));
            }
        }
        counted.truncate(surplus);
        Ok(counted)
    }
}

/// What a limit does when it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnExceed {
    /// End the session that was not used for the longest time.
    EndLeastRecentlySeen,
    /// End the session that was created first.
    EndOldest,
    /// Refuse the new session.
    Refuse,
}

/// Which sessions count against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitScope {
    /// All of the user.
    User,
    /// Those of the user on the same kind of device.
    UserAndDeviceKind,
}
