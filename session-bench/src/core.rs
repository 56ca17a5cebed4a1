//! Pinning to one core.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Runs a function with this thread, and all threads and processes that it starts, on one core.
/// Client and server then share the core, so time that one of them wastes slows down the other.
///
/// # Panics
/// If the system does not allow it.
pub fn on_one_core<T>(run: impl FnOnce() -> T) -> T {
    let all = rustix::thread::sched_getaffinity(None).expect("an affinity");
    let mut one = CpuSet::new();
    let core = (0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)).expect("a core");
    one.set(core);
    sched_setaffinity(None, &one).expect("to stay on one core");
    let result = run();
    sched_setaffinity(None, &all).expect("to leave the core");
    result
}
