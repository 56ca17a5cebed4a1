//! Every broken store and cache is caught by the case that it names, and the reference by none.
//!
//! `cargo test -p session-conformance broken` prints which mistake is caught by which case.
//! `SESSION_TEST_BROKEN=all` tries every mistake on every case, and also names the cases that no mistake fails.

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

use crate::support::{be_quiet_about_checks, in_parallel};

/// What a mistake that makes a case hang may cost.
const LIMIT: Duration = Duration::from_secs(5);

/// How often a mistake may slip through. Only a race is ever won, if the system takes the processor away at the right moment: in one of
/// some hundred runs.
const ATTEMPTS: usize = 10;

#[test]
fn every_broken_store_is_caught_by_its_case() {
    let exhibits = Bug::ALL.iter().map(|bug| exhibit(bug, bug.what(), bug.caught_by()));
    let open = |bug| Harness::in_form(BrokenStore::new(bug), Form::Bare);
    assert_caught(&exhibits.collect::<Vec<_>>(), store_cases(), open);
}

#[test]
fn every_broken_cache_is_caught_by_its_case() {
    let exhibits = CacheBug::ALL.iter().map(|bug| exhibit(bug, bug.what(), bug.caught_by()));
    let open = |bug| CacheHarness::in_form(BrokenCache::new(bug), Form::Bare);
    assert_caught(&exhibits.collect::<Vec<_>>(), cache_cases(), open);
}

#[test]
fn every_pair_of_broken_tenants_is_caught_by_its_case() {
    let exhibits = TenantBug::ALL.iter().map(|bug| exhibit(bug, bug.what(), bug.caught_by()));
    let open = |bug| {
        let (first, second) = BrokenTenant::pair(bug);
        TenantHarness::in_form(first, second, Form::Bare)
    };
    assert_caught(&exhibits.collect::<Vec<_>>(), tenant_cases(), open);
}

#[test]
fn every_broken_bus_is_caught_by_its_case() {
    let exhibits = BusBug::ALL.iter().map(|bug| exhibit(bug, bug.what(), bug.caught_by()));
    let open = |bug| {
        let network = BrokenNetwork::new(bug);
        BusHarness::new(move || network.node())
    };
    assert_caught(&exhibits.collect::<Vec<_>>(), bus_cases(), open);
}

/// Otherwise a case that always fails would look like one that catches.
#[test]
fn what_is_not_broken_fails_no_case() {
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
    be_quiet_about_checks();
    case.check(limit, async move { open() }).is_err()
}

/// One row of the table.
struct Exhibit<B> {
    bug: B,
    what: &'static str,
    caught_by: &'static str,
}

fn exhibit<B: Copy>(bug: &B, what: &'static str, caught_by: &'static str) -> Exhibit<B> {
    Exhibit { bug: *bug, what, caught_by }
}

fn assert_caught<B, H>(
    exhibits: &[Exhibit<B>],
    cases: &[Case<H>],
    open: impl Fn(B) -> H + Copy + Send + Sync + 'static,
) where
    B: Copy + Debug + Send + Sync + 'static,
    H: Send + 'static,
{
    let all = std::env::var("SESSION_TEST_BROKEN").is_ok_and(|value| value == "all");
    let failed = in_parallel(exhibits, |exhibit| {
        let bug = exhibit.bug;
        let caught = |case: &&Case<H>| match case.name() == exhibit.caught_by {
            true => (0..ATTEMPTS).any(|_| fails(case, LIMIT, move || open(bug))),
            false => all && fails(case, LIMIT, move || open(bug)),
        };
        cases.iter().filter(caught).map(Case::name).collect::<Vec<_>>()
    });
    let results: Vec<_> = exhibits.iter().zip(failed).collect();
    print_table(&results);
    if all {
        let idle =
            cases.iter().filter(|case| !results.iter().any(|(_, failed)| failed.contains(&case.name())));
        idle.for_each(|case| show(&format!("no mistake fails {}", case.name())));
    }
    let missed = results.iter().filter(|(exhibit, failed)| !failed.contains(&exhibit.caught_by));
    let missed: Vec<_> =
        missed.map(|(exhibit, _)| format!("{:?}: {}", exhibit.bug, exhibit.caught_by)).collect();
    assert_eq!(missed, [""; 0], "mistakes that their case does not catch, or whose case does not exist");
}

fn print_table<B: Debug>(results: &[(&Exhibit<B>, Vec<&str>)]) {
    let rows = results.iter().map(|(exhibit, failed)| {
        let others: Vec<_> = failed.iter().filter(|name| **name != exhibit.caught_by).copied().collect();
        let caught = if failed.contains(&exhibit.caught_by) { exhibit.caught_by } else { "NOT CAUGHT" };
        [format!("{:?}", exhibit.bug), exhibit.what.to_owned(), caught.to_owned(), others.join(", ")]
    });
    let titles = ["broken", "what is wrong", "caught by", "and by"].map(str::to_owned);
    let table: Vec<_> = std::iter::once(titles).chain(rows).collect();
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (bug, what, case) = (width(0), width(1), width(2));
    for [first, second, third, last] in &table {
        show(format!("{first:bug$} | {second:what$} | {third:case$} | {last}").trim_end_matches(" | "));
    }
}

/// Prints past the test harness, which would keep the output of a test that passes.
fn show(line: &str) {
    let written = writeln!(std::io::stdout(), "{line}");
    assert!(written.is_ok(), "standard output is closed");
}
