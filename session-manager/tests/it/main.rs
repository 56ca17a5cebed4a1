//! The manager on the memory store, with faults injected where a database would fail.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod assurance;
mod cancel;
mod create;
mod crossings;
mod directory;
mod ensure;
mod events;
mod fault_loop;
mod listing;
mod loads;
mod logs;
mod metrics;
mod model;
mod refresh;
mod revoke;
mod rotate;
mod save;
mod sweep;
mod tiers;
mod touch;
mod transfer;
mod user_data;
mod validate;
mod world;
