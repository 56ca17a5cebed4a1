//! What the benchmarks share: the scene that is measured, the floor below it, and how the two are compared.
//!
//! A figure is a ratio: ours and the floor alternate in one run, and the medians are divided. Absolute times say something about
//! the machine only.
#![allow(clippy::expect_used, clippy::missing_panics_doc, reason = "a benchmark that cannot run stops")]

mod counted;
mod figure;
mod scene;
pub mod sql;

pub use counted::Counted;
pub use figure::{Figure, alternate};
pub use scene::{Floor, Scene};
