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

    /// Both programs come from one folder: several versions may be installed, and a server does not
    /// start on the data of another version.
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
        // There is no Unix socket, because its path would be too long below a deep TMPDIR.
        let mut settings =
            vec!["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
        // Keeps shared memory in files of the data folder, because segments in /dev/shm outlive a
        // killed server.
        settings.push("dynamic_shared_memory_type=mmap");
        if !place.is_durable() {
            settings.extend(["fsync=off", "full_page_writes=off"]);
        }
        for setting in settings {
            command.args(["-c", setting]);
        }
        command
    }

    /// Reads the same file as `pg_ctl`: the first line is the process id, the eighth is the state.
    fn is_ready(&self, place: &Place, _port: u16, pid: u32) -> bool {
        let text = fs::read_to_string(place.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    /// "Fast shutdown": rolls transactions back and flushes the data.
    fn graceful(&self) -> Signal {
        Signal::INT
    }

    /// "Immediate shutdown": same as a crash, but leaves no process and no shared memory.
    fn quick(&self) -> Signal {
        Signal::QUIT
    }

    /// Removes the small segment of shared memory that guards a data folder, which would stay until
    /// the next start, because there is no next start. Its id is the second number in the seventh
    /// line.
    fn clean_up(&self, place: &Place) {
        let text = fs::read_to_string(place.data().join("postmaster.pid")).unwrap_or_default();
        let id = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
        if let Some(id) = id {
            // Ignores an error, because the segment may not exist any more.
            drop(Command::new("ipcrm").args(["-m", id]).output());
        }
    }
}
