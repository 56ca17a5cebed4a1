//! Telling the shared caches and the other nodes what changed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_core::limits::MAX_BATCH;
use session_core::{CacheEntry, Invalidation, InvalidationBus};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::metrics::Metrics;
use super::shared::SharedTier;

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

/// Those who have to know.
pub(super) struct Spread {
    pub(super) shared: Vec<Arc<SharedTier>>,
    pub(super) bus: Option<Arc<dyn InvalidationBus>>,
    pub(super) bus_timeout: Duration,
    pub(super) runtime: Handle,
    pub(super) metrics: Arc<Metrics>,
}

impl Spread {
    /// Tells all of them, first the shared caches and then the nodes: who hears a message and looks, finds the news. Goes on if the caller
    /// is dropped. Nothing that fails here fails the operation.
    pub(super) async fn tell(self: &Arc<Self>, changes: Changes) {
        if changes.entries.is_empty() || (self.shared.is_empty() && self.bus.is_none()) {
            return;
        }
        let spread = Arc::clone(self);
        let telling = self.runtime.spawn(async move {
            let telling: Vec<_> = spread.shared.iter().map(|tier| tier.tell(&changes.entries)).collect();
            join_all(telling).await;
            spread.publish(&changes.invalidations).await;
        });
        // It can only fail if the runtime ends.
        let _ = telling.await;
    }

    async fn publish(&self, changes: &[Invalidation]) {
        let Some(bus) = &self.bus else { return };
        for chunk in changes.chunks(MAX_BATCH) {
            let published = timeout(self.bus_timeout, bus.publish(chunk)).await;
            if !matches!(published, Ok(Ok(()))) {
                self.metrics.unpublished.increment(chunk.len() as u64);
                tracing::debug!(sessions = chunk.len(), "changes could not be published to the other nodes");
            }
        }
    }

    /// Keeps records that were read where the next reader looks. Nobody waits for it.
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
