//! The smallest store and the smallest cache that are right: what a backend author writes.
//!
//! Read [`MapStore`] from top to bottom before you write your own. Every rule that is not about *where* things are kept comes
//! from `session-core`, so what remains is the part that only a backend can do:
//!
//! | what has to hold | what says it |
//! |---|---|
//! | which records may be written | [`Capabilities::check_new`], [`Capabilities::check_active`] |
//! | how many ids, touches or rows one call may name | [`check_batch`], [`ListQuery::check`] |
//! | what an update leaves of the stored record | [`SessionRecord::updated_by`] |
//! | which touches count, and until when they may arrive | [`SessionRecord::touch`] |
//! | what remains of an ended session | [`SessionRecord::into_ended`] |
//! | what remains of one that was erased | [`SessionRecord::into_erased`] |
//! | which sessions a scope names | [`EndScope::contains`] |
//! | which sessions count against a limit, and which of them go | [`SessionLimit::counts`], [`SessionLimit::evict`] |
//! | what a list shows, and where its pages end | [`ListQuery::matches`], [`SessionRecord::redacted`], [`Page::cut`] |
//! | when a session is past a deadline, and past which | [`SessionRecord::expiry`] |
//! | which cache entry stays | [`CacheEntry::replaces`] |
//!
//! A database says some of these again in its own language. The helpers are then the specification, and the suite compares.
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
