//! One line of the result.

use std::time::{Duration, Instant};

use serde::Serialize;

/// How often ours and the floor take turns.
const ROUNDS: usize = 41;

/// A measured figure beside its bar, as one JSON line.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// Nanoseconds per operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours_ns: Option<f64>,
    /// Nanoseconds per operation of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_ns: Option<f64>,
    /// The first divided by the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// The most that the ratio or the count may be.
    pub bar: f64,
    /// Whether it is at most the bar.
    pub ok: bool,
    /// The figure, where it is a count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<f64>,
    /// What is counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
}

impl Figure {
    /// Makes a figure of two times per operation.
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

    /// Makes a figure of a count.
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

/// Measures two things in turns and returns the median nanoseconds per operation of each. Both do `operations` per turn.
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

/// As [`alternate`], for what measures its own nanoseconds per operation.
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
