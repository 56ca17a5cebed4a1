//! What the benchmarks share: the scene that is measured, the floor below it, and how the two are compared.
//!
//! A figure is a ratio: ours and the floor alternate in one run, and the medians are divided. Absolute times say something about
//! the machine only.
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
