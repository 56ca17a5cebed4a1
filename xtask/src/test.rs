//! `cargo xtask test`: what the tests need, the tests, and the count of conformance cases.

use std::env;

use crate::error::{Error, Result};
use crate::process::{Cmd, in_ci};
use crate::{browser, cases};

/// The version that `.config/nextest.toml` is written for and whose list format is read here.
const NEXTEST_VERSION: &str = "0.9.143";

/// nextest's exit code when the build went well and a test failed.
const TESTS_FAILED: i32 = 100;

/// Names the servers and programs that a suite must not be skipped for.
const REQUIRE: &str = "SESSION_TEST_REQUIRE";

pub(crate) fn run(filters: &[String]) -> Result<()> {
    install_nextest()?;
    let required = required(env::var(REQUIRE).ok().as_deref(), browser::available() || in_ci());
    let mut failed = Vec::new();
    if !passes(&with_required(nextest(filters), &required))? {
        failed.push("tests");
    }
    if !filters.is_empty() {
        eprintln!(
            "\nskipped: doctests, because filters were given (cargo test --doc --workspace --all-features)"
        );
    } else if !doctests(&required)? {
        failed.push("doctests");
    }
    let counted = cases::report();
    if failed.is_empty() { counted } else { Err(Error::Tests { what: failed.join(" and ") }) }
}

fn install_nextest() -> Result<()> {
    if Cmd::cargo(&["nextest", "--version"]).succeeds() {
        return Ok(());
    }
    eprintln!("\ninstalling cargo-nextest {NEXTEST_VERSION} (once, a few minutes)");
    Cmd::cargo(&["install", "--locked", "cargo-nextest", "--version", NEXTEST_VERSION]).run()
}

fn nextest(filters: &[String]) -> Cmd {
    let command = Cmd::cargo(&["nextest", "run", "--workspace", "--all-features", "--no-fail-fast"]);
    let command = if in_ci() { command.args(&["--profile".to_owned(), "ci".to_owned()]) } else { command };
    command.args(filters)
}

/// Whether every test passed. That nothing could be built, or nothing matched, is an error at once.
fn passes(command: &Cmd) -> Result<bool> {
    eprintln!("\ntests");
    let status = command.status()?;
    match status.code() {
        Some(0) => Ok(true),
        Some(TESTS_FAILED) => Ok(false),
        _ => Err(command.failed(status)),
    }
}

fn doctests(required: &str) -> Result<bool> {
    eprintln!("\ndoctests");
    let command = Cmd::cargo(&["test", "--doc", "--workspace", "--all-features", "--no-fail-fast"]);
    Ok(with_required(command, required).status()?.success())
}

fn with_required(command: Cmd, required: &str) -> Cmd {
    if required.is_empty() { command } else { command.env(REQUIRE, required) }
}

/// What the user requires already, and the browser if there is one: what can run must not be skipped.
fn required(given: Option<&str>, browser: bool) -> String {
    let names = given.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.collect();
    if browser && !names.contains(&"chromium") {
        names.push("chromium");
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_available_browser_is_required() {
        assert_eq!(required(None, true), "chromium");
        assert_eq!(required(None, false), "");
    }

    #[test]
    fn what_the_user_requires_is_kept() {
        assert_eq!(required(Some("redis, postgres"), true), "redis,postgres,chromium");
        assert_eq!(required(Some("redis"), false), "redis");
        assert_eq!(required(Some("chromium"), true), "chromium");
    }

    #[test]
    fn filters_go_to_nextest_as_they_are() {
        let command = nextest(&["-E".to_owned(), "test(end)".to_owned()]).to_string();
        assert!(
            command.starts_with("cargo nextest run --workspace --all-features --no-fail-fast"),
            "{command}"
        );
        assert!(command.ends_with(" -E 'test(end)'"), "{command}");
    }
}
