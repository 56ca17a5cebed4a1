//! Reporting to the application what happened, without ever waiting for it.
//!
//! | event | when the queue is full |
//! |---|---|
//! | an end found by a sweep | the sweep waits for room |
//! | an end, a sign-in, a rotation | dropped and counted |
//! | a denial, an error of the store | dropped and counted already when the queue is half full: a flood of them never costs an end |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use metrics::{Counter, counter};
use session_core::{Clock, Event, EventKind, EventSink, SessionId, SessionRecord, UserId};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// Most events that wait for the sink. Beyond that they are dropped and counted.
const MAX_WAITING: usize = 4_096;

enum Message {
    Event(Event),
    Flush(oneshot::Sender<()>),
}

/// The way from the manager to the sink: a bounded queue and a thread of its own, because a sink
/// may block.
pub(crate) struct Events {
    queue: Option<Sender<Message>>,
    clock: Arc<dyn Clock>,
    dropped: Counter,
}

impl Events {
    pub(crate) fn new(sink: Option<Arc<dyn EventSink>>, clock: Arc<dyn Clock>) -> Self {
        let queue = sink.and_then(start);
        Self { queue, clock, dropped: counter!("session_events_dropped_total") }
    }

    /// Whether anybody listens.
    pub(crate) fn is_wanted(&self) -> bool {
        self.queue.is_some()
    }

    pub(crate) fn emit(&self, kind: EventKind, session: Option<SessionId>, user: Option<UserId>) {
        let Some(queue) = &self.queue else { return };
        let has_room = is_essential(&kind) || queue.capacity() > MAX_WAITING / 2;
        let event = Event::new(kind, self.clock.now(), session, user);
        if !has_room || queue.try_send(Message::Event(event)).is_err() {
            self.dropped.increment(1);
        }
    }

    pub(crate) fn emit_for(&self, kind: EventKind, record: &SessionRecord) {
        if self.is_wanted() {
            self.emit(kind, Some(record.id), record.user_id.clone());
        }
    }

    /// Waits until so many events have room. For workers, which may wait; the caller sets the
    /// limit.
    pub(crate) async fn room_for(&self, events: usize) {
        if let Some(queue) = &self.queue {
            let events = events.min(MAX_WAITING);
            drop(queue.reserve_many(events).await);
        }
    }

    /// Waits until the sink took what was emitted before. The caller sets the limit.
    pub(crate) async fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (sender, flushed) = oneshot::channel();
        if queue.send(Message::Flush(sender)).await.is_ok() {
            let _ = flushed.await;
        }
    }
}

/// Whether an event reports what is known only once.
const fn is_essential(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Denied { .. } | EventKind::StoreError { .. })
}

/// Without a thread there are no events, and everything else works.
fn start(sink: Arc<dyn EventSink>) -> Option<Sender<Message>> {
    let (sender, receiver) = channel(MAX_WAITING);
    let thread = std::thread::Builder::new().name("session-events".to_owned());
    match thread.spawn(move || run(&*sink, receiver)) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::error!(%error, "session events cannot be delivered: no thread");
            None
        }
    }
}

/// Ends when the manager is gone.
fn run(sink: &dyn EventSink, mut queue: Receiver<Message>) {
    while let Some(message) = queue.blocking_recv() {
        match message {
            Message::Event(event) => {
                if catch_unwind(AssertUnwindSafe(|| sink.emit(&event))).is_err() {
                    counter!("session_event_panics_total").increment(1);
                }
            }
            Message::Flush(done) => drop(done.send(())),
        }
    }
}
