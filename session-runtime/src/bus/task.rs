//! The task of a bus: sends heartbeats, and receives while there are subscriptions.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::listener::Listener;
use super::{HEARTBEAT, Shared, State, Transport};

/// Runs until the other end of `stop` is dropped.
pub(super) async fn run<T: Transport>(shared: Arc<Shared<T>>, mut stop: watch::Receiver<()>) {
    tokio::select! {
        _ = stop.changed() => {}
        () = send_heartbeats(&shared) => {}
        () = listen(&shared) => {}
    }
    shared.state.send_replace(State::Idle);
    // Without it the other nodes wait for `SILENCE` and resync.
    let leave = shared.transport.send("leave", shared.publisher.farewell());
    let _ = timeout(HEARTBEAT, leave).await;
}

async fn send_heartbeats<T: Transport>(shared: &Shared<T>) {
    let mut ticks = interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // This node and the others notice a heartbeat that is missing.
        if let Err(error) = shared.send_heartbeat().await {
            tracing::debug!(backend = shared.transport.name(), %error, "a heartbeat was not sent");
        }
        shared.transport.maintain().await;
    }
}

async fn listen<T: Transport>(shared: &Shared<T>) {
    let mut subscriptions = shared.subscriptions.subscribe();
    loop {
        // `shared` holds the sender, so this does not fail.
        let _ = subscriptions.wait_for(|count| *count > 0).await;
        let mut listening = pin!(Listener::new(shared).listen());
        while !shared.is_deserted() {
            tokio::select! {
                never = &mut listening => match never {},
                _ = subscriptions.wait_for(|count| *count == 0) => {}
            }
        }
    }
}
