//! `cargo xtask mutants`: breaks one line of a copy, runs the test that should detect it, and
//! expects the test to fail.
//!
//! This tests the tests: one that never fails proves nothing.

mod crossings;
mod table;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, Result};
use crate::process::Cmd;
use crate::table::with_columns;
use crossings::CROSSINGS;
use table::{MUTANTS, Mutant};

/// The folders of the copy and its build. Below `target`, so that `cargo clean` removes them.
const COPY: &str = "target/mutants/copy";
const BUILD: &str = "target/mutants/build";

/// The variable with the commit before the latest change, if the change has more than one commit.
const BASE: &str = "SESSION_CI_BASE";

/// The crate whose tests need the drivers of all databases, even those that need no server.
const DATABASES: &str = "session-sqlx";
const DATABASE_FEATURES: &str = "session-sqlx/mysql,session-sqlx/postgres,session-sqlx/sqlite";

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Parts of the names of the mutants to run; all if none is given
    names: Vec<String>,
    /// Only mutants of files in the latest change: uncommitted changes, and the commits since
    /// SESSION_CI_BASE or the last commit
    #[arg(long, conflicts_with = "names")]
    touched: bool,
}

/// The selection of mutants.
#[derive(Debug)]
pub(crate) enum Choice {
    All,
    Named(Vec<String>),
    Touched,
}

impl Arguments {
    pub(crate) fn choice(&self) -> Choice {
        match (self.touched, &*self.names) {
            (true, _) => Choice::Touched,
            (false, []) => Choice::All,
            (false, names) => Choice::Named(names.to_owned()),
        }
    }
}

impl Choice {
    fn select(&self) -> Result<Vec<&'static Mutant>> {
        match self {
            Self::All => Ok(all().collect()),
            Self::Named(names) => {
                let wanted: Vec<_> = all().filter(|mutant| is_named(mutant, names)).collect();
                if wanted.is_empty() {
                    let all: Vec<_> = all().map(|mutant| mutant.name).collect();
                    return Err(Error::NoMutant { asked: names.join(" or "), all: all.join("\n  ") });
                }
                Ok(wanted)
            }
            Self::Touched => {
                let touched = touched()?;
                Ok(all().filter(|mutant| touched.contains(mutant.file)).collect())
            }
        }
    }
}

pub(crate) fn run(choice: &Choice) -> Result<()> {
    let wanted = choice.select()?;
    if wanted.is_empty() {
        eprintln!("the latest change touches no file that has mutants");
        return Ok(());
    }
    copy_workspace()?;
    eprintln!("running the tests without a mutant; they must pass");
    if !passes(&wanted)? {
        return Err(Error::Mutants { names: "none, because the tests fail without a mutant".to_owned() });
    }
    let mut table = with_columns(&["mutant", "caught by"]);
    let mut survivors = Vec::new();
    for (index, mutant) in wanted.iter().enumerate() {
        eprintln!("[{}/{}] {}", index + 1, wanted.len(), mutant.name);
        let caught = is_caught(mutant)?;
        table.add_row([mutant.name, if caught { mutant.test } else { "NO TEST" }]);
        if !caught {
            survivors.push(mutant.name);
        }
    }
    println!("\n{table}");
    if survivors.is_empty() { Ok(()) } else { Err(Error::Mutants { names: survivors.join(", ") }) }
}

fn all() -> impl Iterator<Item = &'static Mutant> {
    MUTANTS.iter().chain(CROSSINGS)
}

fn is_named(mutant: &Mutant, names: &[String]) -> bool {
    names.iter().any(|name| mutant.name.contains(name.as_str()))
}

/// Returns the files of the latest change: uncommitted changes, and the commits since a base.
///
/// In a clone without the base (a shallow one) all files count as changed.
fn touched() -> Result<BTreeSet<String>> {
    let base = env::var(BASE).ok().filter(|base| !base.is_empty());
    let base = base.unwrap_or_else(|| "HEAD~1".to_owned());
    let is_there = Cmd::new("git", &["rev-parse", "--verify", "--quiet", &base]).succeeds();
    let command = if is_there {
        Cmd::new("git", &["diff", "--name-only", &base])
    } else {
        eprintln!("warning: this clone does not contain {base}, so every file counts as touched");
        Cmd::new("git", &["ls-files"])
    };
    Ok(command.capture()?.lines().map(str::to_owned).collect())
}

/// Returns true if the test fails while the line is changed. A mutant that does not compile is an
/// error of the table.
fn is_caught(mutant: &Mutant) -> Result<bool> {
    let path = Path::new(COPY).join(mutant.file);
    let original = fs::read_to_string(&path).map_err(|source| Error::Copy { path: path.clone(), source })?;
    let changed = mutated(mutant, &original)?;
    write(&path, &changed)?;
    let passed = passes(&[mutant]);
    write(&path, &original)?;
    Ok(!passed?)
}

fn mutated(mutant: &Mutant, original: &str) -> Result<String> {
    match original.matches(mutant.find).count() {
        1 => Ok(original.replacen(mutant.find, mutant.replace, 1)),
        found => Err(Error::Mutant { name: mutant.name, file: mutant.file, found }),
    }
}

/// Runs the mutants' tests in the copy. A failed test returns false, any other failure is an error.
fn passes(mutants: &[&Mutant]) -> Result<bool> {
    let exactly = |it: &&Mutant| format!("(package({}) & test(={}))", it.package, it.test);
    let filter: Vec<_> = mutants.iter().map(exactly).collect();
    let packages: BTreeSet<_> = mutants.iter().map(|mutant| mutant.package).collect();
    let features = packages.contains(DATABASES).then(|| format!("--features={DATABASE_FEATURES}"));
    let packages: Vec<_> = packages.iter().map(|package| format!("--package={package}")).collect();
    let targets: BTreeSet<_> = mutants.iter().map(|mutant| target(mutant)).collect();
    let targets: Vec<_> = targets.into_iter().flatten().collect();
    let manifest = format!("{COPY}/Cargo.toml");
    let command = Cmd::cargo(&["nextest", "run", "--manifest-path", &manifest, "--target-dir", BUILD])
        .args(&packages)
        .args(&targets)
        .args(&features.into_iter().collect::<Vec<_>>())
        .args(&["--no-fail-fast", "--ignore-default-filter", "--status-level", "none"].map(str::to_owned))
        .args(&["-E".to_owned(), filter.join(" | ")])
        // Failures are expected, so backtraces are noise, and so are warnings about code that a
        // mutation leaves unused.
        .env("RUST_BACKTRACE", "0")
        // Debug information is not needed, and the same crates are built and linked again for every
        // mutant.
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_TEST_DEBUG", "false")
        .env("RUSTFLAGS", "-Awarnings");
    let status = command.quiet(&[0, 100])?;
    match status.code() {
        Some(0) => Ok(true),
        Some(100) => Ok(false),
        _ => Err(command.failed(status)),
    }
}

/// Returns the arguments that select the one test binary with the mutant's test, so that no other
/// is built.
fn target(mutant: &Mutant) -> Vec<String> {
    let module = mutant.test.split("::").next().unwrap_or_default();
    let tests = Path::new(COPY).join(mutant.package).join("tests");
    let holds = |binary: &str| {
        let folder = tests.join(binary);
        let main = fs::read_to_string(folder.join("main.rs")).unwrap_or_default();
        main.contains(&format!("mod {module};")) || main.contains(&format!("mod {module} {{"))
    };
    let is_unit_test = mutant.test.contains("tests::");
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
        // An unchanged file keeps its modification time, so that only changed files are rebuilt.
        if fs::read(&target).ok().as_ref() != Some(&content) {
            let parent: PathBuf = target.parent().unwrap_or(Path::new(COPY)).to_owned();
            fs::create_dir_all(&parent).map_err(|source| Error::Copy { path: parent, source })?;
            write_bytes(&target, &content)?;
        }
    }
    let known: BTreeSet<_> = files.lines().map(|file| Path::new(COPY).join(file)).collect();
    remove_unknown(Path::new(COPY), &known)
}

/// Removes files of an earlier copy, because a deleted file can break the build.
fn remove_unknown(folder: &Path, known: &BTreeSet<PathBuf>) -> Result<()> {
    let failed = |source| Error::Copy { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            remove_unknown(&path, known)?;
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
    fn every_mutant_finds_its_line_once() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for mutant in all() {
            let original = fs::read_to_string(root.join(mutant.file)).unwrap();
            assert_ne!(mutated(mutant, &original).unwrap(), original, "{}", mutant.name);
        }
    }

    #[test]
    fn there_are_at_least_twelve_mutants_with_unique_names() {
        let names: BTreeSet<_> = all().map(|mutant| mutant.name).collect();
        assert!(names.len() >= 12 && names.len() == all().count());
    }
}
