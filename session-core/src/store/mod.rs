//! The store of record: the trait that every backend implements, with the arguments and results of
//! its methods.
//!
//! The first rule: **a store never reads a clock.** Times are arguments, and the caller decides
//! what is live. A time to live that the database enforces is garbage collection only, and always
//! later than the logical end.

mod capabilities;
mod limit;
mod query;
mod rows;
mod writes;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use capabilities::{Capabilities, Durability, check_batch, check_touches};
pub use limit::{LimitScope, OnExceed, SessionLimit};
pub use query::{Cursor, ListQuery, Page, StateFilter, StoreStats};
pub use rows::Rows;
pub use writes::{EndScope, Touch};

use crate::end::Ended;
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::record::{Revision, SessionRecord};
use crate::time::Timestamp;

/// A store of sessions.
///
/// This trait is for backend authors; applications use the manager. It has eleven methods, no
/// defaults, and one conformance suite (`session-conformance`) that verifies an implementation.
///
/// # Contract
/// - Every method is atomic per session: another caller sees the record before or after, never in
///   between.
/// - `end` wins. Once it has returned, no method of any caller makes that session active again.
/// - Every successful write except [`touch`](Self::touch) increments the revision by exactly one.
/// - Ids, user ids, names and data are compared and kept byte by byte: no case folding, no
///   trimming, no normalisation.
/// - Times are returned as the same millisecond.
/// - "Does not exist" and "cannot be determined" are different answers: a failure of the database
///   is never an empty result.
/// - A limit of zero does nothing. An enum value that a backend does not know, because a later
///   version of this crate added it, is [`Unsupported`](crate::ErrorKind::Unsupported).
/// - Invalid arguments are refused with [`Invalid`](crate::ErrorKind::Invalid) before any I/O: a
///   record that fails [`SessionRecord::check`], or more than
///   [`MAX_BATCH`](crate::limits::MAX_BATCH) ids or rows. An empty batch is valid and does nothing.
///
/// # Errors
/// In addition to the kinds named per method:
/// - [`Timeout`](crate::ErrorKind::Timeout) and [`Unavailable`](crate::ErrorKind::Unavailable) if
///   the database cannot be reached. The operation may have taken effect.
/// - [`Corrupt`](crate::ErrorKind::Corrupt) if the stored value cannot be decoded. The row is left
///   unchanged.
/// - [`Other`](crate::ErrorKind::Other) for everything else.
///
/// # Security
/// Arguments come from callers that may pass on client input: user ids, names and labels are
/// untrusted text and must reach the database as parameters. No error and no log line carries data,
/// hashes or tokens.
///
/// # Cancellation
/// A future that is dropped at any await point leaves the old state or the new state, and no
/// transaction, lock or connection slot behind.
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session store",
    note = "a store implements all eleven methods of `SessionStore`; `Arc<S>` and `Box<S>` of a store are stores too"
)]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Describes the backend: its name, its bounds, and its durability.
    ///
    /// No safety guarantee is optional, so no capability disables one.
    fn capabilities(&self) -> Capabilities;

    /// Inserts a new record, under a limit if one is given, and returns the records that were ended
    /// to make room.
    ///
    /// # Contract
    /// - Inserts only. If the id is stored, active or ended, nothing is written.
    /// - With a limit, counting the user's live sessions, ending the surplus (or refusing) and
    ///   inserting are one atomic step: at no moment are more than `max` of them live, nor more
    ///   than [`max_per_device_kind`](SessionLimit::max_per_device_kind) on devices of the new
    ///   session's kind, regardless of how many callers create at once.
    /// - Sessions past a deadline at [`SessionLimit::now`] do not count and are not ended here, and
    ///   neither does the session that [`SessionLimit::replaces`] names, whoever it belongs to.
    /// - [`AlreadyExists`](crate::ErrorKind::AlreadyExists) takes precedence over
    ///   [`LimitExceeded`](crate::ErrorKind::LimitExceeded), and no session is evicted for an id
    ///   that is already stored. Of sessions that are equally old (or equally long unused), the one
    ///   with the smallest id is evicted first.
    /// - Evicted records end as [`LimitEvicted`](crate::EndReason::LimitEvicted) at `limit.now` by
    ///   the system, and are returned in the same form as by [`end`](Self::end).
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists);
    /// [`LimitExceeded`](crate::ErrorKind::LimitExceeded) with the (redacted) live sessions that
    /// fill the limit; [`Invalid`](crate::ErrorKind::Invalid) for a record that is ended, has a
    /// revision other than [`Revision::FIRST`], holds more data than [`Capabilities::max_payload`],
    /// or is anonymous under a limit.
    ///
    /// # Security
    /// An upsert would let an attacker take over an id; a count before the insert would let
    /// parallel sign-ins exceed the limit.
    ///
    /// # Cancellation
    /// Either the session is stored completely, with its evictions, or nothing is.
    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>>;

    /// Returns the stored records among the given ids: live, expired and ended ones, in any order,
    /// each once.
    ///
    /// # Contract
    /// - One round trip, and never a write.
    /// - An id that is not stored is missing from the result; that is no error.
    /// - Reads its writes: the result reflects every write that returned before this call. Do not
    ///   read from a lagging replica.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if any row cannot be decoded, or names another id
    /// than the requested one (the connection is then dropped, because its replies may be out of
    /// order). A caller that needs the other rows loads them one by one.
    ///
    /// # Security
    /// The ids come from clients. A load creates, counts and extends nothing.
    ///
    /// # Cancellation
    /// Has no effect.
    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>>;

    /// Replaces an active record of a known revision and returns the new revision.
    ///
    /// # Contract
    /// - Succeeds only if the row exists, is active and has the `expected` revision. The stored
    ///   revision is then `expected.next()`, regardless of `record.revision`.
    /// - `id`, `user_id`, `kind` and `created_at` keep their stored values. (A user of another
    ///   shard fails the check of the record.)
    /// - `last_seen_at` and `last_client` never move back: if the stored last-seen time is later,
    ///   both keep their stored values. See [`SessionRecord::updated_by`].
    /// - Never inserts.
    /// - The new record derives from the stored one: the caller ensures that both together satisfy
    ///   [`SessionRecord::check`].
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound); [`Ended`](crate::ErrorKind::Ended) with the stored
    /// end, which takes precedence over a conflict; [`Conflict`](crate::ErrorKind::Conflict) with
    /// the stored revision; [`Invalid`](crate::ErrorKind::Invalid) for an ended record (sessions
    /// end through [`end`](Self::end)) or too much data.
    ///
    /// # Security
    /// A save that inserts, or ignores the state, would bring a signed-out session back.
    ///
    /// # Cancellation
    /// Leaves the old record or the new one.
    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision>;

    /// Advances last-seen times and returns the number of sessions that it updated.
    ///
    /// # Contract
    /// - One round trip for the batch.
    /// - Updates only active rows, only forward, and only where the row's stored deadline is later
    ///   than both the touch and `now`: a touch never revives a session that has expired by `now`,
    ///   however early the use was. A limit may have excluded the session already. See
    ///   [`SessionRecord::touch`].
    /// - Updates `last_client` together with `last_seen_at`. Nothing else changes, not even the
    ///   revision.
    /// - If an id occurs several times, only its latest touch counts, even if that one is past the
    ///   deadline.
    /// - Unknown and ended ids are skipped.
    ///
    /// # Errors
    /// Only the general ones. Part of the batch may have been applied; repeating it is harmless.
    ///
    /// # Security
    /// A touch that inserts, or ignores the state, would bring a signed-out session back.
    ///
    /// # Cancellation
    /// Any part of the batch may have been applied.
    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64>;

    /// Ends every active session in the scope, and returns the records that *this* call ended, as
    /// they are now stored.
    ///
    /// # Contract
    /// - Wins over every other write and needs no revision. Sessions past a deadline that have not
    ///   ended yet are in the scope.
    /// - Never ends a session created after `created_until`, regardless of the scope. So repeating
    ///   a call with the same bound is harmless: it cannot end a session of a user who signed in
    ///   again in the meantime.
    /// - Clears data, secrets and refresh state; keeps everything else as the history of the
    ///   sign-in.
    /// - Idempotent: a session that ended before keeps its first end and is not returned; unknown
    ///   ids are skipped.
    /// - For a user, ends every session whose `create` returned before this call began and whose
    ///   `created_at` is not after `created_until`.
    /// - Two calls never both return the same session.
    ///
    /// # Errors
    /// Only the general ones. Part of a large scope may have ended; repeating the call ends the
    /// rest.
    ///
    /// # Security
    /// Revocation depends on this method: it must not return before the end is durable.
    ///
    /// # Cancellation
    /// Each session is ended or unchanged.
    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>>;

    /// Returns one page of records, newest first (by creation, then by id), without secrets,
    /// refresh state and data.
    ///
    /// # Contract
    /// - Keyset paging: a page begins after its cursor, so rows that are created or removed between
    ///   pages shift nothing.
    /// - `next` is present exactly if more records matched than the page holds.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a page size above
    /// [`MAX_PAGE`](crate::limits::MAX_PAGE).
    ///
    /// # Security
    /// Apply [`SessionRecord::redacted`]: lists are shown to people.
    ///
    /// # Cancellation
    /// Has no effect.
    async fn list(&self, query: &ListQuery) -> Result<Page>;

    /// Ends up to `limit` active sessions that are past a deadline at `now`, and returns them as
    /// they are now stored.
    ///
    /// # Contract
    /// - Checks the deadline again inside the claim: a session that was touched in the meantime
    ///   stays.
    /// - Ends each session with the reason and the time of its deadline
    ///   ([`SessionRecord::expiry`]), by the system.
    /// - Two sweepers never claim the same row and never wait for each other: a sweep skips rows
    ///   that another call holds (even a dropped one) and leaves them to a later sweep.
    /// - Fewer than `limit` results mean that no other row was left to claim.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above
    /// [`MAX_BATCH`](crate::limits::MAX_BATCH).
    ///
    /// # Security
    /// Without a limit, a backlog would lock the table.
    ///
    /// # Cancellation
    /// Each session is ended or unchanged.
    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>>;

    /// Deletes up to `limit` ended sessions whose end is earlier than `before`, and returns their
    /// number.
    ///
    /// # Contract
    /// - Never deletes an active session, however old.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above
    /// [`MAX_BATCH`](crate::limits::MAX_BATCH).
    ///
    /// # Security
    /// An ended record is also the tombstone that keeps its session ended: `before` must be earlier
    /// than the oldest request in flight and the oldest cached copy.
    ///
    /// # Cancellation
    /// Any part of the batch may be deleted.
    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64>;

    /// Removes the personal data of up to `limit` ended sessions of a user, and returns their
    /// number.
    ///
    /// For the right to be forgotten. The record stays as a tombstone, so that its session stays
    /// ended, and is purged like any other.
    ///
    /// # Contract
    /// - Only ended sessions of that user; active ones are left unchanged (end them first).
    /// - [`SessionRecord::into_erased`] defines what is removed and what stays; listings by user or
    ///   by user name no longer return the erased sessions.
    /// - Fewer than `limit` results mean that nothing was left to erase.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a limit above
    /// [`MAX_BATCH`](crate::limits::MAX_BATCH).
    ///
    /// # Security
    /// Deleting the row instead would let a late write or a cached copy bring the session back.
    ///
    /// # Cancellation
    /// Each session is erased or unchanged.
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64>;

    /// Counts the stored sessions. For operators, not for the request path.
    ///
    /// # Errors
    /// Only the general ones.
    async fn stats(&self, now: Timestamp) -> Result<StoreStats>;
}
