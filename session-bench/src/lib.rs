//! The shared code of the benchmarks: the measured scenes, their floors, and the comparison of
//! both.
//!
//! A figure is a ratio: the measured code and its floor alternate in one run, and the medians are
//! divided. Absolute times only describe the machine.
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a benchmark that cannot run stops")]

mod core;
mod counted;
mod figure;
pub mod mongo;
mod near;
pub mod redis;
mod savers;
mod scene;
pub mod sql;
mod stored;

pub use core::on_one_core;
pub use counted::Counted;
pub use figure::{Figure, alternate, alternate_timed};
pub use near::{LastBytes, Near, NearFloor, on_two_threads};
pub use savers::Savers;
pub use scene::{Floor, Scene};
pub use stored::Stored;
