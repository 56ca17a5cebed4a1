//! The maximum number of sessions of a user.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::record::SessionRecord;
use crate::time::Timestamp;

/// A limit on the number of a user's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionLimit {
    /// The maximum number of live sessions, including the new one.
    pub max: NonZeroU32,
    /// The action when the limit is exceeded.
    pub on_exceed: OnExceed,
    /// Which of the user's sessions count.
    pub scope: LimitScope,
    /// The maximum number of live sessions on devices of the new session's kind, in addition to
    /// `max` over the sessions of `scope`. `None` means no such limit. With
    /// [`LimitScope::UserAndDeviceKind`], both limits count the same sessions, and the smaller one
    /// applies.
    pub max_per_device_kind: Option<NonZeroU32>,
    /// A session that the caller ends as soon as the new one is stored. It does not count, and it is
    /// not evicted.
    pub replaces: Option<SessionId>,
    /// The time for deciding which sessions are live.
    pub now: Timestamp,
}

impl SessionLimit {
    /// Limits all sessions of the user.
    #[must_use]
    pub const fn new(max: NonZeroU32, on_exceed: OnExceed, now: Timestamp) -> Self {
        Self { max, on_exceed, scope: LimitScope::User, max_per_device_kind: None, replaces: None, now }
    }

    /// Sets which sessions count.
    #[must_use]
    pub const fn with_scope(mut self, scope: LimitScope) -> Self {
        self.scope = scope;
        self
    }

    /// Adds a limit for devices of the new session's kind: for example, at most 2 phones and 5
    /// sessions altogether.
    #[must_use]
    pub const fn with_max_per_device_kind(mut self, max: NonZeroU32) -> Self {
        self.max_per_device_kind = Some(max);
        self
    }

    /// Leaves out the session that the new one replaces.
    #[must_use]
    pub const fn with_replaces(mut self, replaced: SessionId) -> Self {
        self.replaces = Some(replaced);
        self
    }

    /// Returns true if a stored record counts against this limit when `new` is created.
    #[must_use]
    pub fn counts(&self, stored: &SessionRecord, new: &SessionRecord) -> bool {
        let in_scope = match self.scope {
            LimitScope::User => true,
            LimitScope::UserAndDeviceKind => is_of_same_kind(stored, new),
        };
        let gives_way = self.replaces == Some(stored.id);
        in_scope && !gives_way && stored.user_id == new.user_id && stored.is_live(self.now)
    }

    /// Selects the records to end so that `new` fits, from all records that count.
    ///
    /// Applies the limit per kind of device first; its evictions make room under the other limit
    /// too.
    ///
    /// # Errors
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) if the limit refuses instead, with the
    /// sessions that fill the exceeded limit.
    pub fn evict(
        &self,
        backend: &'static str,
        new: &SessionRecord,
        mut counted: Vec<Arc<SessionRecord>>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        counted.sort_by_key(|record| self.order(record));
        let mut evicted = Vec::new();
        if let Some(max) = self.max_per_device_kind {
            let (alike, others) = counted.into_iter().partition(|stored| is_of_same_kind(stored, new));
            let (gone, stay) = self.surplus(backend, max, alike)?;
            (evicted, counted) = (gone, others);
            counted.extend(stay);
            counted.sort_by_key(|record| self.order(record));
        }
        let (gone, _) = self.surplus(backend, self.max, counted)?;
        evicted.extend(gone);
        Ok(evicted)
    }

    /// Splits sessions in eviction order into those to end and those that stay.
    fn surplus(
        &self,
        backend: &'static str,
        max: NonZeroU32,
        mut counted: Records,
    ) -> Result<(Records, Records)> {
        let allowed = usize::try_from(max.get() - 1).unwrap_or(usize::MAX);
        let surplus = counted.len().saturating_sub(allowed);
        if surplus > 0 && self.on_exceed == OnExceed::Refuse {
            let live = counted.iter().map(|record| Arc::new(record.redacted())).collect();
            return Err(Error::limit_exceeded(backend, "create", live));
        }
        let stay = counted.split_off(surplus);
        Ok((counted, stay))
    }

    /// Returns the sort key for evictions: by last use or by creation, then by id.
    fn order(&self, record: &SessionRecord) -> (Timestamp, SessionId) {
        match self.on_exceed {
            OnExceed::EndLeastRecentlySeen => (record.last_seen_at, record.id),
            OnExceed::EndOldest | OnExceed::Refuse => (record.created_at, record.id),
        }
    }
}

type Records = Vec<Arc<SessionRecord>>;

fn is_of_same_kind(stored: &SessionRecord, new: &SessionRecord) -> bool {
    stored.client.device.kind == new.client.device.kind
}

/// The action of a limit when it is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnExceed {
    /// End the session that was unused for the longest time.
    EndLeastRecentlySeen,
    /// End the session that was created first.
    EndOldest,
    /// Refuse the new session.
    Refuse,
}

/// The sessions that count against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitScope {
    /// All sessions of the user.
    User,
    /// The user's sessions on the same kind of device.
    UserAndDeviceKind,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::{ClientInfo, DeviceKind};
    use crate::id::UserId;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_767_225_600_000).saturating_add(Duration::from_millis(millis))
    }

    fn session(kind: DeviceKind, millis: u64) -> Arc<SessionRecord> {
        let user = UserId::from(7_u64);
        let id = SessionId::derive("test", &millis.to_be_bytes(), Some(&user));
        let mut record = SessionRecord::new(id, at(millis), at(1_000_000));
        record.user_id = Some(user);
        let mut client = ClientInfo::default();
        client.device.kind = Some(kind);
        record.client = Arc::new(client);
        Arc::new(record)
    }

    fn max(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn both_limits_hold_and_one_eviction_counts_for_both() {
        let (phone, desktop) = (DeviceKind::Mobile, DeviceKind::Desktop);
        let limit = SessionLimit::new(max(4), OnExceed::EndOldest, at(100)).with_max_per_device_kind(max(2));
        let stored = vec![session(desktop, 1), session(phone, 2), session(phone, 3), session(desktop, 4)];
        let new = session(phone, 5);
        let ids = |records: &[Arc<SessionRecord>]| records.iter().map(|record| record.id).collect::<Vec<_>>();
        let evicted = limit.evict("test", &new, stored.clone()).unwrap();
        assert_eq!(ids(&evicted), [stored[1].id], "evicting the older phone satisfies both limits");
        let new = session(DeviceKind::Tv, 6);
        let evicted = limit.evict("test", &new, stored.clone()).unwrap();
        assert_eq!(ids(&evicted), [stored[0].id], "the first television: only the overall limit applies");
        let refusing = SessionLimit::new(max(9), OnExceed::Refuse, at(100)).with_max_per_device_kind(max(2));
        let refused = refusing.evict("test", &session(phone, 7), stored.clone()).unwrap_err();
        assert_eq!(
            ids(refused.live_sessions()),
            [stored[1].id, stored[2].id],
            "the sessions that fill the exceeded limit"
        );
        assert!(refusing.evict("test", &session(DeviceKind::Tv, 8), stored).unwrap().is_empty());
    }
}
