//! A server for one test.

use std::env;
use std::thread;

use crate::{Kind, Options, Result, Server};

/// Names the servers that a test must not be skipped for, separated by commas; `all` names every one.
const REQUIRE: &str = "SESSION_TEST_REQUIRE";

/// Whether `SESSION_TEST_REQUIRE` names this kind, so that a test without such a server is a failure.
#[must_use]
pub fn is_required(kind: Kind) -> bool {
    names(&env::var(REQUIRE).unwrap_or_default(), kind)
}

fn names(list: &str, kind: Kind) -> bool {
    list.split(',').map(str::trim).any(|name| name == kind.name() || name == "all")
}

impl Server {
    /// Starts a server for a test that needs one of its own, because it pauses or kills it.
    ///
    /// If it is not installed this prints one line, `skipped ...`, and is `None`, unless `SESSION_TEST_REQUIRE` names it.
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with); that it is not installed is one only if it is required.
    pub fn for_test(kind: Kind, options: &Options) -> Result<Option<Self>> {
        if kind.installed() || is_required(kind) {
            return Self::start_with(kind, options).map(Some);
        }
        let thread = thread::current();
        println!("skipped {}: {kind} is not installed", thread.name().unwrap_or("a test"));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_required_by_its_name_or_by_all() {
        assert!(names("redis, postgres", Kind::Postgres) && names("all", Kind::Mysql));
        assert!(!names("", Kind::Postgres) && !names("redis,postgresql", Kind::Postgres));
    }
}
