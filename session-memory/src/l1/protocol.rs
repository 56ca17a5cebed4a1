//! Rules for keeping and dropping copies.
//!
//! A caller that reads or writes a session takes a [`Ticket`] first. The result is kept only if the
//! session did not change in between, so that a slow reader cannot bring back a session that was
//! replaced or ended during the read. Checking the ticket and keeping the copy are one step under
//! the session's lock, and so is every change. Lookups do not take that lock.

use std::sync::Arc;
use std::time::Duration;

use session_core::{Ended, Revision, SessionId, SessionRecord, Timestamp, Touch};

use super::fences::{Fences, Ticket};
use super::maps::{Copies, Map, Mark, Marks, Unknowns};
use super::sync::{AtomicU64, Ordering};

/// Maximum number of ended or outdated sessions that are remembered.
const MAX_MARKS: u32 = 65_536;

/// Maximum number of ids that are remembered as unknown.
const MAX_UNKNOWN: u32 = 16_384;

/// One reading of both clocks. Staleness is checked on both: the process's own clock stops while a
/// machine is suspended, and the wall clock may be set.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs, reason = "made where clocks are read")]
pub struct Moment {
    /// Wall time.
    pub wall: Timestamp,
    /// The process's own clock, see [`Clock::monotonic`](session_core::Clock::monotonic).
    pub mono: Duration,
}

/// The settings of an [`L1`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "made where settings are checked")]
pub struct L1Settings {
    /// Maximum memory of all copies, in bytes; zero keeps none.
    pub bytes: u64,
    /// How long a copy counts after the read of the store of record.
    pub max_stale: Duration,
    /// How long a copy counts after this process took it.
    pub max_age: Duration,
    /// Maximum difference between wall clocks. A copy whose verification lies further in the future
    /// does not count.
    pub max_skew: Duration,
    /// How long an id is remembered as unknown.
    pub unknown_for: Duration,
}

/// A copy.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Held {
    /// The record, active when it was read.
    pub record: Arc<SessionRecord>,
    /// When the read of the store of record began from which the copy stems, by the clock of the
    /// node that read.
    pub verified_at: Timestamp,
    /// When the copy becomes stale, by this process's clock. Inherited from the copied entry.
    stale_at: Tick,
    /// Until when the copy counts, as determined when it was taken.
    counts_until: Tick,
    epoch: u64,
}

/// Nanoseconds on the process's own clock: half the size of a `Duration`, so that a lookup reads
/// one cache line.
type Tick = u64;

/// The result of a lookup.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// The session ended, which is final.
    Ended(Ended),
    /// A copy that counts.
    Live(Held),
    /// Nothing that counts is known.
    Miss,
    /// The store of record did not have the session a moment ago.
    Unknown,
}

/// The source of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Authority {
    /// Another copy.
    Cache,
    /// The store of record.
    Store,
}

/// The outcome of [`L1::fill`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Filled {
    /// Not kept: the session ended.
    Ended(Ended),
    /// Kept, with the last-seen time that was known if it is later.
    Kept(Arc<SessionRecord>),
    /// Not kept: a newer revision is held, or known to exist.
    Outdated,
    /// Not kept: the session changed during the read.
    Overtaken,
}

/// The number and the size of the copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct L1Usage {
    /// Number of copies.
    pub sessions: usize,
    /// Their estimated memory, in bytes.
    pub bytes: u64,
}

/// The process-local cache of sessions, for validation without a remote call.
///
/// The manager's tiers are built on it; applications do not need it. It does no I/O and reads no
/// clock. Everything is bounded: copies by their memory, the marks of ended and of unknown sessions
/// by their number (65,536 and 16,384).
///
/// # Guarantees
/// - After a change is known here, a copy that was read before the change never counts, however
///   late it arrives.
/// - The revision of a session never decreases while a copy is held.
/// - An ended session does not come back while its end is remembered; after that, staleness keeps
///   it out.
/// - Copying never makes a copy fresher: `stale_at` is inherited.
#[derive(Debug)]
pub struct L1 {
    settings: L1Settings,
    fences: Arc<Fences>,
    copies: Option<Copies>,
    marks: Marks,
    unknown: Unknowns,
    epoch: AtomicU64,
}

impl L1 {
    /// Creates an empty cache.
    #[must_use]
    pub fn new(settings: L1Settings) -> Self {
        Self {
            settings,
            fences: Arc::new(Fences::new()),
            copies: (settings.bytes > 0).then(|| Copies::of_bytes(settings.bytes)),
            marks: Map::of_entries(MAX_MARKS),
            unknown: Map::of_entries(MAX_UNKNOWN),
            epoch: AtomicU64::new(0),
        }
    }

    /// Looks up a session.
    #[must_use]
    pub fn get(&self, id: SessionId, now: Moment) -> Lookup {
        match self.copy(id, now) {
            Some(held) => Lookup::Live(held),
            None => self.remembered(id, now),
        }
    }

    /// Returns a copy that counts. Does not look for ends and unknown ids.
    #[must_use]
    #[inline]
    pub fn copy(&self, id: SessionId, now: Moment) -> Option<Held> {
        self.held(id).filter(|held| self.counts(held, now))
    }

    /// Returns a copy that was verified less than `limit` ago, even if it does not count any more.
    #[must_use]
    pub fn last_known(&self, id: SessionId, limit: Duration, now: Moment) -> Option<Held> {
        let since_verified = |held: &Held| {
            let stale_for = Duration::from_nanos(tick(now.mono).saturating_sub(held.stale_at));
            let until_stale = Duration::from_nanos(held.stale_at.saturating_sub(tick(now.mono)));
            (self.settings.max_stale + stale_for).saturating_sub(until_stale)
        };
        self.held(id).filter(|held| {
            since_verified(held) < limit
                && now.wall < held.verified_at.saturating_add(limit)
                && held.verified_at <= now.wall.saturating_add(self.settings.max_skew)
        })
    }

    /// Returns the end of a session, if it is remembered.
    #[must_use]
    pub fn ended(&self, id: SessionId) -> Option<Ended> {
        match self.marks.get(id) {
            Some(Mark::Ended(ended)) => Some(ended),
            _ => None,
        }
    }

    /// Returns a ticket for a read or a write that begins now.
    #[must_use]
    pub fn ticket(&self, id: SessionId) -> Ticket {
        // The epoch is read first: a resync in between makes the ticket outdated, and never its
        // copy current.
        let epoch = self.epoch.load(Ordering::SeqCst);
        self.fences.ticket(id, epoch)
    }

    /// Returns true if the session has not changed since the ticket was taken.
    #[must_use]
    pub fn is_current(&self, ticket: &Ticket) -> bool {
        self.fences.of(ticket.id).lock().is_current(ticket)
            && ticket.epoch == self.epoch.load(Ordering::SeqCst)
    }

    /// Keeps an active record that was read, if no newer one is known and the session did not
    /// change meanwhile.
    pub fn fill(
        &self,
        ticket: &Ticket,
        record: &Arc<SessionRecord>,
        verified_at: Timestamp,
        stale_at: Duration,
        now: Moment,
        authority: Authority,
    ) -> Filled {
        let stripe = self.fences.of(ticket.id).lock();
        match self.marks.get(ticket.id) {
            Some(Mark::Ended(ended)) => return Filled::Ended(ended),
            Some(Mark::OutdatedBelow(revision))
                if authority == Authority::Cache && record.revision < revision =>
            {
                return Filled::Outdated;
            }
            _ => {}
        }
        if !stripe.is_current(ticket) {
            if authority == Authority::Store {
                self.learn(ticket.id, record);
            }
            return Filled::Overtaken;
        }
        if self.knows_newer(ticket.id, record, now) {
            return Filled::Outdated;
        }
        Filled::Kept(self.keep(ticket, record, verified_at, stale_at, now))
    }

    /// Remembers that the store of record has no such session, if the session did not change
    /// meanwhile.
    pub fn absent(&self, ticket: &Ticket, now: Moment) {
        let stripe = self.fences.of(ticket.id).lock();
        if !stripe.is_current(ticket) {
            return;
        }
        // If another read found the session meanwhile, either result may be the older one. Only the
        // next read decides.
        let was_seen = self.held(ticket.id).is_some();
        self.forget_copy(ticket.id);
        if !was_seen {
            self.unknown.insert(ticket.id, now.mono.saturating_add(self.settings.unknown_for));
        }
    }

    /// Keeps an active record that this process has just written.
    pub fn wrote(
        &self,
        ticket: &Ticket,
        record: &Arc<SessionRecord>,
        verified_at: Timestamp,
        stale_at: Duration,
        now: Moment,
    ) {
        let mut stripe = self.fences.of(ticket.id).lock();
        let is_current = stripe.is_current(ticket);
        stripe.invalidate(ticket.id);
        self.unknown.remove(ticket.id);
        if !is_current {
            self.outdate(ticket.id, record.revision);
        } else if self.ended(ticket.id).is_none() && !self.knows_newer(ticket.id, record, now) {
            self.keep(ticket, record, verified_at, stale_at, now);
        }
    }

    /// Remembers that a session ended.
    pub fn end(&self, id: SessionId, ended: &Ended) {
        let mut stripe = self.fences.of(id).lock();
        stripe.invalidate(id);
        self.forget_copy(id);
        self.marks.insert(id, Mark::Ended(ended.clone()));
    }

    /// Records that a session changed elsewhere. Returns true if the change was not known.
    pub fn changed(&self, id: SessionId, revision: Revision, ended: bool) -> bool {
        let mut stripe = self.fences.of(id).lock();
        let known = self.held(id).is_some_and(|held| held.record.revision >= revision);
        if known && !ended {
            return false;
        }
        stripe.invalidate(id);
        self.unknown.remove(id);
        self.outdate(id, revision);
        true
    }

    /// Drops a copy after a write without a reply, because the content of the store of record is
    /// unknown.
    pub fn distrust(&self, id: SessionId) {
        let mut stripe = self.fences.of(id).lock();
        stripe.invalidate(id);
        self.forget_copy(id);
        self.unknown.remove(id);
    }

    /// Moves the last-seen time of a copy forward, as the store of record did when the touch
    /// arrived there at `now`.
    pub fn touched(&self, touch: &Touch, now: Timestamp) {
        let _stripe = self.fences.of(touch.id).lock();
        let Some(mut held) = self.held(touch.id) else { return };
        if held.record.accepts(touch, now) {
            Arc::make_mut(&mut held.record).touch(touch, now);
            self.put(touch.id, held);
        }
    }

    /// Invalidates every copy that was taken, or is being taken, before now, because messages were
    /// lost.
    pub fn resync(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the number and the size of the copies.
    #[must_use]
    pub fn usage(&self) -> L1Usage {
        let held = |copies: &Copies| L1Usage { sessions: copies.len(), bytes: copies.weight() };
        self.copies.as_ref().map_or(L1Usage { sessions: 0, bytes: 0 }, held)
    }

    #[inline]
    fn counts(&self, held: &Held, now: Moment) -> bool {
        held.epoch == self.epoch.load(Ordering::Acquire)
            && tick(now.mono) < held.counts_until
            && now.wall < held.verified_at.saturating_add(self.settings.max_stale)
            && held.verified_at <= now.wall.saturating_add(self.settings.max_skew)
    }

    fn remembered(&self, id: SessionId, now: Moment) -> Lookup {
        if let Some(ended) = self.ended(id) {
            return Lookup::Ended(ended);
        }
        match self.unknown.get(id) {
            Some(until) if now.mono < until => Lookup::Unknown,
            _ => Lookup::Miss,
        }
    }

    #[inline]
    fn held(&self, id: SessionId) -> Option<Held> {
        self.copies.as_ref()?.get(id)
    }

    fn put(&self, id: SessionId, held: Held) {
        if let Some(copies) = &self.copies {
            copies.insert(id, held);
        }
    }

    fn forget_copy(&self, id: SessionId) {
        if let Some(copies) = &self.copies {
            copies.remove(id);
        }
    }

    /// Returns true if a later revision is held. A read of it may have overtaken the reply to an
    /// earlier write or read.
    fn knows_newer(&self, id: SessionId, record: &SessionRecord, now: Moment) -> bool {
        let held = self.held(id).filter(|held| tick(now.mono) < held.stale_at);
        held.is_some_and(|held| held.record.revision > record.revision)
    }

    /// Records a revision that the store of record had. It may not be the newest, but after a
    /// reader has seen it, no older revision may count.
    fn learn(&self, id: SessionId, record: &SessionRecord) {
        match self.held(id) {
            Some(held) if held.record.revision > record.revision => {}
            Some(mut held) if held.record.revision == record.revision => {
                if record.last_seen_at > held.record.last_seen_at {
                    let known = Arc::make_mut(&mut held.record);
                    known.last_seen_at = record.last_seen_at;
                    known.last_client = record.last_client.clone();
                    self.put(id, held);
                }
            }
            _ => self.outdate(id, record.revision),
        }
    }

    /// Replaces the held copy, but keeps a later last-seen time, and a later verification of the
    /// same revision.
    fn keep(
        &self,
        ticket: &Ticket,
        record: &Arc<SessionRecord>,
        verified_at: Timestamp,
        stale_at: Duration,
        now: Moment,
    ) -> Arc<SessionRecord> {
        let (stale_at, taken_until) = (tick(stale_at), tick(now.mono.saturating_add(self.settings.max_age)));
        let record = Arc::clone(record);
        let mut held = Held { record, verified_at, stale_at, counts_until: taken_until, epoch: ticket.epoch };
        if let Some(known) = self.held(ticket.id) {
            if known.record.revision == held.record.revision && known.stale_at > stale_at {
                (held.verified_at, held.stale_at) = (known.verified_at, known.stale_at);
            }
            if known.record.last_seen_at > held.record.last_seen_at {
                let record = Arc::make_mut(&mut held.record);
                record.last_seen_at = known.record.last_seen_at;
                record.last_client = known.record.last_client.clone();
            }
        }
        held.counts_until = taken_until.min(held.stale_at);
        self.unknown.remove(ticket.id);
        let kept = Arc::clone(&held.record);
        self.put(ticket.id, held);
        kept
    }

    /// Drops the copy, and remembers that revisions below `revision` do not count any more.
    fn outdate(&self, id: SessionId, revision: Revision) {
        self.forget_copy(id);
        match self.marks.get(id) {
            Some(Mark::Ended(_)) => {}
            Some(Mark::OutdatedBelow(known)) if known >= revision => {}
            _ => self.marks.insert(id, Mark::OutdatedBelow(revision)),
        }
    }
}

#[inline]
fn tick(mono: Duration) -> Tick {
    // Saturates after 584 years.
    mono.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(mono.subsec_nanos()))
}
