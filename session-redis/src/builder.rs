//! The settings of a store.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use session_core::limits::{MAX_LIFETIME, MAX_PAYLOAD};
use session_core::{Capabilities, Durability, Error, Result};

use crate::connection::Connection;
use crate::error::NAME;
use crate::keys::KeyPrefix;
use crate::store::RedisStore;

/// The longest retention: ten times the longest life of a session. The manager has the same bound.
const MAX_RETENTION: Duration = Duration::from_secs(10 * MAX_LIFETIME.as_secs());

/// The longest wait for replicas.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Builder of a store.
///
/// | setting | default | range |
/// |---|---|---|
/// | [`prefix`](Self::prefix) | `session-kit` | see [`KeyPrefix`] |
/// | [`retention`](Self::retention) | 400 days | 1 hour to 4,000 days |
/// | [`max_payload`](Self::max_payload) | 68 KiB | 1 byte to 16 MiB |
/// | [`concurrent_loads`](Self::concurrent_loads) | 2 | 1 to 64 |
/// | [`wait_for_replicas`](Self::wait_for_replicas) | none | up to 10 s |
#[derive(Debug)]
pub struct RedisStoreBuilder {
    connection: Connection,
    prefix: KeyPrefix,
    retention: Duration,
    max_payload: usize,
    concurrent_loads: NonZeroUsize,
    replicas: Option<(NonZeroU32, Duration)>,
}

impl RedisStoreBuilder {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            prefix: KeyPrefix::default(),
            retention: MAX_LIFETIME,
            max_payload: MAX_PAYLOAD,
            concurrent_loads: NonZeroUsize::MIN.saturating_add(1),
            replicas: None,
        }
    }

    /// Sets the prefix of all keys.
    #[must_use]
    pub fn prefix(mut self, prefix: KeyPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sets how long the server keeps sessions that no sweep purges: ended sessions, and active
    /// ones past their absolute expiry.
    ///
    /// This is a safety net for sweepers that do not run. It must be longer than the manager's own
    /// retention, which is 30 days by default, or login history is removed early.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets the largest `data` of a session, in bytes.
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets how many gathered loads the manager runs at once.
    ///
    /// A small number is better: loads that arrive meanwhile are sent together. A larger one helps
    /// if the server is far away.
    #[must_use]
    pub fn concurrent_loads(mut self, loads: NonZeroUsize) -> Self {
        self.concurrent_loads = loads;
        self
    }

    /// Sets how many replicas must have a write before it succeeds
    /// ([`WAIT`](https://redis.io/docs/latest/commands/wait/)).
    ///
    /// This reduces what a failover can lose, but does not prevent the loss: a replica that has not
    /// confirmed can still be promoted. A write that is not confirmed within `patience` is
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) and may have been applied. Writes then
    /// use a separate connection, on which each write waits for the previous one. Touches do not
    /// wait.
    #[must_use]
    pub fn wait_for_replicas(mut self, replicas: NonZeroU32, patience: Duration) -> Self {
        self.replicas = Some((replicas, patience));
        self
    }

    /// Builds the store. Opens no connection.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a setting outside its range.
    pub fn build(self) -> Result<RedisStore> {
        let rules = [
            (
                !(Duration::from_secs(3600)..=MAX_RETENTION).contains(&self.retention),
                "the retention is between 1 hour and 4,000 days",
            ),
            (
                !(1..=16 * 1024 * 1024).contains(&self.max_payload),
                "the largest payload is between 1 byte and 16 MiB",
            ),
            (self.concurrent_loads.get() > 64, "at most 64 loads run at once"),
            (
                self.replicas
                    .is_some_and(|(_, patience)| patience > MAX_WAIT || patience < Duration::from_millis(1)),
                "the wait for replicas is between 1 ms and 10 s",
            ),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, rule)) => Err(Error::invalid("build", rule)),
            None => Ok(self.make()),
        }
    }

    /// Builds the store from settings that are in their ranges, as the defaults are.
    pub(crate) fn make(self) -> RedisStore {
        RedisStore {
            capabilities: Capabilities::new(NAME, Durability::Server)
                .with_concurrent_loads(self.concurrent_loads)
                .with_max_payload(self.max_payload)
                .with_place(self.prefix.as_str()),
            writes: if self.replicas.is_some() {
                self.connection.separate()
            } else {
                self.connection.clone()
            },
            connection: self.connection,
            prefix: self.prefix,
            retention: self.retention,
            replicas: self.replicas.map(|(replicas, patience)| (replicas.get(), patience)),
        }
    }
}

#[cfg(test)]
mod tests {
    use session_core::SessionStore;

    use super::*;

    #[test]
    fn the_place_is_the_prefix() {
        let connection = Connection::open("redis://127.0.0.1:1/").unwrap();
        let place = |store: RedisStore| store.capabilities().place;
        assert_eq!(place(RedisStore::new(connection.clone())).as_deref(), Some("session-kit"));
        let shop = RedisStore::builder(connection).prefix("shop:eu".parse().unwrap()).build().unwrap();
        assert_eq!(place(shop).as_deref(), Some("shop:eu"));
    }
}
