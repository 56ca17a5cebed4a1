//! The SQL stores beside the raw prepared statement, on the same server and the same pool.

mod bulk;
mod floors;
mod postgres;
mod store;

pub use bulk::{Sweep, end_many, sign_in_p99};
pub use floors::RawFloor;
pub use postgres::{PipelinedFloor, load_gathered, validate_at_once};
pub use store::{SqlScene, mysql, postgres, sqlite};

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
