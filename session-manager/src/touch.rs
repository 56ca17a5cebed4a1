//! Writing that sessions were used: rarely, in batches, and never on a request's way.
//!
//! | meets | how |
//! |---|---|
//! | a deadline that is near | the use is written at once, so that it counts |
//! | a deadline that has passed | the store refuses the use: an expired session stays expired, because a limit may have counted it out |
//! | a value that the store refuses | costs its own session this use, and not the others of the batch |
//! | an outage | uses wait, within the capacity |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use session_core::limits::MAX_BATCH;
use session_core::{Error, Result, SessionId, Timestamp, Touch};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::manager::Shared;

/// Uses that wait to be written, the latest of each session. Bounded: beyond its capacity, new
/// sessions are dropped, which makes them expire earlier and never later.
#[derive(Debug)]
pub(crate) struct TouchQueue {
    waiting: Mutex<HashMap<SessionId, Touch>>,
    /// The batch that is being written: a write may be late, so these count as known until it is
    /// done.
    being_written: Mutex<HashMap<SessionId, Touch>>,
    /// What was written lately: a copy of a session does not know it yet. As bounded as what waits.
    written: Cache<SessionId, Timestamp>,
    capacity: usize,
    /// A batch is full, or a use cannot wait.
    due: Notify,
}

impl TouchQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        let written = Cache::new(capacity);
        Self {
            waiting: Mutex::default(),
            being_written: Mutex::default(),
            written,
            capacity,
            due: Notify::new(),
        }
    }

    /// Whether a use of the session was written less than `interval` ago.
    pub(crate) fn was_written(&self, id: SessionId, now: Timestamp, interval: Duration) -> bool {
        self.written.get(&id).is_some_and(|written| now.since(written) < interval)
    }

    /// Takes the use of one session, to write it before the others.
    pub(crate) fn take(&self, id: SessionId) -> Option<Touch> {
        let waiting = self.waiting.lock().remove(&id);
        let touch = waiting.or_else(|| self.being_written.lock().get(&id).cloned())?;
        self.written.insert(id, touch.last_seen_at);
        Some(touch)
    }

    /// Has what waits written now.
    pub(crate) fn flush_now(&self) {
        self.due.notify_one();
    }

    /// Remembers a use.
    pub(crate) fn push(&self, touch: Touch, dropped: &Counter) {
        let mut waiting = self.waiting.lock();
        let room = waiting.len() < self.capacity;
        match waiting.get_mut(&touch.id) {
            Some(known) if known.last_seen_at >= touch.last_seen_at => {}
            Some(known) => *known = touch,
            None if !room => dropped.increment(1),
            None => {
                waiting.insert(touch.id, touch);
                if waiting.len() >= MAX_BATCH {
                    self.due.notify_one();
                }
            }
        }
    }

    fn take_batch(&self) -> Vec<Touch> {
        let mut waiting = self.waiting.lock();
        let ids: Vec<_> = waiting.keys().copied().take(MAX_BATCH).collect();
        let batch: Vec<_> = ids.iter().filter_map(|id| waiting.remove(id)).collect();
        // A use that comes while it is being written is not written once more.
        batch.iter().for_each(|touch| self.written.insert(touch.id, touch.last_seen_at));
        *self.being_written.lock() = batch.iter().map(|touch| (touch.id, touch.clone())).collect();
        batch
    }

    /// Forgets the batch that was being written.
    fn finish_batch(&self) {
        self.being_written.lock().clear();
    }

    /// Takes back what could not be written.
    pub(crate) fn put_back(&self, batch: Vec<Touch>, dropped: &Counter) {
        for touch in batch {
            self.written.remove(&touch.id);
            self.push(touch, dropped);
        }
    }
}

/// The worker: writes what waits, every so often or as soon as a batch is full, and once more when
/// it stops.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let interval = shared.settings.touch_flush;
    loop {
        let stopped = stop.run_until_cancelled(wait(&shared.touches, interval)).await.is_none();
        if flush(&shared).await.is_err() && !stopped {
            // The store cannot be asked now, so a full batch must not wake the worker again at
            // once.
            let _ = stop.run_until_cancelled(tokio::time::sleep(interval)).await;
        }
        if stopped {
            return;
        }
    }
}

async fn wait(queue: &TouchQueue, interval: Duration) {
    let _ = tokio::time::timeout(interval, queue.due.notified()).await;
}

/// Writes everything that waits. What could not be written because the store was away waits again.
async fn flush(shared: &Shared) -> Result<()> {
    loop {
        let batch = shared.touches.take_batch();
        if batch.is_empty() {
            return Ok(());
        }
        let written = write(shared, &batch).await;
        shared.touches.finish_batch();
        match written {
            Err(error) if error.is_transient() => {
                shared.touches.put_back(batch, &shared.metrics.touches_dropped);
                return Err(error);
            }
            // One value that the store refuses must not cost the others their use.
            Err(_) if batch.len() > 1 => write_singly(shared, batch).await?,
            Err(error) => refused(shared, &error),
            Ok(()) => {}
        }
    }
}

async fn write(shared: &Shared, batch: &[Touch]) -> Result<()> {
    let moved = shared.backend.operation().touch(batch, shared.clock.now()).await?;
    shared.metrics.touches_flushed.increment(moved);
    Ok(())
}

async fn write_singly(shared: &Shared, batch: Vec<Touch>) -> Result<()> {
    let mut batch = batch.into_iter();
    while let Some(touch) = batch.next() {
        match write(shared, std::slice::from_ref(&touch)).await {
            Err(error) if error.is_transient() => {
                let rest = std::iter::once(touch).chain(batch).collect();
                shared.touches.put_back(rest, &shared.metrics.touches_dropped);
                return Err(error);
            }
            Err(error) => refused(shared, &error),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn refused(shared: &Shared, error: &Error) {
    tracing::warn!(kind = error.kind().as_str(), "the use of a session could not be written");
    shared.metrics.touches_dropped.increment(1);
}

#[cfg(test)]
mod tests {
    use session_core::{LastClient, SessionId};

    use super::*;

    #[test]
    fn a_use_that_is_being_written_is_known_until_the_write_is_done() {
        let (queue, dropped) = (TouchQueue::new(10), Counter::noop());
        let id = SessionId::derive("test", b"touch", None);
        queue.push(Touch::new(id, Timestamp::from_millis(5), LastClient::default()), &dropped);
        let batch = queue.take_batch();
        assert_eq!(batch.len(), 1);
        assert_eq!(queue.take(id).map(|touch| touch.last_seen_at), Some(Timestamp::from_millis(5)));
        queue.finish_batch();
        assert!(queue.take(id).is_none());
    }
}
