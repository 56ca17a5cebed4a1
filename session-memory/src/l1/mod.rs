//! The process-local copies of sessions (L1): bounded, and never older or more alive than what this
//! process knows.

mod fences;
mod maps;
mod protocol;
mod sync;

pub use fences::Ticket;
pub use protocol::{Authority, Filled, Held, L1, L1Settings, L1Usage, Lookup, Moment};

#[cfg(test)]
mod tests;
