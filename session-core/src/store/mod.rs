//! The store of record: the trait that every backend implements, and what its methods take and return.
//!
//! Rule zero: **a store never reads a clock.** Times are arguments, and the caller decides what is live. A time to live that
//! the database enforces is garbage collection only, always later than the logical end.

mod capabilities;
mod limit;
mod query;
mod writes;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use capabilities::{Capabilities, Durability, check_batch, check_touches};
pub use limit::{LimitScope, OnExceed, SessionLimit};
pub use query::{Cursor, ListQuery, Page, StateFilter, StoreStats};
pub use writes::{EndScope, Touch};

use crate::end::Ended;
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::record::{Revision, SessionRecord};
use crate::time::Timestamp;

/// A place that keeps sessions.
///
/// This trait is for backend authors; applications use the manager. It has eleven methods, no defaults, and one conformance
/// suite (`session-conformance`) that says whether an implementation is right.
///
/// # Contract
/// - Every method is atomic per session: another caller sees the record before or after, never between.
/// - `end` wins. Once it returned, no method of any caller makes that session active again.
/// - Every successful write but [`touch`](Self::touch) raises the revision by exactly one.
/// - Ids, user ids, names and data are compared and kept byte by byte: no case folding, no trimming, no normalisation.
/// - Times come back as the same millisecond.
/// - "Not there" and "cannot tell" are different answers: a failure of the database is never an empty result.
/// - A limit of zero does nothing. An enum's value that a backend does not know, because a later version of this crate added it, is
///   [`Unsupported`](crate::ErrorKind::Unsupported).
/// - Invalid arguments are refused with [`Invalid`](crate::ErrorKind::Invalid) before any I/O: a record that fails
///   [`SessionRecord::check`], or more than [`MAX_BATCH`](crate::limits::MAX_BATCH) ids or rows. An empty batch is fine and does nothing.
///
/// # Errors
/// Besides the kinds named per method: [`Timeout`](crate::ErrorKind::Timeout) and
/// [`Unavailable`](crate::ErrorKind::Unavailable) when the database cannot be asked, in which case the operation may have
/// happened; [`Corrupt`](crate::ErrorKind::Corrupt) when what is stored cannot be understood, in which case the row is left
/// alone; [`Other`](crate::ErrorKind::Other) for everything else.
///
/// # Security
/// Arguments come from callers that may pass on what a client sent: user ids, names and labels are untrusted text and must
/// reach the database as parameters. No error and no log line carries data, hashes or tokens.
///
/// # Cancellation
/// A future that is dropped at any await point leaves the old state or the new state, and no transaction, lock or connection
/// slot behind.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session store",
    note = "a store implements all eleven methods of `SessionStore`; `Arc<S>` and `Box<S>` of a store are stores too"
)]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Describes the backend: its name, its bounds, and what survives a crash.
    ///
    /// No safety guarantee is optional, so nothing here switches one off.
    fn capabilities(&self) -> Capabilities;

    /// Inserts a new record, under a limit if one is given, and returns the records that had to end for it.
    ///
    /// # Contract
    /// - Insert only. If the id is stored, active or ended, nothing is written.
    /// - With a limit, counting the user's live sessions, ending the surplus (or refusing) and inserting are one atomic step: at
    ///   no moment are more than `max` of them live, nor more than
    ///   [`max_per_device_kind`](SessionLimit::max_per_device_kind) on devices of the new session's kind, however many callers create at
    ///   once.
    /// - Sessions past a deadline at [`SessionLimit::now`] do not count and are not ended here.
    /// - [`AlreadyExists`](crate::ErrorKind::AlreadyExists) comes before [`LimitExceeded`](crate::ErrorKind::LimitExceeded), and nobody is
    ///   evicted for an id that is taken. Of sessions that are equally old (or equally long unseen), the one with the smaller id goes first.
    /// - Evicted records end as [`LimitEvicted`](crate::EndReason::LimitEvicted) at `limit.now` by the system, and are returned as
    ///   [`end`](Self::end) returns them.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists); [`LimitExceeded`](crate::ErrorKind::LimitExceeded) with the live sessions
    /// (redacted) that fill the limit that was reached; [`Invalid`](crate::ErrorKind::Invalid) for a record that is ended, has a revision other than
    /// [`Revision::FIRST`], holds more data than [`Capabilities::max_payload`], or is anonymous under a limit.
    ///
    /// # Security
    /// An upsert here lets an attacker take over an id; a count before the insert lets parallel sign-ins pass the limit.
    ///
    /// # Cancellation
    /// The session is there whole, with its evictions, or not at all.
    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>>;

    /// Returns the stored records among the given ids: live, expired and ended ones alike, in any order, each once.
    ///
    /// # Contract
    /// - One round trip, and never a write.
    /// - An id that is not stored is not in the result, and that is not an error.
    /// - Later than every successful write that returned before the call: no lagging replica.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if any of the rows cannot be understood, or names another id than it was asked for
    /// (the connection is dropped then, its replies may be swapped). A caller that needs the other rows asks again, one by one.
    ///
    /// # Security
    /// The ids come from clients. Nothing is created, counted or extended because of them.
    ///
    /// # Cancellation
    /// Nothing happens.
    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>>;

    /// Replaces an active record of a known revision, and returns the new revision.
    ///
    /// # Contract
    /// - Succeeds only if the row exists, is active and has the `expected` revision; then the stored revision is
    ///   `expected.next()`, whatever `record.revision` says.
    /// - `id`, `user_id`, `kind` and `created_at` keep their stored values. (A user of another shard fails the check of the record.)
    /// - `last_seen_at` and `last_client` do not move back: if the stored sighting is later, both stand. See
    ///   [`SessionRecord::updated_by`].
    /// - Never inserts.
    /// - The new record stems from the stored one: that both together satisfy [`SessionRecord::check`] is the caller's part.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`Ended`](crate::ErrorKind::Ended) with the stored end, which wins over a conflict;
    /// [`Conflict`](crate::ErrorKind::Conflict) with the stored revision; [`Invalid`](crate::ErrorKind::Invalid) for an ended record
    /// (sessions end through [`end`](Self::end)) or too much data.
    ///
    /// # Security
    /// A save that inserts, or does not look at the state, brings a signed-out session back.
    ///
    /// # Cancellation
    /// The old record or the new one.
    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision>;

    /// Moves last-seen times forward and returns how many sessions moved.
    ///
    /// # Contract
    /// - One round trip for the batch.
    /// - Only active rows, only forward, and only where the row's stored deadline lies after both the touch and `now`: a touch
    ///   never revives a session that has expired by now, however early the use was. A limit may have counted it out already.
    ///   See [`SessionRecord::touch`].
    /// - `last_client` moves with it. Nothing else changes, the revision included.
    /// - If an id is named several times, only its latest touch counts, also where it comes too late.
    /// - Unknown and ended ids are skipped.
    ///
    /// # Errors
    /// Only the general ones. Part of a batch may have moved then, and repeating it is harmless.
    ///
    /// # Security
    /// A touch that inserts, or does not look at the state, brings a signed-out session back.
    ///
    /// # Cancellation
    /// Any part of the batch may have moved.
    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64>;

    /// Ends every active session in the scope, and returns the records that *this* call ended, as they are now stored.
    ///
    /// # Contract
    /// - Wins over every other write and needs no revision. Sessions past a deadline but not ended yet are in the scope.
    /// - Never a session created after `created_until`, whatever the scope names. So a repetition with the same bound is harmless:
    ///   it cannot end a session of a user who signed in again meanwhile.
    /// - Data, secrets and refresh state are cleared; everything else stays as the history of the sign-in.
    /// - Idempotent: what was ended before keeps its first end and is not returned; unknown ids are skipped.
    /// - For a user, every session whose `create` returned before this call began, and whose `created_at` is not after
    ///   `created_until`, is ended.
    /// - Two callers never both return the same session.
    ///
    /// # Errors
    /// Only the general ones. Part of a large scope may have ended then, and repeating the call ends the rest.
    ///
    /// # Security
    /// This is what revocation rests on: it may not be answered before it is durable.
    ///
    /// # Cancellation
    /// Each session is ended or untouched.
    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>>;

    /// Returns one page of records, newest first (by creation, then by id), without secrets, refresh state and data.
    ///
    /// # Contract
    /// - Keyset paging: a page begins after its cursor, so that rows created or removed meanwhile shift nothing.
    /// - `next` is present exactly if more records matched than the page holds.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a page size above [`MAX_PAGE`](crate::limits::MAX_PAGE).
    ///
    /// # Security
    /// Use [`SessionRecord::redacted`]: a list is shown to people.
    ///
    /// # Cancellation
    /// Nothing happens.
    async fn list(&self, query: &ListQuery) -> Result<Page>;

    /// Ends up to `limit` active sessions that are past a deadline at `now`, and returns them as they are now stored.
    ///
    /// # Contract
    /// - The deadline is checked again inside the claim: a session that was touched meanwhile stays.
    /// - Each ends with the reason and the time of its deadline ([`SessionRecord::expiry`]), by the system.
    /// - Two sweepers never claim the same row, nor wait for each other: what another call holds, one that was dropped included, is
    ///   passed by and left for a later sweep.
    /// - Fewer than `limit` results mean that nothing else was left to claim.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above [`MAX_BATCH`](crate::limits::MAX_BATCH).
    ///
    /// # Security
    /// Unbounded, this would lock the table under a backlog.
    ///
    /// # Cancellation
    /// Each session is ended or untouched.
    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>>;

    /// Deletes up to `limit` ended sessions whose end is earlier than `before`, and returns how many.
    ///
    /// # Contract
    /// - Never touches an active session, however old.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above [`MAX_BATCH`](crate::limits::MAX_BATCH).
    ///
    /// # Security
    /// An ended record is also the tombstone that keeps its session ended: `before` must lie further back than any request or
    /// cached copy lives.
    ///
    /// # Cancellation
    /// Any part of the batch may be gone.
    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64>;

    /// Removes from up to `limit` ended sessions of a user what tells whose they were, and returns how many.
    ///
    /// For the right to be forgotten. The record stays as a tombstone, so that its session stays ended, and is purged like others.
    ///
    /// # Contract
    /// - Only ended sessions of that user; active ones are left alone (end them first).
    /// - What stays and what goes is [`SessionRecord::into_erased`]; neither a listing by the user nor by the name finds them any more.
    /// - Fewer than `limit` results mean that nothing was left to erase.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above [`MAX_BATCH`](crate::limits::MAX_BATCH).
    ///
    /// # Security
    /// Deleting the row instead would let a late write or a cached copy bring the session back.
    ///
    /// # Cancellation
    /// Each session is erased or untouched.
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64>;

    /// Counts what is stored. For operators, not for the request path.
    ///
    /// # Errors
    /// Only the general ones.
    async fn stats(&self, now: Timestamp) -> Result<StoreStats>;
}
