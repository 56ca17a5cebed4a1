//! One function per case, named after the promise that it checks.

mod content;
mod lifetime;
mod order;
mod races;
mod scopes;

pub use content::*;
pub use lifetime::*;
pub use order::*;
pub use races::*;
pub use scopes::*;

use session_core::{CacheEntry, Revision, SessionRecord, Timestamp};

use crate::fixtures::{SCOPE, logged_out};

/// Returns the entry of a record at a revision, verified at a time.
fn entry(record: &SessionRecord, revision: u64, verified_at: Timestamp) -> CacheEntry {
    let mut record = record.clone();
    record.revision = Revision::new(revision).expect("a revision");
    CacheEntry::of(SCOPE, record.into(), verified_at)
}

/// Returns the tombstone of a record at a revision, verified at a time.
fn tombstone(record: &SessionRecord, revision: u64, verified_at: Timestamp) -> CacheEntry {
    let ended = record.clone().into_ended(logged_out(5));
    let mut entry = CacheEntry::of(SCOPE, ended.into(), verified_at);
    entry.revision = Revision::new(revision).expect("a revision");
    entry
}
