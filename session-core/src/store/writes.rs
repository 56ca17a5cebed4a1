//! The arguments of `touch` and `end`.

use std::collections::BTreeMap;

use super::check_batch;
use crate::client::LastClient;
use crate::error::Result;
use crate::id::{DeviceId, SessionId, UserId};
use crate::record::SessionRecord;
use crate::time::Timestamp;

/// One last-seen update of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Touch {
    /// The session.
    pub id: SessionId,
    /// The time of the use.
    pub last_seen_at: Timestamp,
    /// The client of the use.
    pub last_client: LastClient,
}

impl Touch {
    /// Describes a last-seen update.
    #[must_use]
    pub const fn new(id: SessionId, last_seen_at: Timestamp, last_client: LastClient) -> Self {
        Self { id, last_seen_at, last_client }
    }

    /// Returns the latest touch of each session (the first of equally late ones), sorted by id, so
    /// that two batches lock their rows in the same order.
    #[must_use]
    pub fn latest_of_each(batch: &[Self]) -> Vec<&Self> {
        let mut latest: BTreeMap<SessionId, &Self> = BTreeMap::new();
        for touch in batch {
            let known = latest.entry(touch.id).or_insert(touch);
            if touch.last_seen_at > known.last_seen_at {
                *known = touch;
            }
        }
        latest.into_values().collect()
    }
}

/// The sessions to end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndScope {
    /// A user's sessions on one device.
    Device {
        /// The user.
        user: UserId,
        /// The device.
        device: DeviceId,
    },
    /// These sessions, at most [`MAX_BATCH`](crate::limits::MAX_BATCH).
    Ids(Vec<SessionId>),
    /// All sessions of a user.
    User(UserId),
    /// All sessions of a user except one.
    UserExcept {
        /// The user.
        user: UserId,
        /// The session that stays.
        keep: SessionId,
    },
}

impl EndScope {
    /// Creates the scope of one session.
    #[must_use]
    pub fn id(id: SessionId) -> Self {
        Self::Ids(vec![id])
    }

    /// Checks the number of ids before any I/O.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for more than
    /// [`MAX_BATCH`](crate::limits::MAX_BATCH) ids.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Ids(ids) => check_batch("end", ids.len()),
            _ => Ok(()),
        }
    }

    /// Returns the user whose sessions are in the scope, `None` for a scope of ids.
    #[must_use]
    pub const fn user(&self) -> Option<&UserId> {
        match self {
            Self::Device { user, .. } | Self::User(user) | Self::UserExcept { user, .. } => Some(user),
            Self::Ids(_) => None,
        }
    }

    /// Returns true if a record is in the scope.
    #[must_use]
    pub fn contains(&self, record: &SessionRecord) -> bool {
        match self {
            Self::Device { user, device } => {
                record.user_id.as_ref() == Some(user) && record.device_id.as_ref() == Some(device)
            }
            Self::Ids(ids) => ids.contains(&record.id),
            Self::User(user) => record.user_id.as_ref() == Some(user),
            Self::UserExcept { user, keep } => record.user_id.as_ref() == Some(user) && record.id != *keep,
        }
    }
}
