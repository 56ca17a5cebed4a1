//! Server-side sessions in MongoDB.
mod builder;
mod commands;
mod document;
mod ending;
mod error;
mod indexes;
mod limited;
mod listing;
mod store;

pub use builder::MongoStoreBuilder;
pub use indexes::{Difference, IndexError, IndexProblem};
pub use limited::LimitMethod;
pub use store::MongoStore;
