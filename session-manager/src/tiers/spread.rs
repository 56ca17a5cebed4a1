//! Notifying the shared caches and the other nodes of changes.
//!
//! The operation that changed something waits for it for at most the time limit of a cache, counted
//! by itself: the store has answered, and what takes longer goes on in the background.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_core::{CacheEntry, Invalidation};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::bus_out::BusOut;
use super::shared::SharedTier;

/// Most operations whose changes are on their way at the same time. The changes of others go into
/// the outboxes at once.
pub(super) const SENT_AT_ONCE: usize = 256;

/// What all tiers and nodes have to know.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// With how much longer each entry counts.
    pub(super) entries: Vec<(CacheEntry, Duration)>,
    pub(super) invalidations: Vec<Invalidation>,
}

impl Changes {
    pub(super) fn push(&mut self, entry: CacheEntry, ttl: Duration) {
        self.invalidations.push(Invalidation::new(entry.id, entry.revision, entry.is_tombstone()));
        self.entries.push((entry, ttl));
    }
}

/// Changes that are on their way.
#[derive(Debug, Default)]
#[must_use = "the copies may be updated after the answer otherwise"]
pub(crate) struct Notifying {
    notifying: Vec<JoinHandle<()>>,
    limit: Duration,
}

impl Notifying {
    /// Waits until the caches and the bus have them, at most as long as one cache may take. They go
    /// on by themselves after that.
    pub(crate) async fn wait(self) {
        if !self.notifying.is_empty() {
            // They can only fail if the runtime ends.
            let _ = timeout(self.limit, join_all(self.notifying)).await;
        }
    }

    pub(super) fn of(notifying: JoinHandle<()>, limit: Duration) -> Self {
        Self { notifying: vec![notifying], limit }
    }

    /// Both.
    pub(super) fn after(mut self, other: Self) -> Self {
        self.notifying.extend(other.notifying);
        self.limit = self.limit.max(other.limit);
        self
    }
}

/// Those who have to know.
pub(super) struct Spread {
    pub(super) shared: Vec<Arc<SharedTier>>,
    pub(super) bus: Option<BusOut>,
    /// How long an operation waits.
    pub(super) limit: Duration,
    pub(super) runtime: Handle,
    pub(super) places: Arc<Semaphore>,
}

impl Spread {
    /// Begins to notify all of them, first the shared caches and then the nodes: a node that
    /// receives a message and looks, finds the news. Goes on if the caller is dropped. Nothing that
    /// fails here fails the operation.
    pub(super) fn notify(self: &Arc<Self>, changes: Changes) -> Notifying {
        if changes.entries.is_empty() || (self.shared.is_empty() && self.bus.is_none()) {
            return Notifying::default();
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        if place.is_err() {
            // They are too slow for what happens. They catch up, and are not read before.
            self.shared.iter().for_each(|tier| tier.miss_all(&changes.entries));
        }
        let spread = Arc::clone(self);
        let notifying = self.runtime.spawn(async move {
            if place.is_ok() {
                let notifying: Vec<_> =
                    spread.shared.iter().map(|tier| tier.notify(&changes.entries)).collect();
                join_all(notifying).await;
            }
            if let Some(bus) = &spread.bus {
                bus.publish(&changes.invalidations).await;
            }
            drop(place);
        });
        Notifying::of(notifying, self.limit)
    }

    /// Keeps records that were read where the next reader looks. The caller does not wait for it.
    pub(super) fn fill(&self, entries: Vec<(CacheEntry, Duration)>) {
        let Some(tier) = self.shared.iter().find(|tier| tier.is_serving()).cloned() else { return };
        if entries.is_empty() {
            return;
        }
        let Some(place) = tier.place_to_fill() else { return };
        self.runtime.spawn(async move {
            for (entry, ttl) in entries {
                tier.fill(entry, ttl).await;
            }
            drop(place);
        });
    }
}
