//! The cases of [`session_cache_suite!`](crate::session_cache_suite), and their harness.
//!
//! A cache may drop entries at any time, but a cache that drops everything at once cannot be
//! tested. So the cases put few entries with a long time to live, and expect to read them back.

pub mod cases;
mod harness;
mod list;

pub use harness::CacheHarness;

use crate::CacheCase;

static CASES: &[CacheCase] = crate::__for_each_cache_case!(__cache_table);

/// Returns all cases of [`session_cache_suite!`](crate::session_cache_suite), in the order of the
/// suite.
#[must_use]
pub fn cache_cases() -> &'static [CacheCase] {
    CASES
}
