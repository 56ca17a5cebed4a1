//! Every order in which threads can run the protocol of a process's copies, up to a few preemptions
//! each.
//!
//! The protocol's files are the real ones. Only their synchronization primitives are loom's, and
//! the maps are replaced by maps with one lock each that never evict.

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
