//! A server for one test.

use std::env;
use std::fmt;
use std::thread;

use crate::{Kind, Options, Result, Server};

/// Names the servers that a test must not be skipped for, separated by commas; `all` names every one.
const REQUIRE: &str = "SESSION_TEST_REQUIRE";

/// Whether `SESSION_TEST_REQUIRE` names this kind, so that a test without such a server is a failure.
#[must_use]
pub fn is_required(kind: Kind) -> bool {
    is_named(kind.name())
}

/// Whether it names this suite.
pub(crate) fn is_named(suite: &str) -> bool {
    names(&env::var(REQUIRE).unwrap_or_default(), suite)
}

fn names(list: &str, suite: &str) -> bool {
    list.split(',').map(str::trim).any(|name| name == suite || name == "all")
}

/// Starts what is expected to be there, else says that the test is skipped.
pub(crate) fn unless_missing<T>(
    title: impl fmt::Display,
    is_expected: bool,
    start: impl FnOnce() -> Result<T>,
) -> Result<Option<T>> {
    if is_expected {
        return start().map(Some);
    }
    let thread = thread::current();
    println!("skipped {}: {title} is not installed", thread.name().unwrap_or("a test"));
    Ok(None)
}

impl Server {
    /// Starts a server for a test that needs one of its own, because it pauses or kills it.
    ///
    /// If it is not installed this prints one line, `skipped ...`, and is `None`, unless `SESSION_TEST_REQUIRE` names it.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with); that it is not installed is one only if it is required.
    pub fn for_test(kind: Kind, options: &Options) -> Result<Option<Self>> {
        unless_missing(kind, kind.installed() || is_required(kind), || Self::start_with(kind, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_required_by_its_name_or_by_all() {
        assert!(names("redis, postgres", "postgres") && names("all", "mysql"));
        assert!(!names("", "postgres") && !names("redis,postgresql", "postgres"));
        assert!(!names("redis_cluster", "redis") && !names("redis", "redis_cluster"));
    }
}
