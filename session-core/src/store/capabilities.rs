//! The properties of a backend, and the checks before any I/O.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{SessionLimit, Touch};
use crate::error::{Error, Result};
use crate::limits::{MAX_BATCH, MAX_PAYLOAD};
use crate::record::{Revision, SessionRecord};

/// The properties and bounds of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name in logs, metrics and errors: `"postgres"`.
    pub name: &'static str,
    /// The number of `load` calls that run at once without queueing, 2 by default.
    pub concurrent_loads: NonZeroUsize,
    /// The largest `data` of a record, in bytes: the application's data and up to
    /// [`LIBRARY_DATA`](crate::limits::LIBRARY_DATA) of the library. 68 KiB by default.
    pub max_payload: usize,
    /// The failures that an acknowledged write survives.
    pub durability: Durability,
    /// The place of the sessions within their database: the table, the prefix or the collection.
    ///
    /// The same on every node. Two stores with different sessions in one database have different
    /// places, so that a shared cache separates them. The place does not name the database: two
    /// databases that share a cache or a bus need two deployment names, see
    /// [`Scope`](crate::Scope).
    pub place: Option<Arc<str>>,
}

impl Capabilities {
    /// Describes a backend by its name and its durability.
    #[must_use]
    pub const fn new(name: &'static str, durability: Durability) -> Self {
        let two = NonZeroUsize::MIN.saturating_add(1);
        Self { name, concurrent_loads: two, max_payload: MAX_PAYLOAD, durability, place: None }
    }

    /// Sets the number of loads that run at once.
    #[must_use]
    pub const fn with_concurrent_loads(mut self, loads: NonZeroUsize) -> Self {
        self.concurrent_loads = loads;
        self
    }

    /// Sets the place of the sessions within their database.
    #[must_use]
    pub fn with_place(mut self, place: impl Into<Arc<str>>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Sets the largest `data` of a record, in bytes.
    #[must_use]
    pub const fn with_max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Checks a record before its creation: it fits, is active and has the first revision.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first violated condition.
    pub fn check_new(&self, record: &SessionRecord, limit: Option<&SessionLimit>) -> Result<()> {
        if record.revision != Revision::FIRST {
            return Err(Error::invalid("create", "a new record has the first revision"));
        }
        if limit.is_some() && record.user_id.is_none() {
            return Err(Error::invalid("create", "a limit needs a user"));
        }
        self.check_active(record)
    }

    /// Checks a record before it is written: it fits and is active.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first violated condition.
    pub fn check_active(&self, record: &SessionRecord) -> Result<()> {
        if record.ended().is_some() {
            return Err(Error::invalid("check", "a session ends through `end` only"));
        }
        if record.data.len() > self.max_payload {
            return Err(Error::invalid("check", "session data is larger than the store allows"));
        }
        record.check()
    }
}

/// Checks touches before any I/O.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) for more than [`MAX_BATCH`] touches or an invalid country
/// code.
pub fn check_touches(batch: &[Touch]) -> Result<()> {
    check_batch("touch", batch.len())?;
    batch.iter().try_for_each(|touch| touch.last_client.check())
}

/// Checks a batch size before any I/O.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) above [`MAX_BATCH`].
pub fn check_batch(operation: &'static str, size: usize) -> Result<()> {
    match size {
        0..=MAX_BATCH => Ok(()),
        _ => Err(Error::invalid(operation, "more than 500 in one call")),
    }
}

/// The failures that an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Loss of the server that accepted it, because a majority of servers has the write.
    Failover,
    /// None: the data lives in this process.
    Process,
    /// A crash of the server. A failover to an asynchronous replica may lose the last writes,
    /// revocations included.
    Server,
}
