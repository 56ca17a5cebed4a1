//! One line of the result.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The number of alternating rounds of the measured code and its floor.
const ROUNDS: usize = 41;

/// A measured figure and its bar, printed as one JSON line.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Figure {
    /// The name of the figure.
    pub name: &'static str,
    /// Nanoseconds per operation of the measured code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours_ns: Option<f64>,
    /// Nanoseconds per operation of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_ns: Option<f64>,
    /// `ours_ns` divided by `floor_ns`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The highest allowed ratio or count.
    pub bar: f64,
    /// Whether the ratio or count is at most the bar.
    pub ok: bool,
    /// The count, if the figure is a count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<f64>,
    /// The unit of the count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
}

impl Figure {
    /// Creates a figure from two times per operation.
    #[must_use]
    pub fn ratio(name: &'static str, (ours, floor): (f64, f64), bar: f64) -> Self {
        let ratio = ours / floor;
        Self {
            name,
            ours_ns: Some(ours),
            floor_ns: Some(floor),
            ratio: Some(ratio),
            bar,
            ok: ratio <= bar,
            count: None,
            unit: None,
        }
    }

    /// Creates a figure from a count.
    #[must_use]
    pub fn count(name: &'static str, count: f64, unit: &'static str, bar: f64) -> Self {
        Self {
            name,
            ours_ns: None,
            floor_ns: None,
            ratio: None,
            bar,
            ok: count <= bar,
            count: Some(count),
            unit: Some(unit),
        }
    }
}

/// Measures two functions in alternating rounds of `operations` operations. Returns the median
/// nanoseconds per operation of each.
pub fn alternate(operations: u32, mut ours: impl FnMut(u32), mut floor: impl FnMut(u32)) -> (f64, f64) {
    let mut times = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    ours(operations);
    floor(operations);
    for _ in 0..ROUNDS {
        times.0.push(time(|| ours(operations)));
        times.1.push(time(|| floor(operations)));
    }
    let per_operation = |times: Vec<Duration>| median(times).as_secs_f64() * 1e9 / f64::from(operations);
    (per_operation(times.0), per_operation(times.1))
}

/// Same as [`alternate`], for functions that return their own nanoseconds per operation.
pub fn alternate_timed(ours: impl Fn() -> f64, floor: impl Fn() -> f64) -> (f64, f64) {
    let rounds = || (ours(), floor());
    rounds();
    let (mut ours, mut floor): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| rounds()).unzip();
    let middle = |times: &mut Vec<f64>| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    };
    (middle(&mut ours), middle(&mut floor))
}

fn time(run: impl FnOnce()) -> Duration {
    let started = Instant::now();
    run();
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
