//! The receiving end of one subscription.

use std::fmt;
use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use session_core::{BusEvent, Subscription};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::Life;

/// Counts as a subscription until it is dropped.
pub(super) struct SubscriberGuard {
    subscriptions: watch::Sender<usize>,
}

impl SubscriberGuard {
    pub(super) fn new(subscriptions: watch::Sender<usize>) -> Self {
        subscriptions.send_modify(|count| *count += 1);
        Self { subscriptions }
    }
}

impl Drop for SubscriberGuard {
    fn drop(&mut self) {
        self.subscriptions.send_modify(|count| *count -= 1);
    }
}

pub(super) struct Subscriber {
    events: broadcast::Receiver<BusEvent>,
    _guard: SubscriberGuard,
    _life: Arc<Life>,
}

impl Subscriber {
    pub(super) const fn new(
        events: broadcast::Receiver<BusEvent>,
        guard: SubscriberGuard,
        life: Arc<Life>,
    ) -> Self {
        Self { events, _guard: guard, _life: life }
    }
}

#[async_trait]
impl Subscription for Subscriber {
    async fn next(&mut self) -> BusEvent {
        match self.events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => {
                // The resync covers everything that is still in the buffer.
                self.events = self.events.resubscribe();
                BusEvent::Resync
            }
            // The task holds a sender as long as its runtime runs.
            Err(RecvError::Closed) => pending().await,
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("pending", &self.events.len()).finish_non_exhaustive()
    }
}
