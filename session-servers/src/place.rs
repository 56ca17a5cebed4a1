//! The folder of a server, and the account that it runs as.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::error::io;
use crate::{Error, Kind, Result};

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// The space that must be free there, so that a benchmark's tables and their log fit, and the
/// machine does not run out of memory.
const ENOUGH: u64 = 2 * 1024 * 1024 * 1024;

/// The number of log lines that an error shows.
const TAIL: usize = 20;

/// The prefixes of environment variables that affect the programs. They are removed, so that a test
/// does not depend on the shell that runs it.
const FOREIGN: &[&str] = &["PG", "MYSQL", "MARIADB", "PYTHON", "SECANTUS"];

/// A temporary folder, owned by the account that the server runs as.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    account: Option<Account>,
    is_durable: bool,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Place {
    pub(crate) fn new(kind: Kind, is_durable: bool) -> Result<Self> {
        let parent = parent(is_durable);
        let prefix = format!("session-{}-", kind.name());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent);
        let folder = folder.map_err(|source| Error::Folder { path: parent, source })?;
        let account = if geteuid().is_root() { Some(Account::of(kind)?) } else { None };
        if let Some(Account { user, group }) = account {
            chown(folder.path(), Some(user), Some(group))
                .map_err(io("give the data folder to the server"))?;
        }
        Ok(Self { folder, account, is_durable })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// Returns a command that runs the program as the account, in the folder, and in its own
    /// process group, so that Ctrl-C reaches only the owner.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder()).stdin(Stdio::null()).process_group(0);
        for (name, _) in env::vars_os() {
            if FOREIGN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").env("HOME", self.folder()).env("TMPDIR", self.folder());
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// Opens the log for appending.
    pub(crate) fn open_log(&self) -> Result<File> {
        File::options().create(true).append(true).open(self.log()).map_err(io("write the server's log"))
    }

    /// Returns the current length of the log in bytes.
    pub(crate) fn log_length(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |metadata| metadata.len())
    }

    /// Returns the last lines of the log after the first `skip` bytes.
    pub(crate) fn log_tail(&self, skip: u64) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let text = String::from_utf8_lossy(bytes.get(skip..).unwrap_or_default()).into_owned();
        let lines: Vec<_> = text.lines().map(|line| format!("  {line}")).collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.folder().join("log")
    }
}

impl Account {
    fn of(kind: Kind) -> Result<Self> {
        let account = kind.recipe().account();
        let missing = || Error::Account { kind, account };
        let user = number("-u", account).ok_or_else(missing)?;
        let group = number("-g", account).ok_or_else(missing)?;
        Ok(Self { user, group })
    }
}

fn number(option: &str, account: &str) -> Option<u32> {
    let output = Command::new("id").args([option, account]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn parent(is_durable: bool) -> PathBuf {
    let free = rustix::fs::statvfs(MEMORY).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if !is_durable && free >= ENOUGH && is_writable(Path::new(MEMORY)) {
        PathBuf::from(MEMORY)
    } else {
        env::temp_dir()
    }
}

fn is_writable(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn durable_data_is_not_kept_in_memory() {
        assert_eq!(parent(true), env::temp_dir());
    }

    #[test]
    fn tail_of_a_log_skips_earlier_runs() {
        let place = Place { folder: tempfile::tempdir().unwrap(), account: None, is_durable: false };
        let mut log = place.open_log().unwrap();
        writeln!(log, "of an earlier run").unwrap();
        let skip = place.log_length();
        assert_eq!(place.log_tail(skip), "");
        (0..TAIL + 1).for_each(|number| writeln!(log, "line {number}").unwrap());
        let tail = place.log_tail(skip);
        assert!(tail.starts_with("  line 1\n") && tail.ends_with("  line 20"), "{tail}");
    }

    #[test]
    fn missing_account_has_no_number() {
        assert_eq!(number("-u", "root"), Some(0));
        assert_eq!(number("-u", "no-such-account-here"), None);
    }
}
