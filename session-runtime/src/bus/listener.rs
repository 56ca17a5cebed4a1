//! Receives for all subscriptions of a bus, and replaces lost connections.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use session_core::bus::{Body, Message, Senders};
use session_core::{BusEvent, Error, Result};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at};

use super::{Continuity, HEARTBEAT, Received, Receiver, SILENCE, Shared, State, Transport};

/// The least time between two resyncs.
const RESYNC_SPACING: Duration = Duration::from_secs(1);

/// The least time between two log lines about ignored messages.
const IGNORED_SPACING: Duration = Duration::from_secs(60);

/// The pause before a new connection: the first, which doubles each time, and the longest. Half of
/// it is random, so that nodes do not reconnect at the same moment.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Listener<'s, T: Transport> {
    pub(super) shared: &'s Shared<T>,
    pub(super) resyncs: Resyncs,
    senders: Senders,
    ignored_logged: Option<Instant>,
    was_healthy: bool,
}

/// When subscribers resynced, and when they resync next.
#[derive(Default)]
pub(super) struct Resyncs {
    pub(super) latest: Option<Instant>,
    pub(super) due: Option<Instant>,
}

/// How a connection ended.
struct Lost {
    error: Error,
    /// Since when the bus was healthy on it.
    healthy_since: Option<Instant>,
}

/// A wait that has ended.
enum Woken {
    Overdue,
    Received(Result<Received>),
    ResyncDue,
    Tick,
}

impl<'s, T: Transport> Listener<'s, T> {
    pub(super) fn new(shared: &'s Shared<T>) -> Self {
        Self {
            shared,
            resyncs: Resyncs::default(),
            senders: Senders::new(),
            ignored_logged: None,
            was_healthy: false,
        }
    }

    /// Opens connection after connection.
    pub(super) async fn listen(mut self) -> Infallible {
        let backend = self.shared.transport.name();
        let mut receiver = self.shared.transport.receiver();
        let mut pause = FIRST_PAUSE;
        let mut logged = String::new();
        loop {
            self.shared.state.send_replace(State::Opening);
            let Lost { error, healthy_since } = self.one_connection(&mut receiver).await;
            if healthy_since.is_some_and(|since| since.elapsed() > SILENCE) {
                pause = FIRST_PAUSE;
            }
            // Once per outage, and again when the reason changes. `subscribe` returns the error of
            // a bus that was never healthy.
            if healthy_since.is_some() || (self.was_healthy && error.to_string() != logged) {
                logged = error.to_string();
                tracing::warn!(backend, %error, "changes on other nodes are not received until there is a new connection");
            }
            self.shared.state.send_replace(State::Down(error));
            sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Connects, and sends a heartbeat that this node must receive.
    async fn open(&self, receiver: &mut T::Receiver) -> Result<Continuity> {
        let continuity = receiver.connect().await?;
        self.shared.send_heartbeat().await?;
        Ok(continuity)
    }

    /// Receives until the connection is lost.
    async fn one_connection(&mut self, receiver: &mut T::Receiver) -> Lost {
        let patience = Instant::now() + SILENCE;
        let continuity = match timeout_at(patience, self.open(receiver)).await {
            Ok(Ok(continuity)) => continuity,
            Ok(Err(error)) => return Lost { error, healthy_since: None },
            Err(_) => {
                return Lost { error: self.lost("there was no connection in time"), healthy_since: None };
            }
        };
        let mut healthy_since = None;
        let mut ticks = interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut receiving = receiver.receive();
            let received = loop {
                let deadline = match healthy_since {
                    Some(_) => self.shared.proven() + SILENCE,
                    None => patience,
                };
                let resync_due = self.resyncs.due;
                let woken = tokio::select! {
                    biased;
                    () = sleep_until(deadline) => Woken::Overdue,
                    () = sleep_until(resync_due.unwrap_or(deadline)), if resync_due.is_some() => Woken::ResyncDue,
                    _ = ticks.tick(), if healthy_since.is_some() => Woken::Tick,
                    received = &mut receiving => Woken::Received(received),
                };
                match woken {
                    Woken::Overdue => {
                        let error = self.lost("this node does not receive its own heartbeats");
                        return Lost { error, healthy_since };
                    }
                    Woken::Received(Ok(received)) => break received,
                    Woken::Received(Err(error)) => return Lost { error, healthy_since },
                    Woken::ResyncDue => self.resync_now(),
                    Woken::Tick => self.look_for_silent_nodes(),
                }
            };
            drop(receiving);
            if self.take_all(received) && healthy_since.is_none() {
                healthy_since = Some(Instant::now());
                self.begin(continuity);
            }
        }
    }

    fn lost(&self, detail: &'static str) -> Error {
        Error::unavailable(self.shared.transport.name(), "subscribe").with_detail(detail)
    }

    /// Reports that the bus is healthy from now on.
    fn begin(&mut self, continuity: Continuity) {
        self.senders.restart_timers(now());
        if self.was_healthy && continuity == Continuity::Lossy {
            self.resync_now();
        }
        self.shared.state.send_replace(State::Healthy);
        if std::mem::replace(&mut self.was_healthy, true) {
            tracing::info!(
                backend = self.shared.transport.name(),
                "changes on other nodes are received again"
            );
        }
    }

    fn look_for_silent_nodes(&mut self) {
        if self.senders.any_silent(now()) {
            self.resync();
        }
    }

    /// Returns whether a message proves that messages arrive.
    fn take_all(&mut self, received: Received) -> bool {
        let mut is_proven = false;
        for message in received.messages {
            is_proven |= self.take(&message);
        }
        if received.is_gap {
            self.resync();
        }
        is_proven
    }

    fn take(&mut self, bytes: &[u8]) -> bool {
        let Some(message) = Message::decode(bytes) else {
            self.ignore();
            return false;
        };
        if message.node == self.shared.publisher.node() {
            return matches!(message.body, Body::Beat(clock) if self.proves(clock));
        }
        let accepted = self.senders.accept(message, now());
        if accepted.is_gap {
            self.resync();
        }
        if let Some((scope, changes)) = accepted.changes {
            self.send(BusEvent::Changed(scope, changes));
        }
        false
    }

    /// Returns whether an own heartbeat is fresh. An old one proves that messages are late.
    pub(super) fn proves(&self, clock: u64) -> bool {
        let age = self.shared.clock().checked_sub(clock);
        let is_fresh = age.is_some_and(|age| Duration::from_millis(age) <= SILENCE);
        if is_fresh {
            self.shared.proof.fetch_max(clock, Ordering::Relaxed);
        }
        is_fresh
    }

    fn ignore(&mut self) {
        let ignored = self.shared.ignored.fetch_add(1, Ordering::Relaxed) + 1;
        if self.ignored_logged.is_none_or(|logged| logged.elapsed() > IGNORED_SPACING) {
            self.ignored_logged = Some(Instant::now());
            let transport = &self.shared.transport;
            tracing::warn!(
                backend = transport.name(),
                ?transport,
                ignored,
                "ignored a message that is not in this version's format",
            );
        }
    }

    /// Makes subscribers resync: now, or when the latest resync is long enough ago.
    pub(super) fn resync(&mut self) {
        match self.resyncs.latest {
            Some(latest) if latest.elapsed() < RESYNC_SPACING => {
                self.resyncs.due = Some(latest + RESYNC_SPACING);
            }
            _ => self.resync_now(),
        }
    }

    pub(super) fn resync_now(&mut self) {
        self.resyncs = Resyncs { latest: Some(Instant::now()), due: None };
        self.send(BusEvent::Resync);
    }

    fn send(&self, event: BusEvent) {
        // It fails if the last subscription was dropped a moment ago.
        let _ = self.shared.events.send(event);
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
