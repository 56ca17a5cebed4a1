//! Counts the conformance cases of each backend in the output of `cargo nextest list`.

use std::collections::BTreeMap;

use comfy_table::Table;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::process::Cmd;
use crate::table;

const MODULE: &str = "conformance";
/// Suffixes of suites that do not test a store.
const SUFFIXES: &[(&str, &str)] = &[("_bus", "bus"), ("_cache", "cache")];

/// Unit tests of a source file `conformance.rs` are named `conformance::tests::...`, which is not a
/// backend.
const UNIT_TESTS: &str = "tests";

/// The parts of nextest's list that are used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Listing {
    rust_suites: BTreeMap<String, Binary>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Binary {
    binary_name: String,
    testcases: BTreeMap<String, Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    ignored: bool,
}

/// A backend and the kind of its suite: one call of a conformance macro.
type Suite = (String, &'static str);

/// Prints the number of cases per backend.
///
/// Fails if there is no case at all, or if a test is ignored: both would hide a gap.
pub(crate) fn report() -> Result<()> {
    let command =
        Cmd::cargo(&["nextest", "list", "--workspace", "--all-features", "--message-format", "json"]);
    let json = command.capture()?;
    let listing: Listing = serde_json::from_str(&json).map_err(|error| command.unreadable(&error))?;
    let ignored = listing.ignored();
    if !ignored.is_empty() {
        return Err(Error::Ignored { names: ignored.join(", ") });
    }
    let counts = listing.count();
    if counts.is_empty() {
        return Err(Error::NoConformance);
    }
    println!("\nconformance cases\n{}", render(&counts));
    Ok(())
}

impl Listing {
    fn count(&self) -> BTreeMap<Suite, usize> {
        let mut counts = BTreeMap::new();
        for binary in self.rust_suites.values() {
            for suite in binary.testcases.keys().filter_map(|name| suite_of(&binary.binary_name, name)) {
                *counts.entry(suite).or_default() += 1;
            }
        }
        counts
    }

    fn ignored(&self) -> Vec<String> {
        let binaries = self.rust_suites.iter();
        binaries
            .flat_map(|(id, binary)| binary.testcases.iter().map(move |(name, case)| (id, name, case)))
            .filter(|(_, _, case)| case.ignored)
            .map(|(id, name, _)| format!("{id} {name}"))
            .collect()
    }
}

/// Returns the suite of a test named `conformance::<backend>::<case>`, or `<backend>::<case>` in a
/// binary `conformance`.
fn suite_of(binary: &str, name: &str) -> Option<Suite> {
    let path: Vec<_> = std::iter::once(binary).chain(name.split("::")).collect();
    let module = path.iter().rposition(|&segment| segment == MODULE)?;
    let [backend, _case, ..] = path[module + 1..] else {
        return None;
    };
    if backend == UNIT_TESTS {
        return None;
    }
    let of_suffix =
        |&(suffix, suite): &(&str, &'static str)| Some((backend.strip_suffix(suffix)?.to_owned(), suite));
    Some(SUFFIXES.iter().find_map(of_suffix).unwrap_or_else(|| (backend.to_owned(), "store")))
}

fn render(counts: &BTreeMap<Suite, usize>) -> Table {
    let mut table = table::with_columns(&["backend", "suite", "cases"]);
    for ((backend, suite), count) in counts {
        table.add_row([backend.as_str(), suite, &count.to_string()]);
    }
    table.add_row(["total", "", &counts.values().sum::<usize>().to_string()]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"{
        "rust-build-meta": {"target-directory": "/src/target"},
        "test-count": 6,
        "rust-suites": {
            "session-memory::it": {"package-name": "session-memory", "binary-name": "it", "status": "listed",
                "testcases": {
                    "conformance::memory::create_then_load": {"kind": "test", "ignored": false},
                    "conformance::memory::update_never_inserts": {"kind": "test", "ignored": false},
                    "conformance::moka_cache::put_if_newer": {"kind": "test", "ignored": false},
                    "conformance::local_bus::no_changes_are_no_message": {"kind": "test", "ignored": false},
                    "docs::conformance": {"kind": "test", "ignored": false}}},
            "session-redis::conformance": {"binary-name": "conformance", "testcases": {
                    "redis::create_then_load": {"ignored": false},
                    "helper": {"ignored": true}}}
        }}"#;

    fn listing() -> Listing {
        serde_json::from_str(LISTING).unwrap()
    }

    #[test]
    fn cases_are_counted_per_backend_and_suite() {
        let expected =
            [("local", "bus", 1), ("memory", "store", 2), ("moka", "cache", 1), ("redis", "store", 1)]
                .map(|(backend, suite, count)| ((backend.to_owned(), suite), count));
        assert_eq!(listing().count(), BTreeMap::from(expected));
    }

    #[test]
    fn test_outside_of_a_conformance_module_is_not_counted() {
        assert_eq!(suite_of("it", "docs::conformance"), None);
        assert_eq!(suite_of("it", "conformance::helper"), None);
        assert_eq!(suite_of("server", "conformance::tests::parses_a_list"), None);
        assert_eq!(suite_of("session_core", "id::round_trip"), None);
    }

    #[test]
    fn the_innermost_conformance_module_counts() {
        let suite = suite_of("conformance", "conformance::memory::load_of_nothing");
        assert_eq!(suite, Some(("memory".to_owned(), "store")));
    }

    #[test]
    fn ignored_tests_are_named_with_their_binary() {
        assert_eq!(listing().ignored(), ["session-redis::conformance helper"]);
    }

    #[test]
    fn the_table_ends_with_the_total() {
        let text = render(&listing().count()).to_string();
        let last = text.lines().last().unwrap();
        assert!(last.contains("total") && last.contains('5'), "{text}");
        assert!(text.lines().any(|line| line.contains("moka") && line.contains("cache")), "{text}");
    }
}
