//! The task of a bus: it beats, and listens while somebody wants to hear.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use session_core::bus::{Body, Heard, Message, Senders};
use session_core::{BusEvent, Error};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

use super::{RedisBus, Shared, State};
use crate::connection::{Connection, Listening, pauses};
use crate::error::{NAME, Trouble};

/// How many messages may wait for the task. It never waits for anybody, so they are few.
const INBOX: usize = 1024;

/// At most one resync in this time.
const SPACING: Duration = Duration::from_secs(1);

/// At most one line about ignored messages in this time.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Ends when the other end of `stop` is dropped.
pub(super) async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<()>) {
    tokio::select! {
        _ = stop.changed() => {}
        () = beat(&shared) => {}
        () = listen(&shared) => {}
    }
    shared.state.send_replace(State::Deaf);
    // If it does not arrive, the others wait and resync.
    let farewell = shared.send(shared.publisher.farewell());
    let _ = timeout(RedisBus::BEAT, farewell).await;
}

async fn beat(shared: &Shared) {
    let mut ticks = interval(RedisBus::BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // One that fails shows by its absence, here and at the others.
        if let Ok(Err(trouble)) = timeout(RedisBus::BEAT, shared.beat()).await {
            tracing::debug!(backend = NAME, error = %trouble.into_error("beat"), "a beat was not sent");
        }
    }
}

async fn listen(shared: &Shared) {
    let mut subscriptions = shared.subscriptions.subscribe();
    loop {
        // The count is never gone, because it is in `shared`.
        let _ = subscriptions.wait_for(|count| *count > 0).await;
        let mut listening = pin!(Listener::new(shared).listen());
        while !is_deserted(shared) {
            tokio::select! {
                never = &mut listening => match never {},
                _ = subscriptions.wait_for(|count| *count == 0) => {}
            }
        }
    }
}

/// Whether nobody wants to hear any more. Then the bus is deaf before anybody can come, who would else rely on what has just ended.
fn is_deserted(shared: &Shared) -> bool {
    let mut is_deserted = false;
    shared.subscriptions.send_if_modified(|count| {
        is_deserted = *count == 0;
        if is_deserted {
            shared.state.send_replace(State::Deaf);
        }
        false
    });
    is_deserted
}

/// What receives for all subscribers.
struct Listener<'s> {
    shared: &'s Shared,
    senders: Senders,
    /// When subscribers were told to resync.
    resynced: Option<Instant>,
    /// When they are to be told again.
    owed: Option<Instant>,
    complaint: Option<Instant>,
    was_healthy: bool,
}

impl<'s> Listener<'s> {
    fn new(shared: &'s Shared) -> Self {
        let senders = Senders::new();
        Self { shared, senders, resynced: None, owed: None, complaint: None, was_healthy: false }
    }

    /// Replaces the connection whenever it is lost.
    async fn listen(mut self) -> Infallible {
        let mut waits = pauses();
        let mut told = String::new();
        loop {
            self.shared.state.send_replace(State::Opening);
            let (trouble, healthy_since) = self.one_connection().await;
            if healthy_since.is_some_and(|since| since.elapsed() > RedisBus::SILENCE) {
                waits = pauses();
            }
            let error = trouble.clone().into_error("subscribe");
            self.shared.state.send_replace(State::Down(trouble));
            // Once each time, and when it fails in another way. Before it ever worked, `subscribe` says it.
            if healthy_since.is_some() || (self.was_healthy && error.to_string() != told) {
                told = error.to_string();
                let message = "changes on other nodes are not heard until there is a new connection";
                tracing::warn!(backend = NAME, %error, message);
            }
            sleep(waits.next().unwrap_or(SPACING)).await;
        }
    }

    /// Opens a connection, and says something that it should hear.
    async fn open(&self) -> Result<Ear, Trouble> {
        let ear = Ear::open(&self.shared.connection, &self.shared.channel).await?;
        self.shared.beat().await?;
        Ok(ear)
    }

    /// Listens until the connection is lost, and says why and since when it was healthy, if it was.
    async fn one_connection(&mut self) -> (Trouble, Option<Instant>) {
        let patience = Instant::now() + RedisBus::SILENCE;
        let mut ear = match timeout_at(patience, self.open()).await.map_err(Trouble::from).flatten() {
            Ok(ear) => ear,
            Err(trouble) => return (trouble, None),
        };
        let mut healthy_since = None;
        let mut ticks = interval(RedisBus::BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = match healthy_since {
                Some(_) => self.shared.proven() + RedisBus::SILENCE,
                None => patience,
            };
            let owed = self.owed;
            tokio::select! {
                biased;
                () = sleep_until(deadline) => return (unheard("this node does not hear itself"), healthy_since),
                () = ear.line.ended.notified() => return (unheard("the connection was lost"), healthy_since),
                () = sleep_until(owed.unwrap_or(deadline)), if owed.is_some() => self.tell_resync(),
                _ = ticks.tick(), if healthy_since.is_some() => {
                    if self.senders.any_silent(now()) {
                        self.resync();
                    }
                }
                bytes = ear.inbox.recv() => {
                    let Some(bytes) = bytes else {
                        return (unheard("the connection was lost"), healthy_since);
                    };
                    if ear.line.overflowed.swap(false, Ordering::Relaxed) {
                        self.resync();
                    }
                    if self.take(&bytes) && healthy_since.is_none() {
                        healthy_since = Some(Instant::now());
                        self.begin();
                    }
                }
            }
        }
    }

    /// Says that all is well from now on.
    fn begin(&mut self) {
        self.senders.excuse(now());
        if self.was_healthy {
            self.tell_resync();
        }
        self.shared.state.send_replace(State::Healthy);
        if std::mem::replace(&mut self.was_healthy, true) {
            tracing::info!(backend = NAME, "changes on other nodes are heard again");
        }
    }

    /// Takes a message, and says whether it proves that messages arrive.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let Some(message) = Message::decode(bytes) else {
            self.ignore();
            return false;
        };
        if message.node == self.shared.publisher.node() {
            return matches!(message.body, Body::Beat(clock) if self.proves(clock));
        }
        let Heard { changes, is_gap, .. } = self.senders.hear(message, now());
        if is_gap {
            self.resync();
        }
        if let Some((scope, changes)) = changes {
            self.tell(BusEvent::Changed(scope, changes));
        }
        false
    }

    /// An own beat, sent when the clock stood there. One that was long under way proves that messages are late.
    fn proves(&self, clock: u64) -> bool {
        let age = self.shared.clock().checked_sub(clock);
        let is_fresh = age.is_some_and(|age| Duration::from_millis(age) <= RedisBus::SILENCE);
        if is_fresh {
            self.shared.proof.fetch_max(clock, Ordering::Relaxed);
        }
        is_fresh
    }

    fn ignore(&mut self) {
        let ignored = self.shared.ignored.fetch_add(1, Ordering::Relaxed) + 1;
        if self.complaint.is_none_or(|complaint| complaint.elapsed() > COMPLAINTS) {
            self.complaint = Some(Instant::now());
            tracing::warn!(
                backend = NAME,
                channel = self.shared.channel,
                ignored,
                "somebody publishes what no session bus of this version writes",
            );
        }
    }

    /// Makes subscribers resync: now, or as soon as the last time is long enough ago.
    fn resync(&mut self) {
        match self.resynced {
            Some(resynced) if resynced.elapsed() < SPACING => self.owed = Some(resynced + SPACING),
            _ => self.tell_resync(),
        }
    }

    fn tell_resync(&mut self) {
        (self.resynced, self.owed) = (Some(Instant::now()), None);
        self.tell(BusEvent::Resync);
    }

    fn tell(&self, event: BusEvent) {
        // It fails if the last subscription was dropped a moment ago.
        let _ = self.shared.events.send(event);
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn unheard(detail: &'static str) -> Trouble {
    Error::unavailable(NAME, "subscribe").with_detail(detail).into()
}

/// A connection that hears the channel.
struct Ear {
    inbox: mpsc::Receiver<Vec<u8>>,
    line: Arc<Line>,
    _listening: Listening,
}

/// What the driver tells besides messages.
#[derive(Default)]
struct Line {
    ended: Notify,
    /// A message was lost for want of room.
    overflowed: AtomicBool,
}

impl Ear {
    async fn open(connection: &Connection, channel: &str) -> Result<Self, Trouble> {
        let (sender, inbox) = mpsc::channel(INBOX);
        let line = Arc::new(Line::default());
        let told = Arc::clone(&line);
        let hear = move |push: PushInfo| {
            match push.kind {
                // In a cluster it may be a node that was not the one. The driver would subscribe again without a word.
                PushKind::Disconnection => told.ended.notify_one(),
                PushKind::Message if sender.try_send(payload(push.data)).is_err() => {
                    told.overflowed.store(true, Ordering::Relaxed);
                }
                _ => {}
            }
            Ok::<(), redis::aio::SendError>(())
        };
        let listening = connection.listen(channel, hear).await?;
        Ok(Self { inbox, line, _listening: listening })
    }
}

/// The channel comes first. What is too long for a message is not kept until it is refused.
fn payload(mut data: Vec<Value>) -> Vec<u8> {
    match data.pop() {
        Some(Value::BulkString(bytes)) if bytes.len() <= Message::MAX_BYTES => bytes,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::Receiver;
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    /// A bus that has lived for a while, and what its subscribers hear.
    fn aged(age: Duration) -> (RedisBus, Receiver<BusEvent>) {
        let mut bus = RedisBus::new(Connection::open("redis://127.0.0.1:1/").unwrap());
        Arc::get_mut(&mut bus.shared).unwrap().born -= age;
        let events = bus.shared.events.subscribe();
        (bus, events)
    }

    #[test]
    fn a_beat_that_was_long_under_way_proves_nothing() {
        let (bus, _events) = aged(Duration::from_secs(60));
        let listener = Listener::new(&bus.shared);
        assert!(!listener.proves(56_000), "four seconds");
        assert!(!listener.proves(90_000), "of the future");
        assert_eq!(bus.shared.proven(), bus.shared.born);
        assert!(listener.proves(59_900));
        assert!(listener.proves(59_800), "a late one");
        assert_eq!(bus.shared.proven(), bus.shared.born + Duration::from_millis(59_900));
    }

    #[test]
    fn who_comes_when_the_last_one_goes_either_keeps_it_listening_or_waits() {
        let (bus, _events) = aged(Duration::ZERO);
        let shared = &bus.shared;
        shared.state.send_replace(State::Healthy);
        shared.subscriptions.send_replace(1);
        assert!(!is_deserted(shared) && matches!(*shared.state.borrow(), State::Healthy));
        shared.subscriptions.send_replace(0);
        assert!(is_deserted(shared) && matches!(*shared.state.borrow(), State::Deaf));
    }

    #[test]
    fn resyncs_are_gathered_but_none_is_forgotten() {
        let (bus, mut events) = aged(Duration::ZERO);
        let mut listener = Listener::new(&bus.shared);
        listener.resync();
        assert_eq!(events.try_recv(), Ok(BusEvent::Resync), "the first at once");
        assert_eq!(listener.owed, None);
        listener.resync();
        listener.resync();
        assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(listener.owed, listener.resynced.map(|resynced| resynced + SPACING));
        listener.tell_resync();
        assert_eq!(events.try_recv(), Ok(BusEvent::Resync));
        assert_eq!(listener.owed, None);
    }

    #[test]
    fn only_what_can_be_a_message_is_kept() {
        let push = |length| vec![Value::BulkString(b"channel".to_vec()), Value::BulkString(vec![7; length])];
        assert_eq!(payload(push(Message::MAX_BYTES)).len(), Message::MAX_BYTES);
        assert_eq!(payload(push(Message::MAX_BYTES + 1)).len(), 0);
        assert_eq!(payload(vec![]).len() + payload(vec![Value::Int(1)]).len(), 0);
    }
}
