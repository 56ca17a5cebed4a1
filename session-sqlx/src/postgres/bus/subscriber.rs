//! The receiving end.

use std::fmt;
use std::future::pending;
use std::sync::Arc;

use session_core::{BusEvent, Subscription, async_trait};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Life, Shared};

/// Wants messages to be received.
pub(super) struct Seat(Arc<Shared>);

impl Seat {
    pub(super) fn taken(shared: &Arc<Shared>) -> Self {
        shared.subscriptions.send_modify(|count| *count += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.subscriptions.send_modify(|count| *count -= 1);
    }
}

pub(super) struct Subscriber {
    events: broadcast::Receiver<BusEvent>,
    _seat: Seat,
    _life: Arc<Life>,
}

impl Subscriber {
    pub(super) fn new(events: broadcast::Receiver<BusEvent>, seat: Seat, life: Arc<Life>) -> Self {
        Self { events, _seat: seat, _life: life }
    }
}

#[async_trait]
impl Subscription for Subscriber {
    async fn next(&mut self) -> BusEvent {
        match self.events.recv().await {
            Ok(event) => event,
            Err(RecvError::Lagged(_)) => {
                // What is still in the buffer was said before now.
                self.events = self.events.resubscribe();
                BusEvent::Resync
            }
            // The seat has a sender.
            Err(RecvError::Closed) => pending().await,
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("waiting", &self.events.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use session_core::InvalidationBus;
    use sqlx::PgPool;

    use super::super::{PostgresBus, State};
    use super::*;

    #[tokio::test]
    async fn what_is_told_before_the_bus_is_healthy_is_heard() {
        let bus = PostgresBus::new(PgPool::connect_lazy("postgres://nobody@127.0.0.1:1/none").unwrap());
        // The test is the listener.
        *bus.life.task.lock() = Some(tokio::spawn(pending()));
        let mut subscribing = bus.subscribe();
        assert!(subscribing.as_mut().now_or_never().is_none());
        bus.shared.events.send(BusEvent::Resync).unwrap();
        bus.shared.state.send_replace(State::Healthy);
        let mut subscription = subscribing.await.unwrap();
        assert_eq!(subscription.next().now_or_never(), Some(BusEvent::Resync));
    }
}
