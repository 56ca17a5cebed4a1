//! Tiers in front of the store of record.

mod bus;
mod health;
mod lab;
mod reads;
mod stale;
mod writes;
