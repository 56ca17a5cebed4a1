//! `cargo xtask test`: installs what the tests need, runs them, and counts the conformance cases.

use std::env;

use crate::error::{Error, Result};
use crate::process::{Cmd, in_ci};
use crate::servers::Servers;
use crate::{browser, cases};

/// The version whose configuration is in `.config/nextest.toml` and whose list format is parsed
/// here.
const NEXTEST_VERSION: &str = "0.9.143";

/// nextest's exit code if the build succeeded and a test failed.
const TESTS_FAILED: i32 = 100;

/// The variable with the servers and programs without which tests fail instead of being skipped.
const REQUIRE: &str = "SESSION_TEST_REQUIRE";

/// Which tests run if none is named. `.config/nextest.toml` divides them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lane {
    /// With every change: all tests except those that stop, kill or damage servers, run for
    /// minutes, or repeat a suite in another set-up.
    Gate,
    /// Every night: the tests that the gate leaves out.
    Night,
}

impl Lane {
    const fn profile(self, in_ci: bool) -> Option<&'static str> {
        match self {
            Self::Gate if in_ci => Some("ci"),
            Self::Gate => None,
            Self::Night => Some("night"),
        }
    }
}

/// Runs the tests of the gate and the doctests, or the tests of any lane that the filters select.
pub(crate) fn run(filters: &[String]) -> Result<()> {
    run_lane(Lane::Gate, filters, &[])
}

/// Runs the tests of a lane, with additional environment variables.
pub(crate) fn run_lane(lane: Lane, filters: &[String], variables: &[(&str, &str)]) -> Result<()> {
    install_nextest()?;
    let given = required(env::var(REQUIRE).ok().as_deref(), []);
    eprintln!("\nservers");
    let servers = Servers::for_tests(&given)?;
    let mut there: Vec<&str> = servers.names().collect();
    there.extend((browser::available() || in_ci()).then_some("chromium"));
    let required = required(Some(&given), there);
    let equipped = |command| servers.with_addresses(with_required(command, &required));
    let set = |command: Cmd, &(name, value): &(&str, &str)| command.env(name, value);
    let mut failed = Vec::new();
    if !passes(&equipped(variables.iter().fold(nextest(lane, filters), set)))? {
        failed.push("tests");
    }
    if lane == Lane::Night {
        return finish(&failed);
    }
    if !filters.is_empty() {
        eprintln!(
            "\nskipped: doctests, because filters were given (cargo test --doc --workspace --all-features)"
        );
    } else if !passes_doctests(&equipped(doctests()))? {
        failed.push("doctests");
    }
    let counted = cases::report();
    finish(&failed).and(counted)
}

fn finish(failed: &[&str]) -> Result<()> {
    if failed.is_empty() { Ok(()) } else { Err(Error::Tests { what: failed.join(" and ") }) }
}

fn install_nextest() -> Result<()> {
    if Cmd::cargo(&["nextest", "--version"]).succeeds() {
        return Ok(());
    }
    eprintln!("\ninstalling cargo-nextest {NEXTEST_VERSION} (once, a few minutes)");
    Cmd::cargo(&["install", "--locked", "cargo-nextest", "--version", NEXTEST_VERSION]).run()
}

fn nextest(lane: Lane, filters: &[String]) -> Cmd {
    let command = Cmd::cargo(&["nextest", "run", "--workspace", "--all-features", "--no-fail-fast"]);
    let command = match lane.profile(in_ci()) {
        Some(profile) => command.args(&["--profile".to_owned(), profile.to_owned()]),
        None => command,
    };
    // A test that is named explicitly runs in any lane.
    let any = if filters.is_empty() { None } else { Some("--ignore-default-filter".to_owned()) };
    command.args(any.as_slice()).args(filters)
}

/// Returns true if every test passed. A failed build, or a filter without matches, is an error.
fn passes(command: &Cmd) -> Result<bool> {
    eprintln!("\ntests");
    let status = command.status()?;
    match status.code() {
        Some(0) => Ok(true),
        Some(TESTS_FAILED) => Ok(false),
        _ => Err(command.failed(status)),
    }
}

fn doctests() -> Cmd {
    Cmd::cargo(&["test", "--doc", "--workspace", "--all-features", "--no-fail-fast"])
}

fn passes_doctests(command: &Cmd) -> Result<bool> {
    eprintln!("\ndoctests");
    Ok(command.status()?.success())
}

fn with_required(command: Cmd, required: &str) -> Cmd {
    if required.is_empty() { command } else { command.env(REQUIRE, required) }
}

/// Joins what the user requires and what is available: an available server must not be skipped.
fn required<'a>(given: Option<&'a str>, there: impl IntoIterator<Item = &'a str>) -> String {
    let given = given.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut names = Vec::new();
    for name in given.chain(there) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_servers_are_required() {
        assert_eq!(required(None, ["postgres", "chromium"]), "postgres,chromium");
        assert_eq!(required(None, []), "");
    }

    #[test]
    fn requirements_of_the_user_are_kept() {
        assert_eq!(required(Some("redis, postgres"), ["chromium"]), "redis,postgres,chromium");
        assert_eq!(required(Some("redis"), []), "redis");
        assert_eq!(required(Some("chromium"), ["postgres", "chromium"]), "chromium,postgres");
    }

    #[test]
    fn filters_are_passed_to_nextest_unchanged() {
        let command = nextest(Lane::Gate, &["-E".to_owned(), "test(end)".to_owned()]).to_string();
        assert!(
            command.starts_with("cargo nextest run --workspace --all-features --no-fail-fast"),
            "{command}"
        );
        assert!(command.ends_with(" --ignore-default-filter -E 'test(end)'"), "{command}");
    }

    #[test]
    fn lane_selects_the_tests_without_filters() {
        assert!(!nextest(Lane::Gate, &[]).to_string().contains("--ignore-default-filter"));
        let night = nextest(Lane::Night, &[]).to_string();
        assert!(night.ends_with("--profile night"), "{night}");
        assert_eq!((Lane::Gate.profile(true), Lane::Gate.profile(false)), (Some("ci"), None));
    }

    /// Otherwise a test could be in no lane, or the gate could run what takes too long.
    #[test]
    fn lanes_are_disjoint_and_cover_every_test() {
        let config = include_str!("../../.config/nextest.toml");
        let filters: Vec<_> = config.split("default-filter = \"\"\"").skip(1).collect();
        let text = |filter: &str| {
            let words = filter.split("\"\"\"").next().unwrap().split_whitespace();
            words.collect::<Vec<_>>().join(" ")
        };
        let [gate, night] = filters.try_into().unwrap();
        assert_eq!(text(gate), format!("not ( {} )", text(night)));
    }
}
