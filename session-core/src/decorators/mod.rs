//! Stores around stores.
//!
//! Every implementation here carries `deny(clippy::missing_trait_methods)`, so that none can forget a method that the trait
//! gains.

mod forward;
mod traced;

pub use traced::TracedStore;
