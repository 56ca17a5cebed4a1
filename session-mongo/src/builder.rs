//! The settings of a store.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mongodb::Database;
use mongodb::options::{
    Acknowledgment, CollectionOptions, ReadConcern, ReadConcernLevel, ReadPreference, SelectionCriteria,
    WriteConcern,
};
use session_core::limits::{MAX_DATA, MAX_LIFETIME};
use session_core::{Capabilities, Durability, Error, Result};

use crate::error::NAME;
use crate::limited::{LimitMethod, Turns};
use crate::store::MongoStore;

/// Longer is not keeping but forgetting to delete.
const MAX_RETENTION: Duration = Duration::from_secs(10 * MAX_LIFETIME.as_secs());

/// A document holds 16 MiB at most, and a session more than its data.
const MAX_PAYLOAD: usize = 15 * 1024 * 1024;

/// Longest name of a collection. The database's name and the longest suffix have to fit into 255 bytes beside it.
const MAX_NAME: usize = 120;

/// Sets up a store.
///
/// | setting | default | range |
/// |---|---|---|
/// | [`collection`](Self::collection) | `sessions` | 1 to 120 bytes, without `$`, NUL, a dot at an end, and not `system.*` |
/// | [`retention`](Self::retention) | 400 days | 1 hour to 4,000 days |
/// | [`write_concern`](Self::write_concern) | majority, journaled, 5 s | acknowledged |
/// | [`read_concern`](Self::read_concern) | majority | majority, linearizable, local |
/// | [`list_from`](Self::list_from) | the primary | |
/// | [`limit_method`](Self::limit_method) | found out | |
/// | [`max_payload`](Self::max_payload) | 64 KiB | 1 byte to 15 MiB |
/// | [`concurrent_loads`](Self::concurrent_loads) | 2 | 1 to 64 |
#[derive(Debug)]
#[must_use = "a builder makes nothing until it builds"]
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
            max_payload: MAX_DATA,
            concurrent_loads: NonZeroUsize::MIN.saturating_add(1),
        }
    }

    /// Sets the collection of sessions. A second one of that name with `_turns` behind it orders sign-ins under a limit.
    pub fn collection(mut self, name: impl Into<String>) -> Self {
        self.collection = name.into();
        self
    }

    /// Sets how long the server itself keeps ended sessions that nobody purges, by its own clock.
    ///
    /// A safety net against sweepers that do not run. It must be longer than the manager's own retention, which is 30 days by default,
    /// or login history is gone early.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets when a write is answered.
    ///
    /// The default is a majority of the members, each with the write in its journal, or
    /// [`Timeout`](session_core::ErrorKind::Timeout) after 5 s.
    ///
    /// # Security
    /// With less than a majority, a failover rolls back what only the old primary had. A session that was revoked in that moment is live
    /// again. [`Capabilities`] then say so.
    pub fn write_concern(mut self, concern: WriteConcern) -> Self {
        self.write_concern = concern;
        self
    }

    /// Sets what loads may read. The primary answers in any case.
    ///
    /// *Majority*, the default, reads what no failover takes back. A primary that was cut off from its members and does not know it yet can
    /// answer from its past for up to the election timeout (10 s). *Linearizable* asks a majority first, which costs a round trip to
    /// them for each load, and counts only for loads of one session. *Local* is for deployments that have no majority to read from.
    pub fn read_concern(mut self, concern: ReadConcern) -> Self {
        self.read_concern = concern;
        self
    }

    /// Reads listings and statistics elsewhere, from secondaries for example.
    ///
    /// They may lag then: a session that was just ended can still be listed as live. Validation and every write stay with the primary, so a
    /// lagging member never lets an ended session in.
    pub fn list_from(mut self, preference: ReadPreference) -> Self {
        self.list_from = preference;
        self
    }

    /// Sets how a sign-in under a limit is one step, instead of asking the deployment what it has.
    ///
    /// For services that announce themselves as a replica set and have no transactions.
    pub fn limit_method(mut self, method: LimitMethod) -> Self {
        self.limit_method = Some(method);
        self
    }

    /// Sets the largest `data` of a session, in bytes.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets how many gathered loads the manager has under way at once.
    ///
    /// Few are better: what arrives meanwhile is loaded together. More help if the server is far away.
    pub fn concurrent_loads(mut self, loads: NonZeroUsize) -> Self {
        self.concurrent_loads = loads;
        self
    }

    /// Makes the store. Opens nothing.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a setting outside its range.
    pub fn build(self) -> Result<MongoStore> {
        let rules = [
            (!is_name(&self.collection), "the name of the collection is one that the server refuses"),
            (
                !(Duration::from_secs(3600)..=MAX_RETENTION).contains(&self.retention),
                "the retention is between 1 hour and 4,000 days",
            ),
            (
                self.write_concern.w == Some(Acknowledgment::Nodes(0)) || self.write_concern.w.is_none(),
                "the write concern says how many members confirm, and at least one does",
            ),
            (
                !matches!(
                    self.read_concern.level,
                    ReadConcernLevel::Majority | ReadConcernLevel::Linearizable | ReadConcernLevel::Local
                ),
                "the read concern is majority, linearizable or local",
            ),
            (
                !(1..=MAX_PAYLOAD).contains(&self.max_payload),
                "the largest payload is between 1 byte and 15 MiB",
            ),
            (self.concurrent_loads.get() > 64, "at most 64 loads run at once"),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, rule)) => Err(Error::invalid("build", rule)),
            None => Ok(self.make()),
        }
    }

    /// What is left to do once the settings are in their ranges; the defaults are.
    pub(crate) fn make(self) -> MongoStore {
        let durability = match self.write_concern.w {
            Some(Acknowledgment::Majority) => Durability::Failover,
            _ => Durability::Server,
        };
        // Linearizable is for loads. What else is read decides what is tried, and the write decides.
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
            local_turns: Turns::default(),
            write_concern: self.write_concern,
            database: self.database,
        }
    }
}

/// [What a collection may be called](https://www.mongodb.com/docs/manual/reference/limits/#std-label-restrictions-on-db-names).
fn is_name(name: &str) -> bool {
    let is_odd = name.contains(['$', '\0']) || name.starts_with('.') || name.ends_with('.');
    (1..=MAX_NAME).contains(&name.len()) && !is_odd && !name.starts_with("system.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_server_refuses_are_refused_before() {
        for name in ["sessions", "app.sessions", "Sitzungen-ä"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a$b", "a\0b", ".a", "a.", "system.users", &"x".repeat(121)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
