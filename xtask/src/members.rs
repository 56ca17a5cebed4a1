//! The members of the workspace and their dependencies, from `cargo metadata`.

use serde::Deserialize;

use crate::error::Result;
use crate::process::Cmd;

/// A package of this workspace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// True for a member in the `examples/` folder, whose name the design does not fix.
    pub(crate) is_example: bool,
    /// Names of its normal dependencies, in the workspace and outside.
    pub(crate) dependencies: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `None` for a normal dependency, otherwise `dev` or `build`.
    kind: Option<String>,
}

/// Returns every member of the workspace, in the order of `cargo metadata`.
pub(crate) fn all() -> Result<Vec<Member>> {
    let command = Cmd::cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    parse(&command.capture()?).map_err(|error| command.unreadable(&error))
}

fn parse(json: &str) -> serde_json::Result<Vec<Member>> {
    let metadata: Metadata = serde_json::from_str(json)?;
    Ok(metadata.packages.into_iter().map(Member::from).collect())
}

impl From<Package> for Member {
    fn from(package: Package) -> Self {
        let normal = package.dependencies.into_iter().filter(|dependency| dependency.kind.is_none());
        let folder = std::path::Path::new(&package.manifest_path).ancestors().nth(2);
        Self {
            is_example: folder.is_some_and(|folder| folder.ends_with("examples")),
            dependencies: normal.map(|dependency| dependency.name).collect(),
            name: package.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages": [
        {"name": "session-memory", "manifest_path": "/src/session-memory/Cargo.toml", "dependencies": [
            {"name": "session-core", "kind": null, "rename": null},
            {"name": "session-conformance", "kind": "dev"},
            {"name": "cc", "kind": "build"}]},
        {"name": "axum-devices", "manifest_path": "/src/examples/axum-devices/Cargo.toml", "dependencies": []}
    ], "version": 1}"#;

    #[test]
    fn only_normal_dependencies_are_read() {
        let members = parse(METADATA).unwrap();
        assert_eq!(members[0].name, "session-memory");
        assert_eq!(members[0].dependencies, ["session-core"]);
    }

    #[test]
    fn a_member_in_the_examples_folder_is_an_example() {
        let members = parse(METADATA).unwrap();
        assert!(!members[0].is_example);
        assert!(members[1].is_example);
    }
}
