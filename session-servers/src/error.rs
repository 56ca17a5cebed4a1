//! What can go wrong with a throw-away server.

use std::io;
use std::path::PathBuf;

use crate::Kind;

/// The result of whatever this crate does.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server cannot be had, or did not do what it was told. Every message says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This is run as root, a server does not run as root, and the account that it would run as does not exist.
    #[error(
        "root must not run {kind}, and there is no account `{account}`; create it: useradd --system {account}"
    )]
    Account {
        /// The kind of server.
        kind: Kind,
        /// The account that is missing.
        account: &'static str,
    },
    /// There is no folder for what is built.
    #[error("this user has no home folder to keep a program in; set {variable} to the absolute path of one")]
    Cache {
        /// The variable that names a folder.
        variable: &'static str,
    },
    /// A folder, a file or a process of the operating system.
    #[error("cannot {what}; are disk and memory full, or permissions missing?")]
    Io {
        /// What was attempted.
        what: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The package manager, or what builds a program that no package has, failed.
    #[error(
        "cannot install {title}: `{command}` failed, its output above says why; install it by hand, then try again"
    )]
    Install {
        /// What was to be installed.
        title: &'static str,
        /// The command that failed.
        command: String,
    },
    /// No such server is on this machine, and it cannot be installed from here.
    #[error("{title} is not installed; {how}")]
    NotInstalled {
        /// What is missing.
        title: &'static str,
        /// What to do.
        how: String,
    },
    /// The server runs, and what was asked for needs one that does not.
    #[error("{kind} is running; stop or kill it before it is started again")]
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
        /// Its last lines.
        log: String,
    },
    /// The server ended, or did not answer in time, when it was started.
    #[error("{title} did not start on port {port}: {why}; the end of its log:\n{log}")]
    Start {
        /// What was started.
        title: &'static str,
        /// The port that it was given.
        port: u16,
        /// How it is known.
        why: String,
        /// Its last lines.
        log: String,
    },
    /// The server does not run, and what was asked for needs one that does.
    #[error("{kind} is not running; call `start_again` first")]
    Stopped {
        /// The kind of server.
        kind: Kind,
    },
    /// The processes of the server did not stop when told so.
    #[error(
        "{count} processes of {kind} did not {what} in time; look at them with `ps -o pid,stat,args -p {pids}`"
    )]
    Stubborn {
        /// The kind of server.
        kind: Kind,
        /// What they were told.
        what: &'static str,
        /// How many did not.
        count: usize,
        /// Their ids, separated by commas.
        pids: String,
    },
    /// The name of no kind of server.
    #[error("there is no server {name:?}; the kinds are: {kinds}")]
    Unknown {
        /// The name that was given.
        name: String,
        /// All names.
        kinds: String,
    },
    /// The folder that the server's data should be in.
    #[error("cannot make a folder in {}; set TMPDIR to one that can be written", path.display())]
    Folder {
        /// The parent of the folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
}

impl Error {
    /// Whether the server could not have its port, so that it is worth trying another.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Start { log, .. } if log.contains("Address already in use"))
    }
}

/// For `map_err`: names what was attempted.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what: what.into(), source }
}
