//! The behaviour of a suite with `env`, observed from outside: this binary runs itself.

use std::process::{Command, Output};

use session_conformance::reference::MapStore;

const VARIABLE: &str = "SESSION_TEST_EXAMPLE_URL";
const CASE: &str = "environment::example::load_returns_each_session_once";

/// The function and the module that the macro creates, with one case instead of all.
fn example(case: &str) {
    session_conformance::__private::run_store_from_env("example", case, VARIABLE, |url: String| async move {
        assert_eq!(url, "memory://");
        MapStore::default()
    });
}

session_conformance::__tests! { [example] load_returns_each_session_once }

fn run_case(variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([CASE, "--exact", "--nocapture"]);
    command.env_remove(VARIABLE).env_remove("SESSION_TEST_REQUIRE").envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(text.contains("running 1 test"), "{text}");
    (status.success(), text)
}

const SKIPPED: &str = "skipped example::load_returns_each_session_once: SESSION_TEST_EXAMPLE_URL is not set";

#[test]
fn without_the_variable_the_case_is_skipped_in_one_line() {
    for variables in [&[][..], &[(VARIABLE, "")], &[("SESSION_TEST_REQUIRE", "other,examples")]] {
        let (passed, text) = run_case(variables);
        assert!(passed && text.lines().any(|line| line.contains(SKIPPED)), "{text}");
    }
}

#[test]
fn a_required_suite_without_its_variable_fails() {
    for required in ["example", "other, example", "all"] {
        let (passed, text) = run_case(&[("SESSION_TEST_REQUIRE", required)]);
        assert!(!passed && text.contains("SESSION_TEST_EXAMPLE_URL is not set: set it to"), "{text}");
        assert!(!text.contains(SKIPPED), "{text}");
    }
}

#[test]
fn with_the_variable_the_case_runs_on_its_value() {
    let (passed, text) = run_case(&[(VARIABLE, "memory://"), ("SESSION_TEST_REQUIRE", "all")]);
    assert!(passed && !text.contains("skipped"), "{text}");
}

#[test]
fn a_failure_names_the_suite_the_case_and_the_form() {
    let (passed, text) = run_case(&[(VARIABLE, "elsewhere://")]);
    assert!(!passed && text.contains("example, case load_returns_each_session_once, bare: "), "{text}");
}
