//! The settings of a store.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mongodb::Database;
use mongodb::options::{
    Acknowledgment, CollectionOptions, ReadConcern, ReadConcernLevel, ReadPreference, SelectionCriteria,
    WriteConcern,
};
use session_core::limits::{MAX_LIFETIME, MAX_PAYLOAD};
use session_core::{Capabilities, Durability, Error, Result};

use crate::error::NAME;
use crate::limited::{LimitMethod, ShardLocks};
use crate::store::MongoStore;

/// Longest retention. A larger value is most likely a mistake.
const MAX_RETENTION: Duration = Duration::from_secs(10 * MAX_LIFETIME.as_secs());

/// Largest payload. A document is limited to 16 MiB, and a session has other fields beside its
/// data.
const LARGEST_PAYLOAD: usize = 15 * 1024 * 1024;

/// Longest name of a collection: the database's name, this name and the longest suffix must fit
/// into 255 bytes.
const MAX_NAME: usize = 120;

/// A builder of a [`MongoStore`].
///
/// | setting | default | range |
/// |---|---|---|
/// | [`collection`](Self::collection) | `sessions` | 1 to 120 bytes, without `$`, NUL, a dot at an end, and not `system.*` |
/// | [`retention`](Self::retention) | 400 days | 1 hour to 4,000 days |
/// | [`write_concern`](Self::write_concern) | majority, journaled, 5 s | acknowledged |
/// | [`read_concern`](Self::read_concern) | majority | majority, linearizable, local |
/// | [`list_from`](Self::list_from) | the primary | |
/// | [`limit_method`](Self::limit_method) | detected | |
/// | [`max_payload`](Self::max_payload) | 68 KiB | 1 byte to 15 MiB |
/// | [`concurrent_loads`](Self::concurrent_loads) | 2 | 1 to 64 |
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct MongoStoreBuilder {
    database: Database,
    collection: String,
    retention: Duration,
    write_concern: WriteConcern,
    read_concern: ReadConcern,
    list_from: ReadPreference,
    limit_method: Option<LimitMethod>,
    max_payload: usize,
    concurrent_loads: NonZeroUsize,
}

impl MongoStoreBuilder {
    pub(crate) fn new(database: Database) -> Self {
        let patience = Duration::from_secs(5);
        Self {
            database,
            collection: "sessions".to_owned(),
            retention: MAX_LIFETIME,
            write_concern: WriteConcern::builder()
                .w(Acknowledgment::Majority)
                .journal(true)
                .w_timeout(patience)
                .build(),
            read_concern: ReadConcern::majority(),
            list_from: ReadPreference::Primary,
            limit_method: None,
            max_payload: MAX_PAYLOAD,
            concurrent_loads: NonZeroUsize::MIN.saturating_add(1),
        }
    }

    /// Sets the collection of sessions. A second collection, with the suffix `_turns`, orders
    /// sign-ins under a limit.
    pub fn collection(mut self, name: impl Into<String>) -> Self {
        self.collection = name.into();
        self
    }

    /// Sets how long the server itself keeps ended sessions that no sweep purges, by its own clock.
    ///
    /// It is a safety net for sweepers that do not run. It must be longer than the manager's own
    /// retention, which is 30 days by default. Otherwise the server deletes login history too
    /// early.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets when a write counts as done.
    ///
    /// The default is a majority of the members, each with the write in its journal, or
    /// [`Timeout`](session_core::ErrorKind::Timeout) after 5 s.
    ///
    /// # Security
    /// With less than a majority, a failover rolls back writes that only the old primary had. A
    /// session that was revoked at that moment becomes valid again. [`Capabilities`] report the
    /// lower durability.
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = concern;
        self
    }

    /// Sets the read concern of loads. They always read from the primary.
    ///
    /// *Majority*, the default, reads data that no failover rolls back. A primary that is
    /// partitioned from its members and has not noticed can return stale data for up to the
    /// election timeout (10 s). *Linearizable* confirms each load with a majority first, which
    /// costs a round trip to them, and applies only to loads of one session. *Local* is for
    /// deployments that have no majority to read from.
    pub fn read_concern(mut self, concern: ReadConcern) -> Self {
        self.read_concern = concern;
        self
    }

    /// Sets where listings and statistics are read, for example from secondaries.
    ///
    /// They may then lag: a listing can still show a session as live that has just ended.
    /// Validation and every write use the primary, so a lagging member never makes an ended session
    /// valid.
    pub fn list_from(mut self, preference: ReadPreference) -> Self {
        self.list_from = preference;
        self
    }

    /// Sets how a sign-in under a limit becomes atomic, instead of asking the deployment.
    ///
    /// It is meant for services that announce themselves as a replica set but have no transactions.
    pub fn limit_method(mut self, method: LimitMethod) -> Self {
        self.limit_method = Some(method);
        self
    }

    /// Sets the largest `data` of a session, in bytes.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets how many batched loads the manager runs at once.
    ///
    /// Few are better: requests that arrive in the meantime are loaded in one batch. More help if
    /// the round trip to the server is long.
    pub fn concurrent_loads(mut self, loads: NonZeroUsize) -> Self {
        self.concurrent_loads = loads;
        self
    }

    /// Builds the store. Opens no connection.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a setting outside its range.
    pub fn build(self) -> Result<MongoStore> {
        let rules = [
            (!is_name(&self.collection), "the name of the collection is not allowed by the server"),
            (
                !(Duration::from_secs(3600)..=MAX_RETENTION).contains(&self.retention),
                "the retention must be between 1 hour and 4,000 days",
            ),
            (
                self.write_concern.w == Some(Acknowledgment::Nodes(0)) || self.write_concern.w.is_none(),
                "the write concern must require the confirmation of at least one member",
            ),
            (
                !matches!(
                    self.read_concern.level,
                    ReadConcernLevel::Majority | ReadConcernLevel::Linearizable | ReadConcernLevel::Local
                ),
                "the read concern must be majority, linearizable or local",
            ),
            (
                !(1..=LARGEST_PAYLOAD).contains(&self.max_payload),
                "the largest payload must be between 1 byte and 15 MiB",
            ),
            (self.concurrent_loads.get() > 64, "the concurrent loads must be between 1 and 64"),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, rule)) => Err(Error::invalid("build", rule)),
            None => Ok(self.make()),
        }
    }

    /// Builds the store from settings that are known to be in their ranges, as the defaults are.
    pub(crate) fn make(self) -> MongoStore {
        let durability = match self.write_concern.w {
            Some(Acknowledgment::Majority) => Durability::Failover,
            _ => Durability::Server,
        };
        // Only loads are linearizable. The other reads choose which write to try, and the write's
        // own filter decides.
        let other = match self.read_concern.level {
            ReadConcernLevel::Linearizable => ReadConcern::majority(),
            _ => self.read_concern.clone(),
        };
        let options = |preference, concern: &ReadConcern| {
            CollectionOptions::builder()
                .selection_criteria(SelectionCriteria::ReadPreference(preference))
                .read_concern(concern.clone())
                .write_concern(self.write_concern.clone())
                .build()
        };
        let primary = |concern| options(ReadPreference::Primary, concern);
        let (database, name) = (&self.database, &self.collection);
        MongoStore {
            loads: database.collection_with_options(name, primary(&self.read_concern)),
            sessions: database.collection_with_options(name, primary(&other)),
            listings: database.collection_with_options(name, options(self.list_from.clone(), &other)),
            turns: database.collection_with_options(&format!("{name}_turns"), primary(&other)),
            capabilities: Capabilities::new(NAME, durability)
                .with_concurrent_loads(self.concurrent_loads)
                .with_max_payload(self.max_payload)
                .with_place(format!("{}.{name}", database.name())),
            retention: self.retention,
            limit_method: Arc::new(self.limit_method.map_or_else(OnceLock::new, OnceLock::from)),
            shard_locks: ShardLocks::default(),
            write_concern: self.write_concern,
            database: self.database,
        }
    }
}

/// Returns true if the server [allows the
/// name](https://www.mongodb.com/docs/manual/reference/limits/#std-label-restrictions-on-db-names).
fn is_name(name: &str) -> bool {
    let is_invalid = name.contains(['$', '\0']) || name.starts_with('.') || name.ends_with('.');
    (1..=MAX_NAME).contains(&name.len()) && !is_invalid && !name.starts_with("system.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_collection_names_are_rejected() {
        for name in ["sessions", "app.sessions", "Sitzungen-ä"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a$b", "a\0b", ".a", "a.", "system.users", &"x".repeat(121)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
