//! One reader for all who ask for the same session at the same time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{Result, SessionId};
use session_memory::{L1, Ticket};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Found;

pub(super) type Answer = Result<Option<Found>>;

/// Reads that are under way. There are never more than requests.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<SessionId, Flight>>,
}

#[derive(Debug)]
struct Flight {
    ticket: Arc<Ticket>,
    began: Instant,
    answer: watch::Receiver<Option<Answer>>,
}

/// The role of a caller in a read.
pub(super) enum Turn<'a> {
    /// Reads, and passes the answer to the others.
    Lead(Leader<'a>),
    /// Wait for who reads.
    Join(watch::Receiver<Option<Answer>>),
}

impl Flights {
    /// Joins a read that is under way, unless the session changed since it began, or it takes so
    /// long that its caller must have stopped polling it.
    pub(super) fn turn(&self, id: SessionId, l1: &L1, patience: Duration) -> Turn<'_> {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.get(&id)
            && l1.is_current(&flight.ticket)
            && flight.began.elapsed() < patience
        {
            return Turn::Join(flight.answer.clone());
        }
        let (sender, answer) = watch::channel(None);
        let ticket = Arc::new(l1.ticket(id));
        under_way.insert(id, Flight { ticket: Arc::clone(&ticket), began: Instant::now(), answer });
        Turn::Lead(Leader { flights: self, ticket, sender })
    }
}

/// Waits for who reads. `None` if they gave up: ask again.
pub(super) async fn joined(mut answer: watch::Receiver<Option<Answer>>) -> Option<Answer> {
    let there = answer.wait_for(Option::is_some).await.ok()?;
    there.clone()
}

/// Who reads for all. If it is dropped without an answer, one of those who wait takes over.
pub(super) struct Leader<'a> {
    flights: &'a Flights,
    pub(super) ticket: Arc<Ticket>,
    sender: watch::Sender<Option<Answer>>,
}

impl Leader<'_> {
    /// Passes the answer to the others.
    pub(super) fn finish(self, answer: &Answer) {
        self.sender.send_replace(Some(answer.clone()));
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        let id = self.ticket.id();
        if under_way.get(&id).is_some_and(|flight| Arc::ptr_eq(&flight.ticket, &self.ticket)) {
            under_way.remove(&id);
        }
    }
}
