//! The process that ends a server whose owner has ended without dropping it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::Result;
use crate::error::io;
use crate::process::Process;

const SCRIPT: &str = include_str!("watchdog.sh");

/// A shell script that waits for the end of its input, a pipe that only the owner holds.
///
/// A parent death signal is not sufficient: it is sent as soon as the *thread* that started the
/// server ends, it does not reach the stopped children of a paused server, and it does not remove
/// the folder.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts the script. From now on, it removes the folder when the owner ends.
    pub(crate) fn start(folder: &Path, quick: Signal) -> Result<Self> {
        let signal = if quick == Signal::QUIT { "QUIT" } else { "KILL" };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "session-servers-watchdog"]).arg(folder).arg(signal);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // The script has its own process group, because a signal to the owner's group must not end
        // it.
        let shell = command.current_dir("/").process_group(0).spawn();
        Ok(Self { shell: shell.map_err(io("start /bin/sh, which watches the server"))? })
    }

    /// Makes the script end this process when the owner ends.
    pub(crate) fn guard(&mut self, process: Process) -> Result<()> {
        self.send(&format!("{} {}\n", process.id(), process.started()))
    }

    /// Makes the script forget the process, which has ended.
    pub(crate) fn release(&mut self) -> Result<()> {
        self.send("\n")
    }

    fn send(&mut self, line: &str) -> Result<()> {
        let Some(pipe) = &mut self.shell.stdin else { return Ok(()) };
        pipe.write_all(line.as_bytes()).map_err(io("reach the script that watches the server"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // `wait` closes the pipe first.
        drop(self.shell.wait());
    }
}
