//! Tiers in front of the store of record.

mod bus;
mod health;
pub(crate) mod lab;
mod reads;
mod stale;
mod writes;
