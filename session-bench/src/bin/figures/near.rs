//! Validation from process memory.

use session_bench::{Figure, Near, alternate, alternate_timed, on_two_threads};

use crate::Measure;

/// The number of sessions that fit into the CPU caches.
const HOT: u64 = 256;

/// The number of sessions that are too many for the CPU's first-level cache.
const MANY: u64 = 10_000;

const OPERATIONS: u32 = 50_000;

pub(crate) const FIGURES: &[(&str, Measure)] = &[
    ("near_hot", || near("near_hot", HOT)),
    ("near_random", || near("near_random", MANY)),
    ("near_hot_two_threads", || two_threads("near_hot_two_threads", HOT)),
    ("near_random_two_threads", || two_threads("near_random_two_threads", MANY)),
    ("near_allocations", allocations),
];

fn near(name: &'static str, users: u64) -> Figure {
    let near = Near::new(users);
    let floor = near.floor();
    Figure::ratio(name, alternate(OPERATIONS, |times| near.run(times), |times| floor.run(times)), 1.3)
}

/// Measures two threads. A throughput of at least 0.9 times the floor's is at most 1.11 times its
/// time.
fn two_threads(name: &'static str, users: u64) -> Figure {
    let near = Near::new(users);
    let floor = near.floor();
    let ours = || on_two_threads(OPERATIONS, |times| near.run(times));
    Figure::ratio(
        name,
        alternate_timed(ours, || on_two_threads(OPERATIONS, |times| floor.run(times))),
        1.0 / 0.9,
    )
}

#[allow(clippy::cast_precision_loss, reason = "a handful")]
fn allocations() -> Figure {
    Figure::count("near_allocations", Near::new(HOT).allocations() as f64, "allocations", 0.0)
}
