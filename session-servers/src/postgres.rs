//! PostgreSQL.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::place::Place;
use crate::recipe::{Programs, Recipe};
use crate::{Result, find};

#[derive(Debug)]
pub(crate) struct Postgres;

impl Recipe for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn title(&self) -> &'static str {
        "PostgreSQL"
    }

    fn variable(&self) -> &'static str {
        "SESSION_TEST_POSTGRES_URL"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["postgresql"]
    }

    fn account(&self) -> &'static str {
        "postgres"
    }

    /// Both from one folder: several versions may be installed, and one does not start the other's data.
    fn programs(&self) -> Option<Programs> {
        let folder = find::folder_of(&["initdb", "postgres"])?;
        Some(Programs { setup: Some(folder.join("initdb")), server: folder.join("postgres") })
    }

    fn setup(&self, program: &Path, place: &Place) -> Result<Command> {
        let mut command = place.command(program);
        command.arg("-D").arg(place.data());
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        if !place.is_durable() {
            command.arg("--no-sync");
        }
        Ok(command)
    }

    fn start(&self, programs: &Programs, place: &Place, port: u16) -> Command {
        let mut command = place.command(&programs.server);
        command.arg("-D").arg(place.data()).args(["-p", &port.to_string()]);
        // No Unix socket: its path would be too long below a deep TMPDIR.
        let mut settings =
            vec!["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
        // Segments in files of the data folder: those in /dev/shm would outlive a killed server.
        settings.push("dynamic_shared_memory_type=mmap");
        if !place.is_durable() {
            settings.extend(["fsync=off", "full_page_writes=off"]);
        }
        for setting in settings {
            command.args(["-c", setting]);
        }
        command
    }

    /// `pg_ctl` reads the same file: the first line is the process, the eighth its state.
    fn is_ready(&self, place: &Place, _port: u16, pid: u32) -> bool {
        let text = fs::read_to_string(place.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    /// "Fast shutdown": transactions are rolled back, the data is flushed.
    fn graceful(&self) -> Signal {
        Signal::INT
    }

    /// "Immediate shutdown": as after a crash, but with no process and no shared memory left.
    fn quick(&self) -> Signal {
        Signal::QUIT
    }

    /// The small segment of shared memory that guards a data folder stays until the next start, and there is none. Its id is the
    /// second number in the seventh line.
    fn clean_up(&self, place: &Place) {
        let text = fs::read_to_string(place.data().join("postmaster.pid")).unwrap_or_default();
        let id = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(id) = id {
            // It may be gone already, and then there is nothing to do.
            drop(Command::new("ipcrm").args(["-m", id]).output());
        }
    }
}
