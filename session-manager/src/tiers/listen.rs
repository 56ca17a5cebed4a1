//! The messages of other nodes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use session_core::{BusEvent, InvalidationBus, Scope, Subscription};
use session_memory::L1;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// What the listener works on. It holds the copies only while it works, so that it ends when they
/// are gone.
pub(super) struct Listener {
    pub(super) bus: Arc<dyn InvalidationBus>,
    pub(super) l1: Weak<L1>,
    /// Whose changes count here.
    pub(super) scope: Scope,
    pub(super) metrics: Arc<Metrics>,
}

impl Listener {
    pub(super) async fn run_until(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(self.run()).await;
    }

    /// Listens as long as there are copies.
    async fn run(&self) {
        let mut subscription = self.subscribe().await;
        // Earlier messages are not known.
        self.apply(&BusEvent::Resync);
        loop {
            let event = subscription.next().await;
            if !self.apply(&event) {
                return;
            }
        }
    }

    async fn subscribe(&self) -> Box<dyn Subscription> {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            match self.bus.subscribe().await {
                Ok(subscription) => return subscription,
                Err(error) => {
                    tracing::debug!(
                        kind = error.kind().as_str(),
                        "the messages of other nodes cannot be received yet"
                    );
                    tokio::time::sleep(delays.next().unwrap_or(Duration::from_secs(2))).await;
                }
            }
        }
    }

    /// Returns false if the tiers are gone.
    fn apply(&self, event: &BusEvent) -> bool {
        let Some(l1) = self.l1.upgrade() else { return false };
        match event {
            // What belongs to others is nothing to this node.
            BusEvent::Changed(scope, _) if *scope != self.scope => {}
            BusEvent::Changed(_, changes) => {
                self.metrics.received.increment(changes.len() as u64);
                for change in changes {
                    l1.changed(change.id, change.revision, change.ended);
                }
            }
            // An event of a later version may mean anything.
            _ => {
                self.metrics.resyncs.increment(1);
                l1.resync();
            }
        }
        true
    }
}
