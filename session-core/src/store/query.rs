//! Listings and statistics.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use crate::end::EndReason;
use crate::error::{Error, Result};
use crate::id::{DeviceId, SessionId, UserId};
use crate::limits::MAX_PAGE;
use crate::record::{SessionKind, SessionRecord};
use crate::time::Timestamp;

/// The filter and page of a listing.
///
/// # Examples
/// ```
/// use session_core::{ListQuery, StateFilter, Timestamp};
///
/// let query = ListQuery::default()
///     .with_user("ann".parse()?)
///     .with_state(StateFilter::Live(Timestamp::from_millis(1_767_225_600_000)))
///     .with_limit(20);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListQuery {
    /// Only sessions of this user.
    pub user: Option<UserId>,
    /// Only sessions with this user name.
    pub username: Option<String>,
    /// Only sessions in this state.
    pub state: StateFilter,
    /// Only sessions of this kind.
    pub kind: Option<SessionKind>,
    /// Only sessions on this device.
    pub device: Option<DeviceId>,
    /// Only sessions created at this time or later.
    pub created_since: Option<Timestamp>,
    /// Only sessions after this position.
    pub after: Option<Cursor>,
    /// The maximum number of records on the page, at least 1, 100 by default.
    pub limit: usize,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            user: None,
            username: None,
            state: StateFilter::Any,
            kind: None,
            device: None,
            created_since: None,
            after: None,
            limit: 100,
        }
    }
}

impl ListQuery {
    /// Selects the sessions of one user.
    #[must_use]
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Selects sessions by user name.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Selects sessions by state.
    #[must_use]
    pub const fn with_state(mut self, state: StateFilter) -> Self {
        self.state = state;
        self
    }

    /// Selects sessions of one kind.
    #[must_use]
    pub const fn with_kind(mut self, kind: SessionKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Selects sessions on one device. Combine it with a user, because the query scans that user's
    /// sessions.
    #[must_use]
    pub const fn with_device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// Selects sessions created at `since` or later.
    #[must_use]
    pub const fn with_created_since(mut self, since: Timestamp) -> Self {
        self.created_since = Some(since);
        self
    }

    /// Continues after a position.
    #[must_use]
    pub const fn with_after(mut self, after: Option<Cursor>) -> Self {
        self.after = after;
        self
    }

    /// Sets the page size.
    #[must_use]
    pub const fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Checks the page size before any I/O.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for zero or more than [`MAX_PAGE`].
    pub fn check(&self) -> Result<()> {
        match self.limit {
            1..=MAX_PAGE => Ok(()),
            _ => Err(Error::invalid("list", "a page holds 1 to 500 records")),
        }
    }

    /// Returns true if a record belongs to this page of the listing or a later one.
    #[must_use]
    pub fn matches(&self, record: &SessionRecord) -> bool {
        let state = match self.state {
            StateFilter::Any => true,
            StateFilter::Ended => record.ended().is_some(),
            StateFilter::Live(now) => record.is_live(now),
        };
        state
            && self.user.as_ref().is_none_or(|user| record.user_id.as_ref() == Some(user))
            && self.username.as_ref().is_none_or(|name| record.username.as_ref() == Some(name))
            && self.kind.is_none_or(|kind| record.kind == kind)
            && self.device.is_none_or(|device| record.device_id == Some(device))
            && self.created_since.is_none_or(|since| record.created_at >= since)
            && self.after.is_none_or(|after| Cursor::of(record) < after)
    }
}

/// The states to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateFilter {
    /// All sessions.
    Any,
    /// Ended sessions.
    Ended,
    /// Sessions that are live at the given time: not ended, and before both deadlines.
    Live(Timestamp),
}

/// A position in a listing. Its text form is opaque and safe in a URL.
///
/// # Examples
/// ```
/// use session_core::{Cursor, SessionId, SystemRandom, Timestamp};
///
/// let now = Timestamp::from_millis(1_767_225_600_000);
/// let cursor = Cursor::new(now, SessionId::mint(now, None, &SystemRandom)?);
/// assert_eq!(cursor.to_string().parse::<Cursor>()?, cursor);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Cursor {
    /// The creation time of the last record before the next page.
    pub created_at: Timestamp,
    /// Its id, which orders records of one millisecond.
    pub id: SessionId,
}

impl Cursor {
    /// Creates a position.
    #[must_use]
    pub const fn new(created_at: Timestamp, id: SessionId) -> Self {
        Self { created_at, id }
    }

    /// Returns the position of a record.
    #[must_use]
    pub const fn of(record: &SessionRecord) -> Self {
        Self::new(record.created_at, record.id)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.created_at.as_millis().to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || Error::invalid("parse", "not a cursor of a session list");
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| malformed())?;
        let bytes: [u8; 24] = bytes.try_into().map_err(|_| malformed())?;
        let [a, b, c, d, e, f, g, h, id @ ..] = bytes;
        let created_at = Timestamp::from_millis(i64::from_be_bytes([a, b, c, d, e, f, g, h]));
        Ok(Self::new(created_at, SessionId::from_bytes(id).map_err(|_| malformed())?))
    }
}

/// One page of a listing.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Page {
    /// The records, newest first, redacted.
    pub records: Vec<Arc<SessionRecord>>,
    /// The position of the next page, `None` on the last page.
    pub next: Option<Cursor>,
}

impl Page {
    /// Cuts the result of a query to one page. `found` is sorted, and holds at least one record
    /// more than the page if there is a next page.
    #[must_use]
    pub fn cut(mut found: Vec<Arc<SessionRecord>>, limit: usize) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|record| Cursor::of(record));
        Self { records: found, next }
    }
}

/// The number and age of the sessions in a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Live sessions.
    pub live: u64,
    /// Sessions past a deadline that are not swept yet.
    pub expired: u64,
    /// Ended sessions by reason. Reasons that do not occur are absent.
    pub ended: std::collections::BTreeMap<EndReason, u64>,
    /// Users with at least one live session.
    pub users: u64,
    /// The earliest creation time of a stored session.
    pub oldest: Option<Timestamp>,
    /// The latest creation time of a stored session.
    pub newest: Option<Timestamp>,
}

impl StoreStats {
    /// Counts all records of a store, for backends that keep no counters.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a SessionRecord>, now: Timestamp) -> Self {
        let (mut stats, mut users) = (Self::default(), HashSet::new());
        for record in records {
            match record.ended() {
                Some(ended) => *stats.ended.entry(ended.reason).or_default() += 1,
                None if record.is_live(now) => {
                    stats.live += 1;
                    users.extend(&record.user_id);
                }
                None => stats.expired += 1,
            }
            let created = Some(record.created_at);
            stats.oldest = stats.oldest.min(created).or(created);
            stats.newest = stats.newest.max(created);
        }
        stats.users = users.len() as u64;
        stats
    }
}
