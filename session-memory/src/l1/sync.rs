//! The synchronization primitives of the protocol. The model in `tests/model` replaces them by
//! loom's.

pub(super) use parking_lot::Mutex;
pub(super) use std::sync::atomic::{AtomicU64, Ordering};
