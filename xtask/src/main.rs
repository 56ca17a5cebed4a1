//! The commands of the project: `cargo xtask <command>`, locally and in CI.

mod bench;
mod browser;
mod cases;
mod ci;
mod direction;
mod error;
mod members;
mod mutants;
mod process;
mod prose;
mod prove;
mod serve;
mod servers;
mod steps;
mod table;
mod test;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Runs the checks, tests and benchmarks of this workspace")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the benchmarks and prints each figure beside its floor and its bar
    Bench(bench::Arguments),
    /// Runs every check that a change must pass, in the order of CI
    Ci,
    /// Checks the direction of dependencies between the crates, and that session-core stays pure
    Direction,
    /// Breaks one line of a copy at a time, and checks that a test fails
    Mutants(mutants::Arguments),
    /// Counts odd words, wide comments and long test names of each member
    Prose(prose::Arguments),
    /// Runs the checks that take too long for each change: failing servers, many seeds, all
    /// mutants, figures
    Prove {
        /// Parts of the titles of the steps to run; all if none is given
        names: Vec<String>,
    },
    /// Starts ephemeral database servers, prints their addresses and keeps them until Ctrl-C
    Serve(serve::Arguments),
    /// Installs and starts what the tests need, runs the tests of the gate and counts the
    /// conformance cases
    Test {
        /// Arguments for `cargo nextest run`: part of a test's name, or
        /// `-E 'package(session-core)'`
        #[arg(last = true)]
        filters: Vec<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match enter_workspace().and_then(|()| run(&cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Bench(arguments) => bench::run(arguments),
        Command::Ci => ci::run(),
        Command::Direction => direction::run(),
        Command::Mutants(arguments) => mutants::run(&arguments.choice()),
        Command::Prose(arguments) => prose::run(arguments),
        Command::Prove { names } => prove::run(names),
        Command::Serve(arguments) => serve::run(arguments),
        Command::Test { filters } => test::run(filters),
    }
}

/// Changes to the workspace root, so that every command works from any folder.
fn enter_workspace() -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.parent().unwrap_or(manifest);
    std::env::set_current_dir(root)
        .map_err(|source| Error::Workspace { path: root.display().to_string(), source })
}

pub(crate) fn report(error: &Error) {
    eprintln!("\nerror: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        eprintln!("  because: {source}");
        cause = source.source();
    }
}
