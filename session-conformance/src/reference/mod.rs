//! The smallest correct store and the smallest correct cache, as examples for backend authors.
//!
//! Read [`MapStore`] from top to bottom before you write your own. Every rule that does not depend
//! on *where* sessions are stored comes from `session-core`. What remains is the part that only a
//! backend can implement:
//!
//! | rule | defined by |
//! |---|---|
//! | which records may be written | [`Capabilities::check_new`], [`Capabilities::check_active`] |
//! | the number of ids, touches or rows in one call | [`check_batch`], [`ListQuery::check`] |
//! | the result of an update of a stored record | [`SessionRecord::updated_by`] |
//! | which touches count, and how late they may arrive | [`SessionRecord::touch`] |
//! | what an ended session keeps | [`SessionRecord::into_ended`] |
//! | what an erased session keeps | [`SessionRecord::into_erased`] |
//! | which sessions a scope contains | [`EndScope::contains`] |
//! | which sessions count against a limit, and which of them are evicted | [`SessionLimit::counts`], [`SessionLimit::evict`] |
//! | what a list shows, and where its pages end | [`ListQuery::matches`], [`SessionRecord::redacted`], [`Page::cut`] |
//! | whether a session is past a deadline, and which one | [`SessionRecord::expiry`] |
//! | which cache entry wins | [`CacheEntry::replaces`] |
//!
//! A database implements some of these rules again in its own language. The helpers are then the
//! specification, and the suite compares the two.
//!
//! [`CacheEntry::replaces`]: session_core::CacheEntry::replaces
//! [`Capabilities::check_active`]: session_core::Capabilities::check_active
//! [`Capabilities::check_new`]: session_core::Capabilities::check_new
//! [`EndScope::contains`]: session_core::EndScope::contains
//! [`ListQuery::check`]: session_core::ListQuery::check
//! [`ListQuery::matches`]: session_core::ListQuery::matches
//! [`Page::cut`]: session_core::Page::cut
//! [`SessionLimit::counts`]: session_core::SessionLimit::counts
//! [`SessionLimit::evict`]: session_core::SessionLimit::evict
//! [`SessionRecord::expiry`]: session_core::SessionRecord::expiry
//! [`SessionRecord::into_ended`]: session_core::SessionRecord::into_ended
//! [`SessionRecord::into_erased`]: session_core::SessionRecord::into_erased
//! [`SessionRecord::redacted`]: session_core::SessionRecord::redacted
//! [`SessionRecord::touch`]: session_core::SessionRecord::touch
//! [`SessionRecord::updated_by`]: session_core::SessionRecord::updated_by
//! [`check_batch`]: session_core::check_batch

mod map_cache;
mod map_store;

pub use map_cache::MapCache;
pub use map_store::MapStore;
pub(crate) use map_store::{Rows, end_row};
