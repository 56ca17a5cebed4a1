//! A server for one test.

use std::env;
use std::fmt;
use std::thread;

use crate::{Kind, Options, Result, Server};

/// The environment variable with the names of the servers whose tests must not be skipped,
/// separated by commas. `all` stands for every server.
const REQUIRE: &str = "SESSION_TEST_REQUIRE";

/// Returns true if `SESSION_TEST_REQUIRE` names this kind, so that a test without such a server
/// fails.
#[must_use]
pub fn is_required(kind: Kind) -> bool {
    is_named(kind.name())
}

/// Returns true if `SESSION_TEST_REQUIRE` names this suite.
pub(crate) fn is_named(suite: &str) -> bool {
    names(&env::var(REQUIRE).unwrap_or_default(), suite)
}

fn names(list: &str, suite: &str) -> bool {
    list.split(',').map(str::trim).any(|name| name == suite || name == "all")
}

/// Starts a server if it is expected to be installed. Otherwise prints that the test is skipped.
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
    /// Starts a server for a test that needs its own one, because the test pauses or kills it.
    ///
    /// If the server is not installed, and `SESSION_TEST_REQUIRE` does not name it, prints one
    /// line, `skipped ...`, and returns `None`.
    ///
    /// # Errors
    /// Same as [`start_with`](Self::start_with). A missing server is an error only if it is
    /// required.
    pub fn for_test(kind: Kind, options: &Options) -> Result<Option<Self>> {
        unless_missing(kind, kind.installed() || is_required(kind), || Self::start_with(kind, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_required_by_its_name_or_by_all() {
        assert!(names("redis, postgres", "postgres") && names("all", "mysql"));
        assert!(!names("", "postgres") && !names("redis,postgresql", "postgres"));
        assert!(!names("redis_cluster", "redis") && !names("redis", "redis_cluster"));
    }
}
