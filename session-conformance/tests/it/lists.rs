//! Every case function is listed; a case that is not listed would never run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use session_conformance::{Case, bus_cases, cache_cases, store_cases, tenant_cases};

#[test]
fn every_store_case_is_listed_once() {
    assert_listed("src/store", store_cases());
}

#[test]
fn every_tenant_case_is_listed_once() {
    assert_listed("src/store/tenants", tenant_cases());
}

#[test]
fn every_cache_case_is_listed_once() {
    assert_listed("src/cache/cases", cache_cases());
}

#[test]
fn every_bus_case_is_listed_once() {
    assert_listed("src/bus", bus_cases());
}

#[track_caller]
fn assert_listed<H: Send + 'static>(folder: &str, cases: &[Case<H>]) {
    let listed: BTreeSet<_> = cases.iter().map(|case| case.name().to_owned()).collect();
    assert_eq!(listed.len(), cases.len(), "a case is listed twice");
    let mut written = BTreeSet::new();
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let functions = text.lines().filter_map(|line| line.strip_prefix("pub async fn "));
        written.extend(functions.filter_map(|line| line.split(['(', '<']).next()).map(str::to_owned));
    }
    assert_eq!(written, listed);
}
