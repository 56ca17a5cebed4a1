//! The cases of [`session_bus_suite!`](crate::session_bus_suite), and their harness.
//!
//! The cases use a bus as caches do: through [`InvalidationBus`](session_core::InvalidationBus).
//! How a bus detects a lost message depends on its transport, so loss needs tests of the transport
//! itself; `session_runtime::bus` tests it once for all transports that are built on it.

pub mod cases;
mod harness;
mod list;

pub use harness::{BusHarness, BusNetwork};

use crate::BusCase;

static CASES: &[BusCase] = crate::__for_each_bus_case!(__bus_table);

/// Returns all cases of [`session_bus_suite!`](crate::session_bus_suite), in the order of the
/// suite.
#[must_use]
pub fn bus_cases() -> &'static [BusCase] {
    CASES
}
