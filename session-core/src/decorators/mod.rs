//! Stores around stores.
//!
//! Every implementation here carries `deny(clippy::missing_trait_methods)`, so that none can forget a method that the trait
//! gains.

mod forward;
mod namespaced;
mod traced;

pub use namespaced::NamespacedStore;
pub use traced::TracedStore;
