//! The program in its own process.
#![allow(dead_code, reason = "no story needs all of it")]

use std::ffi::OsStr;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// Time limit of every operation.
const PATIENCE: Duration = Duration::from_secs(30);

/// The variables that name the sessions in the store, one for each family of stores.
const NAMES: [&str; 3] = ["SESSION_TABLE", "SESSION_COLLECTION", "SESSION_PREFIX"];

/// A running program. It is killed when dropped.
pub(crate) struct Program {
    pub(crate) url: String,
    /// The lines that it printed at startup.
    pub(crate) printed: Vec<String>,
    process: Child,
    // Keeps the pipe open for later output.
    _lines: Lines<BufReader<ChildStdout>>,
}

/// Returns the command that starts the program on a free port, without the variables that configure
/// it.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_axum-devices"));
    command.args(["--port", "0"]).kill_on_drop(true);
    for name in NAMES.into_iter().chain(["CACHE_URL", "STORE_URL", "DATABASE_URL", "RUST_LOG"]) {
        command.env_remove(name);
    }
    command
}

/// Runs a program that is expected to fail at startup.
pub(crate) async fn output(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

impl Program {
    /// Starts the program on a store, with a name for the table, the collection or the key prefix.
    pub(crate) async fn on(store: impl AsRef<OsStr>, name: &str) -> Self {
        let mut command = command();
        command.env("STORE_URL", store).envs(NAMES.map(|variable| (variable, name)));
        Self::start(command).await
    }

    /// Starts the program on a store, with a Redis cache.
    pub(crate) async fn behind(cache: &str, store: &str) -> Self {
        let mut command = command();
        command.env("STORE_URL", store).env("CACHE_URL", cache);
        Self::start(command).await
    }

    pub(crate) async fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut printed = Vec::new();
        while !printed.iter().any(|line| line == "Stop with Ctrl-C.") {
            let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
            printed.push(line.unwrap_or_else(|| panic!("the program ended after it printed {printed:?}")));
        }
        let url =
            printed.iter().find_map(|line| line.strip_prefix("Windowsill is open: ")).unwrap().to_owned();
        let program = Self { url, printed, process, _lines: lines };
        timeout(PATIENCE, program.answers()).await.unwrap();
        program
    }

    async fn answers(&self) {
        while TcpStream::connect(self.address()).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Sends a signal and waits for the process to end.
    pub(crate) async fn end_by(mut self, signal: Signal) -> ExitStatus {
        let id = self.process.id().and_then(|id| Pid::from_raw(id.try_into().unwrap())).unwrap();
        kill_process(id, signal).unwrap();
        timeout(PATIENCE, self.process.wait()).await.unwrap().unwrap()
    }
}

impl AsRef<str> for Program {
    fn as_ref(&self) -> &str {
        &self.url
    }
}
