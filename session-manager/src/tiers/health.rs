//! Where answers come from, and what state the tiers are in.

use serde::Serialize;
use session_core::{BusHealth, Timestamp};

/// Who gave an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// This process's memory.
    Memory,
    /// The shared cache of that name.
    Shared(&'static str),
    /// The store of record.
    Store,
}

/// Where a session's record came from and how far it can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provenance {
    /// Who gave the answer.
    pub source: Source,
    /// When the read of the store of record began that it stems from, by the clock of the node that
    /// read.
    pub verified_at: Timestamp,
    /// Whether it is older than it should be, because the store of record could not be asked: see
    /// [`Tiers::with_stale_if_error`](crate::Tiers::with_stale_if_error).
    pub degraded: bool,
}

impl Provenance {
    pub(crate) const fn store(verified_at: Timestamp) -> Self {
        Self { source: Source::Store, verified_at, degraded: false }
    }

    pub(super) const fn memory(verified_at: Timestamp) -> Self {
        Self { source: Source::Memory, verified_at, degraded: false }
    }

    /// Whether the answer did not come from the store of record.
    #[must_use]
    pub const fn is_cached(&self) -> bool {
        !matches!(self.source, Source::Store)
    }
}

/// The state of one shared cache, as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierHealth {
    /// The cache's name.
    pub name: &'static str,
    /// Whether it may be read. If not, it failed or has not received everything yet, and is tried
    /// again all the time.
    pub healthy: bool,
    /// Since when, in milliseconds since 1970.
    pub since: Timestamp,
    /// How many sessions it has not received yet.
    pub outbox: usize,
}

/// The state of the store of record and of all tiers, as this node sees it. Serialises for a health
/// page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Who is asked when this process's memory does not know: the first healthy shared cache, else
    /// the store of record.
    pub serving: Source,
    /// Since when.
    pub since: Timestamp,
    /// Copies in this process's memory.
    pub copies: usize,
    /// The memory that they take, estimated, in bytes.
    pub copies_bytes: u64,
    /// The shared caches in their order.
    pub tiers: Vec<TierHealth>,
    /// Whether messages of other nodes arrive; `None` without a bus.
    pub bus_healthy: Option<bool>,
    /// Whether the store of record answers loads. If not, it is tried again all the time.
    pub store_healthy: bool,
    /// Since when.
    pub store_since: Timestamp,
}

impl Health {
    /// The state without tiers.
    pub(crate) const fn of_store(started: Timestamp) -> Self {
        Self {
            serving: Source::Store,
            since: started,
            copies: 0,
            copies_bytes: 0,
            tiers: Vec::new(),
            bus_healthy: None,
            store_healthy: true,
            store_since: started,
        }
    }

    pub(crate) fn with_store(mut self, (healthy, since): (bool, Timestamp)) -> Self {
        (self.store_healthy, self.store_since) = (healthy, since);
        self
    }

    /// Whether the store, every tier and the bus work.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.store_healthy && self.bus_healthy != Some(false) && self.tiers.iter().all(|tier| tier.healthy)
    }
}

/// Who serves, and since when: since the tier itself is healthy, and every one before it is not.
pub(super) fn serving(tiers: &[TierHealth], started: Timestamp) -> (Source, Timestamp) {
    let mut since = started;
    for tier in tiers {
        since = since.max(tier.since);
        if tier.healthy {
            return (Source::Shared(tier.name), since);
        }
    }
    (Source::Store, since)
}

pub(super) fn is_healthy(health: BusHealth) -> bool {
    matches!(health, BusHealth::Healthy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(name: &'static str, healthy: bool, since: i64) -> TierHealth {
        TierHealth { name, healthy, since: Timestamp::from_millis(since), outbox: 0 }
    }

    #[test]
    fn the_first_healthy_tier_serves() {
        let (redis, postgres) = (Source::Shared("redis"), Source::Shared("postgres"));
        for (tiers, expected) in [
            (vec![], (Source::Store, 1)),
            (vec![tier("redis", true, 2), tier("postgres", false, 9)], (redis, 2)),
            (vec![tier("redis", false, 5), tier("postgres", true, 2)], (postgres, 5)),
            (vec![tier("redis", false, 5), tier("postgres", true, 7)], (postgres, 7)),
            (vec![tier("redis", false, 8), tier("postgres", false, 7)], (Source::Store, 8)),
        ] {
            let since = Timestamp::from_millis(expected.1);
            assert_eq!(serving(&tiers, Timestamp::from_millis(1)), (expected.0, since), "{tiers:?}");
        }
    }
}
