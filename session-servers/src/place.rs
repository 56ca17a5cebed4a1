//! Where a server keeps its data, and as whom it runs.

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

/// Memory that looks like a disk.
const MEMORY: &str = "/dev/shm";

/// What must be free there: a benchmark's tables and their log fit, and the machine does not run out of memory.
const ENOUGH: u64 = 2 * 1024 * 1024 * 1024;

/// How much of a log an error shows.
const TAIL: usize = 20;

/// The variables that change what these programs do; a test must not depend on the shell that it is run from.
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

    /// A program that runs as the account, in the folder, and in a process group of its own: Ctrl-C is for its owner.
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

    /// The log, for a process to write to.
    pub(crate) fn open_log(&self) -> Result<File> {
        File::options().create(true).append(true).open(self.log()).map_err(io("write the server's log"))
    }

    /// How much of the log is from earlier.
    pub(crate) fn log_length(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |metadata| metadata.len())
    }

    /// The last lines that were written after the first `skip` bytes.
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
    fn the_tail_of_a_log_is_its_last_lines_since_a_moment() {
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
    fn an_account_that_does_not_exist_has_no_number() {
        assert_eq!(number("-u", "root"), Some(0));
        assert_eq!(number("-u", "no-such-account-here"), None);
    }
}
