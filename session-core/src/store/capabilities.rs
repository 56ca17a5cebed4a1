//! What a backend is, and what it refuses before any I/O.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{SessionLimit, Touch};
use crate::error::{Error, Result};
use crate::limits::{MAX_BATCH, MAX_DATA};
use crate::record::{Revision, SessionRecord};

/// What a backend is and can bear.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name in logs, metrics and errors: `"postgres"`.
    pub name: &'static str,
    /// How many `load` calls it serves at once without queueing, 2 by default.
    pub concurrent_loads: NonZeroUsize,
    /// The largest `data` of a record, in bytes, 64 KiB by default.
    pub max_payload: usize,
    /// What survives a crash or a failover.
    pub durability: Durability,
    /// Where the sessions are within their database: the table, the prefix or the collection.
    ///
    /// The same on every node. Two stores of one database that hold different sessions differ in
    /// it, so that a shared cache keeps them apart. It does not name the database: two databases
    /// that share a cache or a bus need two deployment names, see [`Scope`](crate::Scope).
    pub place: Option<Arc<str>>,
}

impl Capabilities {
    /// Describes a backend by its name and what survives.
    #[must_use]
    pub const fn new(name: &'static str, durability: Durability) -> Self {
        // Two is a constant above zero.
        let two = NonZeroUsize::MIN.saturating_add(1);
        Self { name, concurrent_loads: two, max_payload: MAX_DATA, durability, place: None }
    }

    /// Sets how many loads run at once.
    #[must_use]
    pub const fn with_concurrent_loads(mut self, loads: NonZeroUsize) -> Self {
        self.concurrent_loads = loads;
        self
    }

    /// Sets where the sessions are within their database.
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

    /// Checks a record that is about to be created: it fits, is active and at its first revision.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first rule that is broken.
    pub fn check_new(&self, record: &SessionRecord, limit: Option<&SessionLimit>) -> Result<()> {
        if record.revision != Revision::FIRST {
            return Err(Error::invalid("create", "a new record has the first revision"));
        }
        if limit.is_some() && record.user_id.is_none() {
            return Err(Error::invalid("create", "a limit needs a user"));
        }
        self.check_active(record)
    }

    /// Checks a record that is about to be written: it fits and is active.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the first rule that is broken.
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

/// Checks sightings before any I/O.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) above [`MAX_BATCH`], or for a country code that is none.
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

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The loss of the server it was written to, because a majority has it.
    Failover,
    /// Nothing: it lives in this process.
    Process,
    /// A crash of the server, but a failover to an asynchronous replica may lose the last writes, revocations included.
    Server,
}
