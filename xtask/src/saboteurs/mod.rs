//! `cargo xtask saboteurs`: changes one line of a copy for the worse, runs the test that must notice, and expects it to fail.
//!
//! A test that never failed has not been tested.

mod crossings;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::Cmd;
use crate::table::with_columns;
use crossings::CROSSINGS;
use table::{SABOTEURS, Saboteur};

/// Where the copy stands and is built. Below `target`, so that `cargo clean` removes it.
const COPY: &str = "target/saboteurs/copy";
const BUILD: &str = "target/saboteurs/build";

/// Its tests are built with the drivers of all databases, also those that need no server.
const DATABASES: &str = "session-sqlx";
const DATABASE_FEATURES: &str = "session-sqlx/mysql,session-sqlx/postgres,session-sqlx/sqlite";

pub(crate) fn run(names: &[String]) -> Result<()> {
    let wanted: Vec<_> = all().filter(|saboteur| is_wanted(saboteur, names)).collect();
    if wanted.is_empty() {
        let all: Vec<_> = all().map(|saboteur| saboteur.name).collect();
        return Err(Error::NoSaboteur { asked: names.join(" or "), all: all.join("\n  ") });
    }
    copy_workspace()?;
    eprintln!("without a saboteur, the tests must pass");
    if !passes(&wanted)? {
        return Err(Error::Saboteurs { names: "the tests fail by themselves".to_owned() });
    }
    let mut table = with_columns(&["saboteur", "caught by"]);
    let mut survivors = Vec::new();
    for (index, saboteur) in wanted.iter().enumerate() {
        eprintln!("[{}/{}] {}", index + 1, wanted.len(), saboteur.name);
        let caught = is_caught(saboteur)?;
        table.add_row([saboteur.name, if caught { saboteur.test } else { "NOBODY" }]);
        if !caught {
            survivors.push(saboteur.name);
        }
    }
    println!("\n{table}");
    if survivors.is_empty() { Ok(()) } else { Err(Error::Saboteurs { names: survivors.join(", ") }) }
}

fn all() -> impl Iterator<Item = &'static Saboteur> {
    SABOTEURS.iter().chain(CROSSINGS)
}

fn is_wanted(saboteur: &Saboteur, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| saboteur.name.contains(name.as_str()))
}

/// Whether the test fails while the line is changed. That it does not compile is an error of the table.
fn is_caught(saboteur: &Saboteur) -> Result<bool> {
    let path = Path::new(COPY).join(saboteur.file);
    let original = fs::read_to_string(&path).map_err(|source| Error::Copy { path: path.clone(), source })?;
    let changed = mutated(saboteur, &original)?;
    write(&path, &changed)?;
    let passed = passes(&[saboteur]);
    write(&path, &original)?;
    Ok(!passed?)
}

fn mutated(saboteur: &Saboteur, original: &str) -> Result<String> {
    match original.matches(saboteur.find).count() {
        1 => Ok(original.replacen(saboteur.find, saboteur.replace, 1)),
        found => Err(Error::Saboteur { name: saboteur.name, file: saboteur.file, found }),
    }
}

/// Runs the saboteurs' tests in the copy, and tells a failed test from everything else.
fn passes(saboteurs: &[&Saboteur]) -> Result<bool> {
    let exactly = |it: &&Saboteur| format!("(package({}) & test(={}))", it.package, it.test);
    let filter: Vec<_> = saboteurs.iter().map(exactly).collect();
    let packages: BTreeSet<_> = saboteurs.iter().map(|saboteur| saboteur.package).collect();
    let features = packages.contains(DATABASES).then(|| format!("--features={DATABASE_FEATURES}"));
    let packages: Vec<_> = packages.iter().map(|package| format!("--package={package}")).collect();
    let target = match saboteurs {
        [one] => target(one),
        _ => Vec::new(),
    };
    let manifest = format!("{COPY}/Cargo.toml");
    let command = Cmd::cargo(&["nextest", "run", "--manifest-path", &manifest, "--target-dir", BUILD])
        .args(&packages)
        .args(&target)
        .args(&features.into_iter().collect::<Vec<_>>())
        .args(&["--no-fail-fast", "--status-level", "none", "-E", &filter.join(" | ")].map(str::to_owned))
        // The point is the failure, not its backtrace; what a mutation leaves unused is no news.
        .env("RUST_BACKTRACE", "0")
        // Nobody debugs what is built here, and the same crates are built and linked again for every saboteur.
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_TEST_DEBUG", "false")
        .env("RUSTFLAGS", "-Awarnings");
    let status = command.quiet()?;
    match status.code() {
        Some(0) => Ok(true),
        Some(100) => Ok(false),
        _ => Err(command.failed(status)),
    }
}

/// Names the one test binary that has a saboteur's test: the others need not be built.
fn target(saboteur: &Saboteur) -> Vec<String> {
    let module = saboteur.test.split("::").next().unwrap_or_default();
    let tests = Path::new(COPY).join(saboteur.package).join("tests");
    let holds = |binary: &str| {
        let folder = tests.join(binary);
        let main = fs::read_to_string(folder.join("main.rs")).unwrap_or_default();
        main.contains(&format!("mod {module};")) || main.contains(&format!("mod {module} {{"))
    };
    let is_unit_test = saboteur.test.contains("tests::");
    match ["it", "model", "sim"].into_iter().find(|binary| !is_unit_test && holds(binary)) {
        Some(binary) => vec!["--test".to_owned(), binary.to_owned()],
        None => vec!["--lib".to_owned()],
    }
}

fn copy_workspace() -> Result<()> {
    let files = Cmd::new("git", &["ls-files", "--cached", "--others", "--exclude-standard"]).capture()?;
    for file in files.lines().map(Path::new).filter(|file| file.is_file()) {
        let target = Path::new(COPY).join(file);
        let content = fs::read(file).map_err(|source| Error::Copy { path: file.to_owned(), source })?;
        // An unchanged file keeps its time, so that only what changed is built again.
        if fs::read(&target).ok().as_ref() != Some(&content) {
            let parent: PathBuf = target.parent().unwrap_or(Path::new(COPY)).to_owned();
            fs::create_dir_all(&parent).map_err(|source| Error::Copy { path: parent, source })?;
            write_bytes(&target, &content)?;
        }
    }
    let known: BTreeSet<_> = files.lines().map(|file| Path::new(COPY).join(file)).collect();
    remove_others(Path::new(COPY), &known)
}

/// Removes what an earlier copy left: a file that is gone since can stop the build.
fn remove_others(folder: &Path, known: &BTreeSet<PathBuf>) -> Result<()> {
    let failed = |source| Error::Copy { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            remove_others(&path, known)?;
        } else if !known.contains(&path) {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &str) -> Result<()> {
    write_bytes(path, content.as_bytes())
}

fn write_bytes(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).map_err(|source| Error::Copy { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_saboteur_finds_its_line_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for saboteur in all() {
            let original = fs::read_to_string(root.join(saboteur.file)).unwrap();
            assert_ne!(mutated(saboteur, &original).unwrap(), original, "{}", saboteur.name);
        }
    }

    #[test]
    fn there_are_at_least_twelve_with_names_of_their_own() {
        let names: BTreeSet<_> = all().map(|saboteur| saboteur.name).collect();
        assert!(names.len() >= 12 && names.len() == all().count());
    }
}
