//! Several nodes with real managers on one store, shared caches and a bus that fail, in virtual
//! time: one seed is one run, and the history of each run is checked against the guarantees.
//!
//! `SESSION_SIM_SEED=123` replays a run and prints its history; `SESSION_SIM_SEEDS=100000` makes
//! more of them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod acts;
mod bus;
mod cache;
mod checker;
mod counting;
mod crossings;
mod faults;
mod history;
mod metering;
mod net;
mod node;
mod plan;
mod seeds;
mod store;
mod workload;
mod world;
