//! Stores that wrap other stores.
//!
//! Every implementation here carries `deny(clippy::missing_trait_methods)`, so that none can omit a
//! method that is added to the trait.

mod forward;
mod traced;

pub use traced::TracedStore;
