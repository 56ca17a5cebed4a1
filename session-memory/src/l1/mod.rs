//! The process's own copies of sessions: bounded, and never older or more alive than what is known.

mod fences;
mod maps;
mod protocol;
mod sync;

pub use fences::Ticket;
pub use protocol::{Authority, Filled, Held, L1, L1Settings, L1Usage, Lookup, Moment};

#[cfg(test)]
mod tests;
