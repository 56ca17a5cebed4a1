//! SecantusDB, which speaks the protocol of MongoDB over MongoDB's own storage engine.
//!
//! No registry has a package of MongoDB itself. SecantusDB is under GPL-2.0: this crate runs its
//! programs, and no crate links them.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::cache::Build;
use crate::find;
use crate::place::Place;
use crate::process::Process;
use crate::recipe::{Programs, Recipe};

const RUST: Build = Build {
    program: "secantus-mdb",
    version: "0.5.3-beta.196",
    path: "bin/secantusd-rs",
    duration: "five minutes on two cores",
    tools: "the build tools of SecantusDB's Rust server",
    has_tools: || ["c++", "cc", "cmake", "make"].iter().all(|tool| find::program(tool).is_some()),
    commands: cargo_install,
};

const PYTHON: Build = Build {
    program: "SecantusDB",
    version: "0.7.0b3",
    path: "bin/python",
    duration: "half a minute",
    tools: "the Python for SecantusDB's Python server",
    has_tools: has_venv,
    commands: pip_install,
};

/// Enough optimisation for tests, at about half the build time.
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// The variants of the server.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Mongodb {
    /// The Rust server as a replica set.
    ReplicaSet,
    /// The Python server, which is slow, has no dates beyond the year 9999, and supports
    /// `configureFailPoint`.
    FailPoints,
    /// The Rust server without a replica set.
    Standalone,
}

impl Recipe for Mongodb {
    fn name(&self) -> &'static str {
        match self {
            Self::ReplicaSet => "mongodb",
            Self::FailPoints => "mongodb_fail_points",
            Self::Standalone => "mongodb_standalone",
        }
    }

    fn title(&self) -> &'static str {
        if self.is_rust() { "SecantusDB's Rust server" } else { "SecantusDB's Python server" }
    }

    fn variable(&self) -> &'static str {
        match self {
            Self::ReplicaSet => "SESSION_TEST_MONGODB_URL",
            Self::FailPoints => "SESSION_TEST_MONGODB_FAIL_POINTS_URL",
            Self::Standalone => "SESSION_TEST_MONGODB_STANDALONE_URL",
        }
    }

    fn packages(&self) -> &'static [&'static str] {
        if self.is_rust() { &["cmake", "g++", "make"] } else { &["python3-venv"] }
    }

    fn build(&self) -> Option<&'static Build> {
        Some(self.built())
    }

    /// No package creates an account for it, and no other account can read root's home folder.
    fn account(&self) -> &'static str {
        "root"
    }

    fn programs(&self) -> Option<Programs> {
        Some(Programs { setup: None, server: self.built().find()? })
    }

    fn version(&self, _programs: &Programs) -> String {
        format!("SecantusDB {}", self.built().version)
    }

    fn start(&self, programs: &Programs, place: &Place, port: u16) -> Command {
        let mut command = place.command(&programs.server);
        command.args(match self {
            Self::ReplicaSet => &["--log-file-max", "16MB"][..],
            Self::FailPoints => &["-m", "secantus", "--enable-test-commands"],
            Self::Standalone => &["--log-file-max", "16MB", "--standalone"],
        });
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--storage-path").arg(place.data());
        command.args(["--cache-size", "256M", "--log-level", "WARNING"]);
        if place.is_durable() {
            command.arg("--sync-on-commit");
        }
        command
    }

    /// The server listens once it has opened its data.
    fn is_ready(&self, _place: &Place, port: u16, pid: u32) -> bool {
        Process::of(pid).is_some_and(|process| process.listens_on(port))
    }

    /// The URL has no `directConnection`, so that a driver detects by itself whether the server is
    /// a replica set.
    fn url(&self, port: u16) -> String {
        format!("mongodb://127.0.0.1:{port}/test")
    }

    fn graceful(&self) -> Signal {
        Signal::TERM
    }

    /// The server leaves nothing outside of its folder.
    fn quick(&self) -> Signal {
        Signal::KILL
    }
}

impl Mongodb {
    fn is_rust(&self) -> bool {
        *self != Self::FailPoints
    }

    fn built(&self) -> &'static Build {
        if self.is_rust() { &RUST } else { &PYTHON }
    }
}

fn cargo_install(root: &Path, scratch: &Path) -> Vec<Command> {
    let mut command = Command::new("cargo");
    // The package requires a newer compiler than it needs.
    command.args(["install", "--locked", "--ignore-rust-version", RUST.program]);
    command.arg(format!("--version={}", RUST.version));
    command.arg("--root").arg(root).arg("--target-dir").arg(scratch);
    command.envs(PROFILE.iter().copied());
    vec![command]
}

/// Installs the Python server into a virtual environment. The server runs as a module, because the
/// scripts of a moved virtual environment do not find their Python.
fn pip_install(root: &Path, _scratch: &Path) -> Vec<Command> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(root);
    let mut pip = Command::new(root.join("bin/python"));
    pip.args(["-m", "pip", "install", "--disable-pip-version-check"]);
    pip.arg(format!("{}=={}", PYTHON.program, PYTHON.version));
    vec![venv, pip]
}

/// Returns true if Python has the module `venv`, which Debian packages separately.
fn has_venv() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]).stdin(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}
