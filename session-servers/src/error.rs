//! The errors of ephemeral servers.

use std::io;
use std::path::PathBuf;

use crate::Kind;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of an ephemeral server. Every message suggests the next step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Root starts a server that must not run as root, and the account for it does not exist.
    #[error(
        "root must not run {kind}, and there is no account `{account}`; create it: useradd --system {account}"
    )]
    Account {
        /// The kind of server.
        kind: Kind,
        /// The missing account.
        account: &'static str,
    },
    /// There is no folder for built programs.
    #[error(
        "this user has no home folder for built programs; set {variable} to the absolute path of a folder"
    )]
    Cache {
        /// The environment variable for the folder.
        variable: &'static str,
    },
    /// An operation on a folder, a file or a process failed.
    #[error("cannot {what}; are disk and memory full, or permissions missing?")]
    Io {
        /// The attempted operation.
        what: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The package manager, or the build of a program without a package, failed.
    #[error(
        "cannot install {title}: `{command}` failed, see its output above; install it by hand, then try again"
    )]
    Install {
        /// The product name.
        title: &'static str,
        /// The command that failed.
        command: String,
    },
    /// The server is not on this machine, and this process cannot install it.
    #[error("{title} is not installed; {how}")]
    NotInstalled {
        /// The product name.
        title: &'static str,
        /// How to install or replace it.
        how: String,
    },
    /// The operation requires a server that is not running.
    #[error("{kind} is running; stop or kill it before you start it again")]
    Running {
        /// The kind of server.
        kind: Kind,
    },
    /// The data folder could not be filled.
    #[error("cannot prepare the data folder of {kind}: `{command}` failed; the end of its output:\n{log}")]
    Setup {
        /// The kind of server.
        kind: Kind,
        /// The command that failed.
        command: String,
        /// The last lines of its output.
        log: String,
    },
    /// The server ended during its start, or did not become ready in time.
    #[error("{title} did not start on port {port}: {why}; the end of its log:\n{log}")]
    Start {
        /// The product name.
        title: &'static str,
        /// The port of the server.
        port: u16,
        /// The reason.
        why: String,
        /// The last lines of its log.
        log: String,
    },
    /// The operation requires a running server.
    #[error("{kind} is not running; call `start_again` first")]
    Stopped {
        /// The kind of server.
        kind: Kind,
    },
    /// Processes of the server did not react to a signal in time.
    #[error(
        "{count} processes of {kind} did not {what} in time; look at them with `ps -o pid,stat,args -p {pids}`"
    )]
    Stubborn {
        /// The kind of server.
        kind: Kind,
        /// The expected reaction.
        what: &'static str,
        /// The number of processes that did not react.
        count: usize,
        /// The process ids, separated by commas.
        pids: String,
    },
    /// The name is not a kind of server.
    #[error("there is no server {name:?}; the kinds are: {kinds}")]
    Unknown {
        /// The unknown name.
        name: String,
        /// All known names.
        kinds: String,
    },
    /// The folder for the server's data cannot be created.
    #[error("cannot create a folder in {}; set TMPDIR to a writable folder", path.display())]
    Folder {
        /// The parent of the folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl Error {
    /// Returns true if the server could not bind its port, so that another port may work.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Start { log, .. } if log.contains("Address already in use"))
    }
}

/// Returns a function for `map_err` that adds the attempted operation to an error.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what: what.into(), source }
}
