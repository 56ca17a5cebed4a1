//! `cargo xtask prove`: runs the checks that take too long for each change. CI runs them every
//! night.

use std::time::{Duration, Instant};

use comfy_table::Table;

use crate::bench;
use crate::ci::docs;
use crate::error::{Error, Result};
use crate::mutants::{self, Choice};
use crate::process::human;
use crate::steps::{Outcome, Step};
use crate::table;
use crate::test::{self, Lane};

/// Seeds of the simulation in a night, in addition to those of the gate.
const SEEDS: &str = "100000";

/// Duration of the test with three processes in session-kit.
const PROCESS_SECONDS: &str = "300";

/// Runs the steps whose title contains one of the names, or all of them, and prints the time of
/// each.
///
/// A failure does not stop the other steps, because a night is long enough to find more than one.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let steps: Vec<_> = steps().into_iter().filter(|step| is_wanted(&step.title, names)).collect();
    if steps.is_empty() {
        let all: Vec<_> = self::steps().into_iter().map(|step| step.title).collect();
        return Err(Error::NoStep { asked: names.join(" or "), all: all.join("\n  ") });
    }
    let began = Instant::now();
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let (verdict, took) = judged(step, index + 1, steps.len());
        if verdict == "FAILED" {
            failed.push(step.title.as_str());
        }
        rows.push((step.title.as_str(), verdict, took));
    }
    println!("\n{}", render(&rows));
    println!("passed {} of {} in {}", rows.len() - failed.len(), rows.len(), human(began.elapsed()));
    if failed.is_empty() { Ok(()) } else { Err(Error::Unproved { titles: failed.join(", ") }) }
}

fn steps() -> Vec<Step> {
    let night = |variable: &'static str, value: &'static str, filter: &'static str| {
        move || test::run_lane(Lane::Night, &["-E".to_owned(), filter.to_owned()], &[(variable, value)])
    };
    vec![
        Step::command("docs with private items", 30, docs(&["--document-private-items".to_owned()])),
        Step::task(
            "night tests",
            1500,
            "cargo nextest run --workspace --all-features --profile night",
            || test::run_lane(Lane::Night, &[], &[]),
        ),
        Step::task(
            "simulation, many seeds",
            1800,
            &format!("SESSION_SIM_SEEDS={SEEDS} cargo nextest run -p session-manager -E 'binary(sim)'"),
            night("SESSION_SIM_SEEDS", SEEDS, "binary(sim)"),
        ),
        Step::task(
            "three processes, five minutes",
            320,
            &format!(
                "SESSION_PROCESS_SECONDS={PROCESS_SECONDS} cargo nextest run --profile night -E 'binary(processes)'"
            ),
            night("SESSION_PROCESS_SECONDS", PROCESS_SECONDS, "binary(processes)"),
        ),
        Step::task("mutants", 1200, "cargo xtask mutants", || mutants::run(&Choice::All)),
        Step::task("figures", 900, "cargo xtask bench", || bench::run(&bench::Arguments::default())),
    ]
}

fn is_wanted(title: &str, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| title.contains(name.as_str()))
}

fn judged(step: &Step, number: usize, of: usize) -> (&'static str, Duration) {
    let began = Instant::now();
    match step.run(number, of) {
        Ok((Outcome::Passed, took)) => ("ok", took),
        Ok((Outcome::Skipped, took)) => ("skipped", took),
        Err(error) => {
            crate::report(&error);
            ("FAILED", began.elapsed())
        }
    }
}

fn render(rows: &[(&str, &'static str, Duration)]) -> Table {
    let mut table = table::with_columns(&["step", "verdict", "took"]);
    for (title, verdict, took) in rows {
        table.add_row([title, *verdict, &human(*took)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_step_is_listed_and_does_not_stop_the_others() {
        let fails = Step::task("figures", 1, "cargo xtask bench", || Err(Error::NoFigures));
        assert_eq!(judged(&fails, 1, 2).0, "FAILED");
        let passes = Step::task("mutants", 1, "cargo xtask mutants", || Ok(()));
        assert_eq!(judged(&passes, 2, 2).0, "ok");
        let table =
            render(&[("figures", "FAILED", Duration::from_secs(3)), ("mutants", "ok", Duration::ZERO)]);
        assert_eq!(table.to_string().lines().count(), 4);
    }

    #[test]
    fn unknown_step_is_an_error_that_lists_all_steps() {
        let error = run(&["no such step".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no such step") && error.contains("figures"), "{error}");
    }
}
