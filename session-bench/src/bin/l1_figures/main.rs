//! Compares caches that could hold the copies for validations: time, heap, hit rate and bound, each
//! with a floor from the same run.
//!
//! `cargo run --release -p session-bench --bin l1_figures [-- --json]`. The loads are the same in
//! every run. The times are medians over rounds in which the candidates alternate. Progress goes to
//! stderr.
#![allow(clippy::expect_used, reason = "a benchmark that cannot run stops")]
#![allow(clippy::cast_precision_loss, reason = "counts below 2^53")]

mod bound;
mod candidates;
mod heap;
mod line;
mod loads;
mod sessions;
mod speed;

use std::process::ExitCode;

use line::Line;

/// The parts of the measurement, in the order of the report.
const PARTS: &[fn() -> Vec<Line>] =
    &[speed::times, heap::of_an_entry, loads::hit_rates, loads::scans, loads::newcomers, bound::kept];

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let json = asked.iter().any(|argument| argument == "--json");
    if let Some(unknown) = asked.iter().find(|argument| *argument != "--json") {
        eprintln!("there is no option {unknown:?}; the only one is --json");
        return ExitCode::FAILURE;
    }
    for lines in PARTS.iter().map(|part| part()) {
        if json {
            for line in &lines {
                println!("{}", serde_json::to_string(line).expect("numbers and names"));
            }
        } else {
            line::print(&lines);
        }
    }
    ExitCode::SUCCESS
}
