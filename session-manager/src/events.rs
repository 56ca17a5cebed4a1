//! Telling the application what happened, without ever waiting for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use metrics::{Counter, counter};
use session_core::{Clock, Event, EventKind, EventSink, SessionId, SessionRecord, UserId};
use tokio::sync::oneshot;

/// Most events that wait for the sink. Beyond that they are dropped and counted.
const MAX_WAITING: usize = 4_096;

/// How soon a flush tries again to get into a full queue.
const RETRY: Duration = Duration::from_millis(5);

enum Message {
    Event(Event),
    Flush(oneshot::Sender<()>),
}

/// The way from the manager to the sink: a bounded queue and a thread of its own, because a sink may block.
pub(crate) struct Events {
    queue: Option<SyncSender<Message>>,
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
        let event = Event::new(kind, self.clock.now(), session, user);
        if queue.try_send(Message::Event(event)).is_err() {
            self.dropped.increment(1);
        }
    }

    pub(crate) fn emit_for(&self, kind: EventKind, record: &SessionRecord) {
        if self.is_wanted() {
            self.emit(kind, Some(record.id), record.user_id.clone());
        }
    }

    /// Waits until the sink took what was emitted before. The caller sets the limit.
    pub(crate) async fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (sender, flushed) = oneshot::channel();
        let mut message = Message::Flush(sender);
        // A full queue makes room when the sink goes on; nothing tells when.
        while let Err(TrySendError::Full(back)) = queue.try_send(message) {
            message = back;
            tokio::time::sleep(RETRY).await;
        }
        let _ = flushed.await;
    }
}

/// Without a thread there are no events, and everything else works.
fn start(sink: Arc<dyn EventSink>) -> Option<SyncSender<Message>> {
    let (sender, receiver) = sync_channel(MAX_WAITING);
    let thread = std::thread::Builder::new().name("session-events".to_owned());
    match thread.spawn(move || run(&*sink, &receiver)) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::error!(%error, "session events cannot be delivered: no thread");
            None
        }
    }
}

/// Ends when the manager is gone.
fn run(sink: &dyn EventSink, queue: &Receiver<Message>) {
    while let Ok(message) = queue.recv() {
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
