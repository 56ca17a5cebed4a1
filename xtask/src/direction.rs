//! The direction of dependencies: which crates of the workspace a crate may depend on, and what
//! session-core must not pull in.
//!
//! Only normal dependencies count: backends use the conformance suite as a dev-dependency.

use crate::error::{Error, Result};
use crate::members::{self, Member};
use crate::process::Cmd;

const CORE: &[&str] = &["session-core"];

/// For backends and the suites, which share a bus.
const RUNTIME: &[&str] = &["session-core", "session-runtime"];

/// The manager's tiers use the copies in process memory, which are a type and not a trait: an
/// asynchronous trait would allocate for every request.
const MANAGER: &[&str] = &["session-core", "session-memory"];

/// For integrations with web frameworks: no backend, because the application picks that.
const WEB: &[&str] = &["session-core", "session-client", "session-manager"];

const FAMILY: &[&str] = &[
    "session-actix",
    "session-axum",
    "session-client",
    "session-core",
    "session-manager",
    "session-memory",
    "session-mongo",
    "session-redis",
    "session-sqlx",
];

/// For programs and examples.
const ANY: &[&str] = &[
    "session-actix",
    "session-axum",
    "session-client",
    "session-conformance",
    "session-core",
    "session-kit",
    "session-manager",
    "session-memory",
    "session-mongo",
    "session-redis",
    "session-runtime",
    "session-sqlx",
];

/// For the benchmarks, which start their own servers. In other crates those are a dev-dependency.
const BENCH: &[&str] = &[
    "session-actix",
    "session-axum",
    "session-client",
    "session-conformance",
    "session-core",
    "session-kit",
    "session-manager",
    "session-memory",
    "session-mongo",
    "session-redis",
    "session-servers",
    "session-sqlx",
];

/// The crates of this workspace that each crate may depend on.
const RULES: &[(&str, &[&str])] = &[
    ("session-core", &[]),
    ("session-client", CORE),
    ("session-conformance", RUNTIME),
    ("session-manager", MANAGER),
    ("session-memory", CORE),
    ("session-mongo", CORE),
    ("session-redis", RUNTIME),
    ("session-runtime", CORE),
    ("session-sqlx", RUNTIME),
    ("session-actix", WEB),
    ("session-axum", WEB),
    ("session-kit", FAMILY),
    ("session-cli", ANY),
    ("session-bench", BENCH),
    ("session-servers", &[]),
    ("xtask", &["session-servers"]),
];

/// Runtime, driver and HTTP crates that session-core must not pull in; `tokio` includes
/// `tokio-util` and other crates with that prefix.
const IMPURE: &[&str] = &["actix-web", "axum", "http", "hyper", "mongodb", "redis", "sqlx", "tokio"];

pub(crate) fn run() -> Result<()> {
    let mut found = violations(&members::all()?);
    found.extend(impure_crates(&core_tree()?).into_iter().map(impurity));
    if found.is_empty() {
        eprintln!("all dependencies are allowed, and session-core is pure");
        return Ok(());
    }
    Err(Error::Direction { count: found.len(), list: found.join("\n") })
}

fn core_tree() -> Result<String> {
    Cmd::cargo(&["tree", "-p", "session-core", "-e", "normal", "--prefix", "none", "--all-features"])
        .capture()
}

fn violations(members: &[Member]) -> Vec<String> {
    members.iter().flat_map(|member| violations_of(member, members)).collect()
}

fn violations_of(member: &Member, members: &[Member]) -> Vec<String> {
    let name = &member.name;
    let Some(allowed) = allowed_for(member) else {
        return vec![format!(
            "- {name} has no rule; add a line for it to RULES in xtask/src/direction.rs with the \
             crates of this workspace that it may depend on"
        )];
    };
    let inside = |dependency: &&String| members.iter().any(|other| other.name == **dependency);
    let wrong = member.dependencies.iter().filter(inside).filter(|it| !allowed.contains(&it.as_str()));
    let may = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
    wrong
        .map(|it| {
            format!("- {name} must not depend on {it} (allowed: {may}); move the code to the crate that may")
        })
        .collect()
}

fn allowed_for(member: &Member) -> Option<&'static [&'static str]> {
    if member.is_example {
        return Some(ANY);
    }
    RULES.iter().find(|(name, _)| *name == member.name).map(|(_, allowed)| *allowed)
}

/// Returns the forbidden crates in the output of `cargo tree --prefix none`, each once.
fn impure_crates(tree: &str) -> Vec<&str> {
    let mut names: Vec<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.retain(|name| IMPURE.iter().any(|impure| is_of_family(name, impure)));
    names.sort_unstable();
    names.dedup();
    names
}

fn is_of_family(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn impurity(name: &str) -> String {
    format!(
        "- session-core pulls in {name}; `cargo tree -p session-core -e normal --all-features -i {name}` shows \
         through which crate"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[&str]) -> Member {
        let dependencies = dependencies.iter().map(|&it| it.to_owned()).collect();
        Member { name: name.to_owned(), is_example: false, dependencies }
    }

    fn workspace() -> Vec<Member> {
        vec![
            member("session-core", &["uuid"]),
            member("session-memory", &["session-core", "parking_lot"]),
            member("session-conformance", &["session-core"]),
            member("session-manager", &["session-core", "tokio"]),
            member("session-axum", &["session-core", "session-manager", "axum"]),
            member("session-kit", &["session-core", "session-memory", "session-manager", "session-axum"]),
            Member { is_example: true, ..member("axum-devices", &["session-kit", "axum"]) },
            member("session-servers", &["rustix"]),
            member("session-bench", &["session-manager", "session-servers"]),
            member("xtask", &["clap", "session-servers"]),
        ]
    }

    #[test]
    fn allowed_dependencies_are_accepted() {
        assert_eq!(violations(&workspace()), Vec::<String>::new());
    }

    #[test]
    fn a_backend_must_not_depend_on_the_manager_or_on_another_backend() {
        let mut members = workspace();
        members
            .push(member("session-redis", &["session-core", "session-manager", "session-memory", "redis"]));
        let found = violations(&members);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("session-redis must not depend on session-manager"), "{found:?}");
        assert!(found[1].contains("session-redis must not depend on session-memory"), "{found:?}");
    }

    #[test]
    fn core_must_not_depend_on_the_workspace() {
        let mut members = workspace();
        members[0].dependencies.push("session-memory".to_owned());
        let found = violations(&members);
        assert!(
            found[0].contains("session-core must not depend on session-memory (allowed: none)"),
            "{found:?}"
        );
    }

    #[test]
    fn nothing_depends_on_an_example_or_a_tool() {
        let mut members = workspace();
        members[5].dependencies.extend(["axum-devices".to_owned(), "xtask".to_owned()]);
        assert_eq!(violations(&members).len(), 2);
    }

    #[test]
    fn only_tools_start_servers_outside_of_tests() {
        let mut members = workspace();
        members[1].dependencies.push("session-servers".to_owned());
        members[6].dependencies.push("session-servers".to_owned());
        assert_eq!(violations(&members).len(), 2);
    }

    #[test]
    fn unknown_member_gets_advice_to_add_a_rule() {
        let mut members = workspace();
        members.push(member("session-dynamodb", &["session-core"]));
        let found = violations(&members);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("session-dynamodb has no rule; add a line for it to RULES"), "{found:?}");
    }

    #[test]
    fn every_crate_named_by_a_rule_has_a_rule_itself() {
        let known = |name: &&&str| RULES.iter().any(|(rule, _)| rule == *name);
        let unknown: Vec<_> =
            RULES.iter().flat_map(|(_, allowed)| *allowed).filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn each_impure_crate_of_the_core_is_found_once() {
        let tree = "session-core v0.1.0 (/src/session-core)\nuuid v1.29.1\ntokio v1.54.1\nhttp-body v1.0.1\n\
                    httparse v1.9.0\ntokio v1.54.1 (*)\nsqlx-core v0.9.0\n";
        assert_eq!(impure_crates(tree), ["http-body", "sqlx-core", "tokio"]);
    }

    #[test]
    fn a_pure_core_has_no_finding() {
        assert!(impure_crates("session-core v0.1.0\nsha2 v0.11.1\nsubtle v2.6.1\n").is_empty());
    }
}
