//! Every broken store and cache is caught by the case that it names, and the reference by none.
//!
//! `cargo test -p session-conformance broken -- --nocapture` prints which mistake is caught by which case.
//! `SESSION_TEST_BROKEN=all` tries every mistake on every case, and also names the cases that no mistake fails.

use std::fmt::Debug;
use std::time::Duration;

use session_conformance::broken::{BrokenCache, BrokenStore, Bug, CacheBug};
use session_conformance::reference::{MapCache, MapStore};
use session_conformance::{CacheHarness, Case, Form, Harness, cache_cases, store_cases};

use crate::support::{be_quiet_about_checks, in_parallel};

/// What no case needs, and what a mistake that makes a case hang may cost.
const LIMIT: Duration = Duration::from_secs(10);

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

/// Otherwise a case that always fails would look like one that catches.
#[test]
fn what_is_not_broken_fails_no_case() {
    let failed = failures(store_cases(), || Harness::in_form(MapStore::default(), Form::Bare));
    assert_eq!(failed, [""; 0]);
    let failed = failures(cache_cases(), || CacheHarness::in_form(MapCache::default(), Form::Bare));
    assert_eq!(failed, [""; 0]);
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
        let tried = cases.iter().filter(|case| all || case.name() == exhibit.caught_by);
        let bug = exhibit.bug;
        failures(tried, move || open(bug))
    });
    let results: Vec<_> = exhibits.iter().zip(failed).collect();
    print_table(&results);
    if all {
        let idle =
            cases.iter().filter(|case| !results.iter().any(|(_, failed)| failed.contains(&case.name())));
        idle.for_each(|case| println!("no mistake fails {}", case.name()));
    }
    let missed = results.iter().filter(|(exhibit, failed)| !failed.contains(&exhibit.caught_by));
    let missed: Vec<_> =
        missed.map(|(exhibit, _)| format!("{:?}: {}", exhibit.bug, exhibit.caught_by)).collect();
    assert_eq!(missed, [""; 0], "mistakes that their case does not catch, or whose case does not exist");
}

/// Returns the names of the cases that fail.
fn failures<'a, H: Send + 'static>(
    cases: impl IntoIterator<Item = &'a Case<H>>,
    open: impl Fn() -> H + Clone + Send + 'static,
) -> Vec<&'static str> {
    be_quiet_about_checks();
    let fails = |case: &&Case<H>| {
        let open = open.clone();
        case.check(LIMIT, async move { open() }).is_err()
    };
    cases.into_iter().filter(fails).map(Case::name).collect()
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
        println!("{first:bug$} | {second:what$} | {third:case$} | {last}");
    }
}
