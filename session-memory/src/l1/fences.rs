//! Fences detect whether a session changed during a read or a write.

use std::collections::HashMap;
use std::sync::Arc;

use session_core::SessionId;

use super::sync::Mutex;

/// How many locks the ids are spread over.
const STRIPES: u8 = if cfg!(test) { 4 } else { 64 };

/// A session that is being read or written. It exists only while there are tickets for it, so there
/// are never more fences than operations in flight, and no eviction can lose one.
#[derive(Debug, Default)]
struct Fence {
    tickets: u32,
    /// How often the session changed since the fence was created.
    changes: u64,
}

/// The sessions of one lock.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    fences: HashMap<SessionId, Fence>,
}

impl Stripe {
    /// Invalidates all reads and writes of the session that are in flight.
    pub(super) fn invalidate(&mut self, id: SessionId) {
        if let Some(fence) = self.fences.get_mut(&id) {
            fence.changes += 1;
        }
    }

    /// Returns true if the session has not changed since the ticket was taken.
    pub(super) fn is_current(&self, ticket: &Ticket) -> bool {
        self.fences.get(&ticket.id).is_some_and(|fence| fence.changes == ticket.changes)
    }
}

/// The fences of all sessions.
#[derive(Debug)]
pub(super) struct Fences {
    stripes: Box<[Mutex<Stripe>]>,
}

impl Fences {
    pub(super) fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::new(Stripe::default())).collect() }
    }

    /// Returns the lock of a session. Everything known about the session changes only under this
    /// lock.
    pub(super) fn of(&self, id: SessionId) -> &Mutex<Stripe> {
        // The last byte of an id is random.
        let stripe = id.as_bytes()[15] % STRIPES;
        &self.stripes[usize::from(stripe)]
    }

    pub(super) fn ticket(self: &Arc<Self>, id: SessionId, epoch: u64) -> Ticket {
        let changes = {
            let mut stripe = self.of(id).lock();
            let fence = stripe.fences.entry(id).or_default();
            fence.tickets += 1;
            fence.changes
        };
        Ticket { fences: Arc::clone(self), id, changes, epoch }
    }
}

/// Proof of when a read or a write of a session began. Take it before, and pass it with the result:
/// a result is kept only if the session did not change in between.
#[derive(Debug)]
pub struct Ticket {
    fences: Arc<Fences>,
    pub(super) id: SessionId,
    changes: u64,
    /// The epoch in which the ticket was taken, see [`L1::resync`](super::L1::resync).
    pub(super) epoch: u64,
}

impl Ticket {
    /// Returns the id of the session.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut stripe = self.fences.of(self.id).lock();
        let last = stripe.fences.get_mut(&self.id).is_some_and(|fence| {
            fence.tickets -= 1;
            fence.tickets == 0
        });
        if last {
            stripe.fences.remove(&self.id);
        }
    }
}
