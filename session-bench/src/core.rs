//! Keeping to one core.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Runs something with this thread, and whatever it starts, on one core: client and server then take turns, and what one of them
/// wastes the other has not.
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
