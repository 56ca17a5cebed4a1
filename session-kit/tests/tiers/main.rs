//! Tiers on real storage: the store suite over every combination of tiers, and the effects of
//! failures.
#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs, reason = "tests")]

mod asked_once;
mod lab;
mod nodes;
mod redis_fails;
mod storage;
mod store_fails;
mod suite;
