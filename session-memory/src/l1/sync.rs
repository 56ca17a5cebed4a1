//! What the protocol synchronises with. The model in `tests/model` puts other types in its place.

pub(super) use parking_lot::Mutex;
pub(super) use std::sync::atomic::{AtomicU64, Ordering};
