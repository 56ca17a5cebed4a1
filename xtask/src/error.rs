//! What can go wrong in an xtask command. Every message says what to do next.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

pub(crate) type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot copy {}; is the disk full?", path.display())]
    Copy { path: PathBuf, source: io::Error },
    #[error("{count} of the crates' dependencies go the wrong way:\n{list}")]
    Direction { count: usize, list: String },
    #[error("`{command}` ended with {status}; its output above says why")]
    Failed { command: String, status: ExitStatus },
    #[error("tests are marked #[ignore], so nobody runs them: {names}; remove the attribute or the test")]
    Ignored { names: String },
    #[error(
        "no conformance case was found in the workspace: a suite has vanished. A backend calls \
         `session_store_suite!` inside `mod conformance`; `cargo nextest list --workspace` shows every test"
    )]
    NoConformance,
    #[error(
        "no benchmark figure came back; run `cargo xtask bench` without names to see those that there are"
    )]
    NoFigures,
    #[error("cannot read the output of `{command}` ({reason}); run the command alone and compare its output")]
    Output { command: String, reason: String },
    #[error(
        "the mutant {name:?} finds its line {found} times in {file}, not once; bring its `find` in \
         xtask/src/mutants/table.rs up to date"
    )]
    Mutant { name: &'static str, file: &'static str, found: usize },
    #[error("no mutant's name contains {asked}; there are\n  {all}")]
    NoMutant { asked: String, all: String },
    #[error("no test noticed: {names}; write the test that does, and name it in xtask/src/mutants/table.rs")]
    Mutants { names: String },
    #[error("no step's title contains {asked}; there are\n  {all}")]
    NoStep { asked: String, all: String },
    #[error("not plain: {members}; `cargo xtask prose --list {members}` prints each line")]
    Prose { members: String },
    #[error(transparent)]
    Server(#[from] session_servers::Error),
    #[error("short of the bar: {names}; run `cargo xtask bench {names}` to measure only these")]
    Short { names: String },
    #[error("cannot react to Ctrl-C, so the servers would be left running; try again in a plain shell")]
    Signals { source: ctrlc::Error },
    #[error("cannot start `{command}`; install `{program}` or put it on PATH, then try again")]
    Start { command: String, program: String, source: io::Error },
    #[error("{heading} failed after {after}; to reproduce: {reproduce}")]
    Step { heading: String, after: String, reproduce: String, source: Box<Error> },
    #[error("{what} failed, see above; to run one again: cargo xtask test -- <part of its name>")]
    Tests { what: String },
    #[error("not proved: {titles}; each failure is above, with what reproduces it")]
    Unproved { titles: String },
    #[error("cannot enter {path}; `cargo clean -p xtask` if the checkout was moved")]
    Workspace { path: String, source: io::Error },
}
