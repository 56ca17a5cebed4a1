//! `cargo xtask ci`: every check in order, stopping at the first that fails.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::members;
use crate::process::{Cmd, human};
use crate::{direction, saboteurs, test};

struct Step {
    title: String,
    action: Action,
}

enum Action {
    /// What `cargo xtask direction` runs.
    Direction,
    /// Runs where the tool is installed; building these takes longer than all the other steps.
    IfInstalled {
        probe: Cmd,
        package: &'static str,
        command: Cmd,
    },
    Run(Cmd),
    /// What `cargo xtask saboteurs` runs.
    Saboteurs,
    /// What `cargo xtask test` runs.
    Test,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Outcome {
    Passed,
    Skipped,
}

/// Crates whose features leave out much, with the features that an application may choose.
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
    let members: Vec<_> = members::all()?.into_iter().map(|member| member.name).collect();
    let steps = steps(&members);
    let began = Instant::now();
    let mut outcomes = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let heading = format!("[{}/{}] {}", index + 1, steps.len(), step.title);
        outcomes.push(step.run(&heading)?);
    }
    let skipped = outcomes.iter().filter(|&&outcome| outcome == Outcome::Skipped).count();
    println!("\nall checks done in {}", human(began.elapsed()));
    println!("checks: {} passed, 0 failed, {skipped} skipped", steps.len() - skipped);
    Ok(())
}

fn steps(members: &[String]) -> Vec<Step> {
    let mut steps = vec![Step::command("format", Cmd::cargo(&["fmt", "--all", "--", "--check"]))];
    steps.extend(members.iter().map(|member| Step::command(&format!("clippy {member}"), clippy(member))));
    steps.extend(ALONE.iter().map(|&(member, features)| {
        let title = if features.is_empty() { "no features" } else { features };
        Step::command(&format!("clippy {member} with {title}"), clippy_alone(member, features))
    }));
    steps.extend([
        Step::command("docs", docs(&[])),
        Step::command("docs with private items", docs(&["--document-private-items".to_owned()])),
        Step::new("tests, doctests and conformance count", Action::Test),
        Step::command("session-core without features", Cmd::cargo(&["nextest", "run", "-p", "session-core"])),
        Step::new("saboteurs", Action::Saboteurs),
        // With what the tests were built with: `cargo bench` would build all drivers once more.
        Step::command(
            "benchmarks as tests",
            Cmd::cargo(&["test", "--workspace", "--all-features", "--bench", "validate"]),
        ),
        Step::new("direction of dependencies", Action::Direction),
        Step::new("licences, bans and sources", cargo_deny()),
        Step::new("spelling", typos()),
    ]);
    steps
}

fn clippy(member: &str) -> Cmd {
    Cmd::cargo(&["clippy", "-p", member, "--all-targets", "--all-features", "--", "-D", "warnings"])
}

/// Only the library: its tests need all features.
fn clippy_alone(member: &str, features: &str) -> Cmd {
    let features = format!("--features={features}");
    Cmd::cargo(&["clippy", "-p", member, "--lib", "--no-default-features", &features, "--", "-D", "warnings"])
}

fn docs(extra: &[String]) -> Cmd {
    let command = Cmd::cargo(&["doc", "--workspace", "--no-deps", "--all-features"]).args(extra);
    command.env("RUSTDOCFLAGS", "-D warnings")
}

/// The advisory database lives outside of the registries, so advisories are not part of the gate.
fn cargo_deny() -> Action {
    Action::IfInstalled {
        probe: Cmd::cargo(&["deny", "--version"]),
        package: "cargo-deny",
        command: Cmd::cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]),
    }
}

fn typos() -> Action {
    Action::IfInstalled {
        probe: Cmd::new("typos", &["--version"]),
        package: "typos-cli",
        command: Cmd::new("typos", &[]),
    }
}

impl Step {
    fn new(title: &str, action: Action) -> Self {
        Self { title: title.to_owned(), action }
    }

    fn command(title: &str, command: Cmd) -> Self {
        Self::new(title, Action::Run(command))
    }

    fn run(&self, heading: &str) -> Result<Outcome> {
        eprintln!("\n{heading}");
        let began = Instant::now();
        let result = self.action.run();
        let after = human(began.elapsed());
        let outcome = result.map_err(|error| Error::Step {
            heading: heading.to_owned(),
            after: after.clone(),
            reproduce: self.action.reproduce(),
            source: Box::new(error),
        })?;
        if outcome == Outcome::Passed {
            eprintln!("{heading}: ok in {after}");
        }
        Ok(outcome)
    }
}

impl Action {
    fn run(&self) -> Result<Outcome> {
        match self {
            Self::Direction => direction::run()?,
            Self::IfInstalled { probe, package, command: _ } if !probe.succeeds() => {
                eprintln!("skipped: {package} is not installed (cargo install --locked {package})");
                return Ok(Outcome::Skipped);
            }
            Self::IfInstalled { command, .. } | Self::Run(command) => command.run()?,
            Self::Saboteurs => saboteurs::run(&[])?,
            Self::Test => test::run(&[])?,
        }
        Ok(Outcome::Passed)
    }

    fn reproduce(&self) -> String {
        match self {
            Self::Direction => "cargo xtask direction".to_owned(),
            Self::IfInstalled { command, .. } | Self::Run(command) => command.to_string(),
            Self::Saboteurs => "cargo xtask saboteurs".to_owned(),
            Self::Test => "cargo xtask test".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_has_its_own_clippy_step() {
        let steps = steps(&["session-core".to_owned(), "session-memory".to_owned()]);
        let titles: Vec<_> = steps.iter().map(|step| step.title.as_str()).collect();
        assert_eq!(titles[..3], ["format", "clippy session-core", "clippy session-memory"]);
    }

    #[test]
    fn a_failing_step_says_how_to_reproduce_it() {
        let step = Step::command("clippy session-core", Cmd::new("false", &["-p", "session-core"]));
        let error = step.run("[2/9] clippy session-core").err().unwrap().to_string();
        assert!(error.starts_with("[2/9] clippy session-core failed after"), "{error}");
        assert!(error.ends_with("to reproduce: false -p session-core"), "{error}");
    }

    #[test]
    fn a_tool_that_is_not_installed_is_skipped() {
        let action = Action::IfInstalled {
            probe: Cmd::new("no-such-program-here", &[]),
            package: "no-such-package",
            command: Cmd::new("false", &[]),
        };
        assert!(action.run().unwrap() == Outcome::Skipped);
    }
}
