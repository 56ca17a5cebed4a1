//! Measures the named figures, or all of them, and prints one JSON line for each.
#![allow(clippy::expect_used, reason = "a benchmark that cannot run stops")]

mod mongo;
mod near;
mod redis;
mod sql;

use std::process::ExitCode;

use session_bench::{Counted, Figure, Savers, Scene, alternate};

/// The number of users of the scene: few enough to measure the code and not the machine's caches.
const USERS: u64 = 256;

type Measure = fn() -> Figure;

/// The figures, each with the function that measures it.
const FIGURES: &[(&str, Measure)] = &[
    ("validate", validate),
    ("validate_allocations", validate_allocations),
    ("rotate_writes", || count("rotate_writes", Counted::rotate, 1.0)),
    ("refresh_writes", || count("refresh_writes", Counted::refresh, 1.0)),
    ("save_32_at_once", save_at_once),
    ("save_unchanged_calls", || count("save_unchanged_calls", Counted::save_unchanged, 0.0)),
];

#[allow(clippy::cast_precision_loss, reason = "a handful")]
fn count(name: &'static str, calls: fn(&Counted) -> u64, bar: f64) -> Figure {
    Figure::count(name, calls(&Counted::new()) as f64, "store calls", bar)
}

fn validate() -> Figure {
    let scene = Scene::new(USERS);
    let floor = scene.floor();
    let times = alternate(20_000, |times| scene.validate(times), |times| floor.run(times));
    Figure::ratio("validate", times, 3.0)
}

/// 32 concurrent requests that change one session, compared with a single one: in four times the
/// time, they reach eight times the throughput.
fn save_at_once() -> Figure {
    let savers = Savers::new();
    let times = alternate(20, |times| savers.run(32, times), |times| savers.run(1, times));
    Figure::ratio("save_32_at_once", times, 4.0)
}

fn validate_allocations() -> Figure {
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let count = Scene::new(USERS).allocations() as f64;
    Figure::count("validate_allocations", count, "allocations", 4.0)
}

fn all() -> impl Iterator<Item = &'static (&'static str, Measure)> {
    FIGURES.iter().chain(near::FIGURES).chain(sql::FIGURES).chain(redis::FIGURES).chain(mongo::FIGURES)
}

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let unknown = |name: &&String| !all().any(|(known, _)| known == *name);
    if let Some(name) = asked.iter().find(unknown) {
        let known: Vec<_> = all().map(|(name, _)| *name).collect();
        eprintln!("there is no figure {name:?}; choose from: {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    for (_, measure) in all().filter(|(name, _)| wanted(name)) {
        match serde_json::to_string(&measure()) {
            Ok(line) => println!("{line}"),
            Err(error) => {
                eprintln!("a figure could not be written: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
