//! The named case catches every broken store and cache, and no case fails on the reference
//! implementations.
//!
//! `cargo test -p session-conformance broken` prints which case catches which mistake.
//! `SESSION_TEST_BROKEN=all` tries every mistake on every case, and also lists the cases that no
//! mistake fails.

use std::fmt::Debug;
use std::io::Write;
use std::time::Duration;

use session_conformance::broken::{
    BrokenCache, BrokenNetwork, BrokenStore, BrokenTenant, Bug, BusBug, CacheBug, TenantBug,
};
use session_conformance::reference::{MapCache, MapStore};
use session_conformance::{
    BusHarness, CASE_TIME_LIMIT, CacheHarness, Case, Form, Harness, TenantHarness, bus_cases, cache_cases,
    store_cases, tenant_cases,
};

use crate::support::{in_parallel, silence_panics_of_checks};

/// The time limit of a case on a broken implementation, for mistakes that make a case hang.
const LIMIT: Duration = Duration::from_secs(5);

/// The number of attempts to catch a mistake. Only a race can go unnoticed, if the system suspends
/// a thread at the right moment: in one of some hundred runs.
const ATTEMPTS: usize = 10;

#[test]
fn every_broken_store_is_caught_by_its_case() {
    let rows = Bug::ALL.iter().map(|bug| row(bug, bug.what(), bug.caught_by()));
    let open = |bug| Harness::in_form(BrokenStore::new(bug), Form::Bare);
    assert_caught(&rows.collect::<Vec<_>>(), store_cases(), open);
}

#[test]
fn every_broken_cache_is_caught_by_its_case() {
    let rows = CacheBug::ALL.iter().map(|bug| row(bug, bug.what(), bug.caught_by()));
    let open = |bug| CacheHarness::in_form(BrokenCache::new(bug), Form::Bare);
    assert_caught(&rows.collect::<Vec<_>>(), cache_cases(), open);
}

#[test]
fn every_pair_of_broken_tenants_is_caught_by_its_case() {
    let rows = TenantBug::ALL.iter().map(|bug| row(bug, bug.what(), bug.caught_by()));
    let open = |bug| {
        let (first, second) = BrokenTenant::pair(bug);
        TenantHarness::in_form(first, second, Form::Bare)
    };
    assert_caught(&rows.collect::<Vec<_>>(), tenant_cases(), open);
}

#[test]
fn every_broken_bus_is_caught_by_its_case() {
    let rows = BusBug::ALL.iter().map(|bug| row(bug, bug.what(), bug.caught_by()));
    let open = |bug| {
        let network = BrokenNetwork::new(bug);
        BusHarness::new(move || network.node())
    };
    assert_caught(&rows.collect::<Vec<_>>(), bus_cases(), open);
}

/// A case that always fails would otherwise look like one that catches its mistake.
#[test]
fn no_case_fails_on_the_reference() {
    let open = || Harness::in_form(MapStore::default(), Form::Bare);
    let failed = store_cases().iter().filter(|case| fails(case, CASE_TIME_LIMIT, open)).map(Case::name);
    assert_eq!(failed.collect::<Vec<_>>(), [""; 0]);
    let open = || TenantHarness::in_form(MapStore::default(), MapStore::default(), Form::Bare);
    let failed = tenant_cases().iter().filter(|case| fails(case, CASE_TIME_LIMIT, open)).map(Case::name);
    assert_eq!(failed.collect::<Vec<_>>(), [""; 0]);
    let open = || CacheHarness::in_form(MapCache::default(), Form::Bare);
    let failed = cache_cases().iter().filter(|case| fails(case, CASE_TIME_LIMIT, open)).map(Case::name);
    assert_eq!(failed.collect::<Vec<_>>(), [""; 0]);
}

fn fails<H: Send + 'static>(
    case: &Case<H>,
    limit: Duration,
    open: impl FnOnce() -> H + Send + 'static,
) -> bool {
    silence_panics_of_checks();
    case.check(limit, async move { open() }).is_err()
}

/// One row of the printed table.
struct Row<B> {
    bug: B,
    what: &'static str,
    caught_by: &'static str,
}

fn row<B: Copy>(bug: &B, what: &'static str, caught_by: &'static str) -> Row<B> {
    Row { bug: *bug, what, caught_by }
}

fn assert_caught<B, H>(
    rows: &[Row<B>],
    cases: &[Case<H>],
    open: impl Fn(B) -> H + Copy + Send + Sync + 'static,
) where
    B: Copy + Debug + Send + Sync + 'static,
    H: Send + 'static,
{
    let all = std::env::var("SESSION_TEST_BROKEN").is_ok_and(|value| value == "all");
    let failed = in_parallel(rows, |row| {
        let bug = row.bug;
        let caught = |case: &&Case<H>| match case.name() == row.caught_by {
            true => (0..ATTEMPTS).any(|_| fails(case, LIMIT, move || open(bug))),
            false => all && fails(case, LIMIT, move || open(bug)),
        };
        cases.iter().filter(caught).map(Case::name).collect::<Vec<_>>()
    });
    let results: Vec<_> = rows.iter().zip(failed).collect();
    print_table(&results);
    if all {
        let unused =
            cases.iter().filter(|case| !results.iter().any(|(_, failed)| failed.contains(&case.name())));
        unused.for_each(|case| show(&format!("no mistake fails {}", case.name())));
    }
    let missed = results.iter().filter(|(row, failed)| !failed.contains(&row.caught_by));
    let missed: Vec<_> = missed.map(|(row, _)| format!("{:?}: {}", row.bug, row.caught_by)).collect();
    assert_eq!(missed, [""; 0], "mistakes whose case does not catch them or does not exist");
}

fn print_table<B: Debug>(results: &[(&Row<B>, Vec<&str>)]) {
    let rows = results.iter().map(|(row, failed)| {
        let others: Vec<_> = failed.iter().filter(|name| **name != row.caught_by).copied().collect();
        let caught = if failed.contains(&row.caught_by) { row.caught_by } else { "NOT CAUGHT" };
        [format!("{:?}", row.bug), row.what.to_owned(), caught.to_owned(), others.join(", ")]
    });
    let titles = ["broken", "what is wrong", "caught by", "and by"].map(str::to_owned);
    let table: Vec<_> = std::iter::once(titles).chain(rows).collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (bug, what, case) = (width(0), width(1), width(2));
    for [first, second, third, last] in &table {
        show(format!("{first:bug$} | {second:what$} | {third:case$} | {last}").trim_end_matches(" | "));
    }
}

/// Prints directly to standard output, because the test harness captures the output of passing
/// tests.
fn show(line: &str) {
    let written = writeln!(std::io::stdout(), "{line}");
    assert!(written.is_ok(), "standard output is closed");
}
