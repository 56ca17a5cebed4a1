//! The functions that the generated tests call: they run one case in every form and read the
//! environment.

use std::env::VarError;

use session_core::{SessionCache, SessionStore};

use crate::case::{CASE_TIME_LIMIT, Case};
use crate::{
    BusHarness, BusNetwork, CacheHarness, Form, Harness, TenantHarness, bus_cases, cache_cases, store_cases,
    tenant_cases,
};

const REQUIRE: &str = "SESSION_TEST_REQUIRE";

/// Runs one store case in every form, on one store or on two.
pub fn run_store<S, F>(suite: &str, case: &str, open: impl Fn() -> F)
where
    S: SessionStore,
    F: Future<Output = S> + Send + 'static,
{
    if tenant_cases().iter().any(|tenants| tenants.name() == case) {
        return run(suite, case, tenant_cases(), |form| {
            let (first, second) = (open(), open());
            async move { TenantHarness::in_form(first.await, second.await, form) }
        });
    }
    run(suite, case, store_cases(), |form| {
        let opening = open();
        async move { Harness::in_form(opening.await, form) }
    });
}

/// Runs one store case in every form, against the server that the environment names.
pub fn run_store_from_env<S, F>(suite: &str, case: &str, variable: &str, open: impl Fn(String) -> F)
where
    S: SessionStore,
    F: Future<Output = S> + Send + 'static,
{
    if let Some(value) = from_env(suite, case, variable) {
        run_store(suite, case, || open(value.clone()));
    }
}

/// Runs one cache case in every form.
pub fn run_cache<C, F>(suite: &str, case: &str, open: impl Fn() -> F)
where
    C: SessionCache,
    F: Future<Output = C> + Send + 'static,
{
    run(suite, case, cache_cases(), |form| {
        let opening = open();
        async move { CacheHarness::in_form(opening.await, form) }
    });
}

/// Runs one cache case in every form, against the server that the environment names.
pub fn run_cache_from_env<C, F>(suite: &str, case: &str, variable: &str, open: impl Fn(String) -> F)
where
    C: SessionCache,
    F: Future<Output = C> + Send + 'static,
{
    if let Some(value) = from_env(suite, case, variable) {
        run_cache(suite, case, || open(value.clone()));
    }
}

/// Runs one bus case.
pub fn run_bus<N, F>(suite: &str, name: &str, open: impl Fn() -> F)
where
    N: BusNetwork,
    F: Future<Output = N> + Send + 'static,
{
    let case = find(bus_cases(), name);
    let open = || {
        let opening = open();
        async move { BusHarness::new(opening.await) }
    };
    if let Err(failure) = case.execute(name, CASE_TIME_LIMIT, open) {
        panic!("{suite}, case {name}: {failure}");
    }
}

/// Runs one bus case against the server that the environment names.
pub fn run_bus_from_env<N, F>(suite: &str, case: &str, variable: &str, open: impl Fn(String) -> F)
where
    N: BusNetwork,
    F: Future<Output = N> + Send + 'static,
{
    if let Some(value) = from_env(suite, case, variable) {
        run_bus(suite, case, || open(value.clone()));
    }
}

fn find<'c, H: Send + 'static>(cases: &'c [Case<H>], name: &str) -> &'c Case<H> {
    cases.iter().find(|case| case.name() == name).expect("the macro and the table share a list")
}

fn run<H: Send + 'static, F>(suite: &str, name: &str, cases: &[Case<H>], open: impl Fn(Form) -> F)
where
    F: Future<Output = H> + Send + 'static,
{
    let case = find(cases, name);
    for form in Form::ALL {
        if let Err(failure) = case.execute(&format!("{name}, {form}"), CASE_TIME_LIMIT, || open(form)) {
            panic!("{suite}, case {name}, {form}: {failure}");
        }
    }
}

fn from_env(suite: &str, case: &str, variable: &str) -> Option<String> {
    match decide(suite, case, variable, read(variable), read(REQUIRE).as_deref()) {
        Decision::Run(value) => Some(value),
        Decision::Skip(line) => {
            println!("{line}");
            None
        }
        Decision::Fail(message) => panic!("{message}"),
    }
}

/// Reads a variable; an empty one counts as unset.
fn read(variable: &str) -> Option<String> {
    match std::env::var(variable) {
        Ok(value) => Some(value).filter(|value| !value.is_empty()),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => panic!("{variable} is not valid Unicode"),
    }
}

#[derive(Debug, PartialEq)]
enum Decision {
    Run(String),
    Skip(String),
    Fail(String),
}

fn decide(
    suite: &str,
    case: &str,
    variable: &str,
    value: Option<String>,
    required: Option<&str>,
) -> Decision {
    if let Some(value) = value {
        return Decision::Run(value);
    }
    let mut names = required.unwrap_or_default().split(',').map(str::trim);
    match names.find(|name| *name == suite || *name == "all") {
        None => Decision::Skip(format!("skipped {suite}::{case}: {variable} is not set")),
        Some(name) => Decision::Fail(format!(
            "{REQUIRE} asks for `{name}`, but {variable} is not set: set it to a server that the tests of \
             `{suite}` may fill, or take `{name}` out of {REQUIRE}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(value: Option<&str>, required: Option<&str>) -> Decision {
        decide("redis", "load_of_nothing", "SESSION_TEST_REDIS_URL", value.map(str::to_owned), required)
    }

    #[test]
    fn a_value_runs_the_case() {
        assert_eq!(decided(Some("redis://"), None), Decision::Run("redis://".to_owned()));
        assert_eq!(decided(Some("redis://"), Some("redis")), Decision::Run("redis://".to_owned()));
    }

    #[test]
    fn an_unset_variable_skips_in_one_line() {
        let line = "skipped redis::load_of_nothing: SESSION_TEST_REDIS_URL is not set";
        for required in [None, Some(""), Some("postgres,redis_cache"), Some("Redis"), Some("allowed")] {
            assert_eq!(decided(None, required), Decision::Skip(line.to_owned()), "{required:?}");
        }
    }

    #[test]
    fn a_required_suite_without_a_server_fails_with_advice() {
        for required in ["redis", "postgres, redis", "all", " all ,x"] {
            let Decision::Fail(message) = decided(None, Some(required)) else {
                panic!("{required} did not fail");
            };
            assert!(message.contains("SESSION_TEST_REDIS_URL is not set: set it"), "{message}");
        }
    }
}
