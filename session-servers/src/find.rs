//! The search for installed programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder in which Debian installs each version of PostgreSQL, without links to the server
/// programs in `PATH`.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// Folders that are not in every user's `PATH`.
const SYSTEM_FOLDERS: &[&str] = &["/usr/sbin", "/usr/local/sbin", "/usr/libexec"];

/// Returns the first program with this name.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    folders().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Returns the first folder that has all of these programs, after resolving the link of the first
/// program.
pub(crate) fn folder_of(names: &[&str]) -> Option<PathBuf> {
    let first = names.first()?;
    let real = |folder: PathBuf| Some(fs::canonicalize(folder.join(first)).ok()?.parent()?.to_owned());
    folders().filter_map(real).find(|folder| names.iter().all(|name| folder.join(name).is_file()))
}

fn folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = env::split_paths(&path).collect();
    let system = SYSTEM_FOLDERS.iter().map(PathBuf::from);
    path.into_iter().chain(versions(Path::new(POSTGRES_VERSIONS))).chain(system)
}

/// Returns the `bin` folders of all versions, newest first.
fn versions(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let number = |name: &str| Some((name.parse::<u32>().ok()?, parent.join(name).join("bin")));
    let mut found: Vec<_> =
        entries.filter_map(|entry| number(entry.file_name().to_string_lossy().as_ref())).collect();
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_version_comes_first() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9", "17", "15", "common"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let expected = ["17", "15", "9"].map(|name| parent.path().join(name).join("bin"));
        assert_eq!(versions(parent.path()), expected);
        assert_eq!(versions(&parent.path().join("none")), Vec::<PathBuf>::new());
    }

    #[test]
    fn missing_program_is_not_found() {
        assert!(program("sh").is_some());
        assert_eq!(program("no-such-program-here"), None);
        assert_eq!(folder_of(&["sh", "no-such-program-here"]), None);
    }
}
