//! `cargo xtask ci`: runs every check that a change must pass, in order, and stops at the first
//! failure.

use std::time::Instant;

use crate::error::Result;
use crate::process::{Cmd, human};
use crate::steps::{Outcome, Prebuilt, Step};
use crate::{direction, mutants, prose, test};

/// Crates with large optional parts, and the features that an application may select.
const ALONE: &[(&str, &str)] = &[
    ("session-kit", ""),
    ("session-memory", ""),
    ("session-mongo", "default"),
    ("session-redis", ""),
    ("session-redis", "cluster"),
    ("session-sqlx", ""),
    ("session-sqlx", "mysql"),
    ("session-sqlx", "postgres"),
    ("session-sqlx", "sqlite"),
];

pub(crate) fn run() -> Result<()> {
    let steps = steps();
    let began = Instant::now();
    let mut skipped = 0;
    for (index, step) in steps.iter().enumerate() {
        let (outcome, _) = step.run(index + 1, steps.len())?;
        skipped += usize::from(outcome == Outcome::Skipped);
    }
    println!("\nall checks done in {}", human(began.elapsed()));
    println!("checks: {} passed, 0 failed, {skipped} skipped", steps.len() - skipped);
    Ok(())
}

fn steps() -> Vec<Step> {
    let mut steps = vec![
        Step::command("format", 2, Cmd::cargo(&["fmt", "--all", "--", "--check"])),
        Step::command("clippy with all features", 150, clippy()),
    ];
    steps.extend(ALONE.iter().map(|&(member, features)| {
        let title = if features.is_empty() { "no features" } else { features };
        Step::command(&format!("clippy {member} with {title}"), 10, clippy_alone(member, features))
    }));
    steps.extend([
        Step::command("docs", 50, docs(&[])),
        Step::task("tests, doctests and conformance count", 900, "cargo xtask test", || test::run(&[])),
        Step::command(
            "session-core without features",
            20,
            Cmd::cargo(&["nextest", "run", "-p", "session-core"]),
        ),
        Step::task("mutants of the latest change", 60, "cargo xtask mutants --touched", || {
            mutants::run(&mutants::Choice::Touched)
        }),
        // With the features of the tests: `cargo bench` would build all drivers again.
        Step::command(
            "benchmarks as tests",
            5,
            Cmd::cargo(&["test", "--workspace", "--all-features", "--bench", "validate"]),
        ),
        Step::task("plain English", 1, "cargo xtask prose", || prose::run(&prose::Arguments::default())),
        Step::task("direction of dependencies", 1, "cargo xtask direction", direction::run),
        cargo_deny(),
        Step::prebuilt("spelling", 5, Prebuilt { program: "typos", version: "1.52.0" }),
    ]);
    steps
}

/// Checks all members at once. [`ALONE`] checks that they build with other features.
fn clippy() -> Cmd {
    Cmd::cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])
}

/// Checks only the library: its tests need all features.
fn clippy_alone(member: &str, features: &str) -> Cmd {
    let features = format!("--features={features}");
    Cmd::cargo(&["clippy", "-p", member, "--lib", "--no-default-features", &features, "--", "-D", "warnings"])
}

pub(crate) fn docs(extra: &[String]) -> Cmd {
    let command = Cmd::cargo(&["doc", "--workspace", "--no-deps", "--all-features"]).args(extra);
    command.env("RUSTDOCFLAGS", "-D warnings")
}

/// The advisory database is not in the registries, so advisories are not part of the gate.
fn cargo_deny() -> Step {
    let command = Cmd::cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]);
    Step::tool("licences, bans and sources", Cmd::cargo(&["deny", "--version"]), "cargo-deny", command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_checks_run_first() {
        let titles: Vec<_> = steps().into_iter().map(|step| step.title).collect();
        assert_eq!(
            titles[..3],
            ["format", "clippy with all features", "clippy session-kit with no features"]
        );
        let position = |title: &str| titles.iter().position(|other| other == title).unwrap();
        assert!(position("docs") < position("tests, doctests and conformance count"), "{titles:?}");
    }
}
