//! Listings and statistics.

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

/// Which sessions to list.
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
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only those with this user name.
    pub username: Option<String>,
    /// Only those in this state.
    pub state: StateFilter,
    /// Only those of this kind.
    pub kind: Option<SessionKind>,
    /// Only those on this device.
    pub device: Option<DeviceId>,
    /// Only those created then or later.
    pub created_since: Option<Timestamp>,
    /// Only those after this position.
    pub after: Option<Cursor>,
    /// Most records on the page, at least 1, 100 by default.
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
    /// Lists one user's sessions.
    #[must_use]
    pub fn with_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Lists by user name.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Lists one state.
    #[must_use]
    pub const fn with_state(mut self, state: StateFilter) -> Self {
        self.state = state;
        self
    }

    /// Lists one kind.
    #[must_use]
    pub const fn with_kind(mut self, kind: SessionKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Lists one device. Meant for use with a user, whose sessions are looked through.
    #[must_use]
    pub const fn with_device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// Lists what was created then or later.
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

    /// Returns whether a record belongs to the listing, this page or a later one.
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

/// Which states to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateFilter {
    /// All.
    Any,
    /// Ended ones.
    Ended,
    /// Those that are live at the given time: not ended, and before both deadlines.
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
    /// The creation time of the record before the next page.
    pub created_at: Timestamp,
    /// Its id, which orders records of one millisecond.
    pub id: SessionId,
}

impl Cursor {
    /// Makes a position.
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
    /// Where the next page begins, `None` on the last one.
    pub next: Option<Cursor>,
}

impl Page {
    /// Cuts what a query found to one page. `found` is in order and holds at least one record more than the page if there is
    /// a next one.
    #[must_use]
    pub fn cut(mut found: Vec<Arc<SessionRecord>>, limit: usize) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|record| Cursor::of(record));
        Self { records: found, next }
    }
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreStats {
    /// Live sessions.
    pub live: u64,
    /// Past a deadline and not swept yet.
    pub expired: u64,
    /// Ended, by reason. Reasons that do not occur are absent.
    pub ended: std::collections::BTreeMap<EndReason, u64>,
    /// Users with at least one live session.
    pub users: u64,
    /// The earliest creation time of what is stored.
    pub oldest: Option<Timestamp>,
    /// The latest.
    pub newest: Option<Timestamp>,
}
