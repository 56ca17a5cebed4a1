//! Errors of the xtask commands. Every message contains the next step.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot copy {}; is the disk full?", path.display())]
    Copy { path: PathBuf, source: io::Error },
    #[error("{count} dependencies between crates are not allowed:\n{list}")]
    Direction { count: usize, list: String },
    #[error("`{command}` ended with {status}; see its output above")]
    Failed { command: String, status: ExitStatus },
    #[error("tests are marked #[ignore] and never run: {names}; remove the attribute or the test")]
    Ignored { names: String },
    #[error(
        "no conformance case was found in the workspace: a suite is missing. A backend calls \
         `session_store_suite!` inside `mod conformance`; `cargo nextest list --workspace` lists every test"
    )]
    NoConformance,
    #[error("no benchmark figure was measured; run `cargo xtask bench` without names to see all figures")]
    NoFigures,
    #[error("cannot read the output of `{command}` ({reason}); run the command alone and compare its output")]
    Output { command: String, reason: String },
    #[error(
        "the mutant {name:?} finds its line {found} times in {file}, not once; update its `find` in \
         xtask/src/mutants/table.rs"
    )]
    Mutant { name: &'static str, file: &'static str, found: usize },
    #[error("no mutant's name contains {asked}; the mutants are\n  {all}")]
    NoMutant { asked: String, all: String },
    #[error(
        "no test failed for these mutants: {names}; write one that does, and name it in xtask/src/mutants/table.rs"
    )]
    Mutants { names: String },
    #[error("no step's title contains {asked}; the steps are\n  {all}")]
    NoStep { asked: String, all: String },
    #[error("not plain: {members}; `cargo xtask prose --list {members}` prints each line")]
    Prose { members: String },
    #[error(transparent)]
    Server(#[from] session_servers::Error),
    #[error("short of the bar: {names}; run `cargo xtask bench {names}` to measure only these")]
    Short { names: String },
    #[error("cannot handle Ctrl-C, so the servers would be left running; try again in a plain shell")]
    Signals { source: ctrlc::Error },
    #[error("cannot start `{command}`; install `{program}` or put it on PATH, then try again")]
    Start { command: String, program: String, source: io::Error },
    #[error("{heading} failed after {after}; to reproduce: {reproduce}")]
    Step { heading: String, after: String, reproduce: String, source: Box<Error> },
    #[error("{what} failed, see above; to run one again: cargo xtask test -- <part of its name>")]
    Tests { what: String },
    #[error("failed: {titles}; each failure is printed above, with the command that reproduces it")]
    Unproved { titles: String },
    #[error("cannot enter {path}; `cargo clean -p xtask` if the checkout was moved")]
    Workspace { path: String, source: io::Error },
}
