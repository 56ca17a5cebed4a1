//! Suites that say whether a session store is right.
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a case fails by panicking")]

pub mod fixtures;
mod harness;

pub use harness::{Form, Harness, assert_kind, ids};
