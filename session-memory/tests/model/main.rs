//! Every order in which threads can go through the protocol of a process's copies, up to a few preemptions each.
//!
//! The files of the protocol are the real ones; only what they synchronise with is loom's, and the maps, which are one lock each here and
//! never full.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../src/l1/fences.rs"]
#[allow(dead_code, unreachable_pub, reason = "the models use a part of it")]
mod fences;
mod maps;
mod models;
#[path = "../../src/l1/protocol.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "the models use a part of it")]
mod protocol;
mod sync;

use protocol::L1;
