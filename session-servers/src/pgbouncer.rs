//! PgBouncer, a connection pooler for PostgreSQL.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::io;
use crate::install::Packages;
use crate::place::Place;
use crate::port::Port;
use crate::process::{POLL, Process, wait_until};
use crate::recipe::version_of;
use crate::testing::unless_missing;
use crate::watchdog::Watchdog;
use crate::{Error, Kind, Options, Result, Server, find, is_required};

const TITLE: &str = "PgBouncer";
const PACKAGES: Packages = Packages { title: TITLE, names: &["pgbouncer"], variable: None };

/// The start is short, because there is nothing to recover.
const START: Duration = Duration::from_secs(10);
const END: Duration = Duration::from_secs(10);

/// The number of ports to try, because another process may take a port that was just free.
const PORTS: usize = 5;

/// The log text that PgBouncer writes once it listens.
const READY: &str = "process up";

/// The first version that tracks prepared statements across connections, and the setting that
/// enables it. It is off by default before 1.24.
const TRACKING_SINCE: (u32, u32) = (1, 21);
const TRACKING: &str = "max_prepared_statements = 200\n";

/// A running ephemeral PgBouncer. Dropping it ends the process.
///
/// It pools transactions on 4 connections, and tracks prepared statements if its version supports
/// it.
pub struct PgBouncer {
    version: String,
    port: Port,
    child: Option<Child>,
    place: Place,
    // The last field, because it removes the folder if `place` could not.
    watchdog: Watchdog,
}

impl PgBouncer {
    /// Returns true if PgBouncer is installed on this machine.
    #[must_use]
    pub fn installed() -> bool {
        program().is_some()
    }

    /// Installs the Debian package if it is missing, and prints a line about it. Does not start the
    /// service.
    ///
    /// # Errors
    /// Same as [`Kind::install`].
    pub fn install() -> Result<()> {
        PACKAGES.install(Self::installed)
    }

    /// Starts a PgBouncer in front of a PostgreSQL server, and waits until it listens.
    ///
    /// # Errors
    /// [`Error::NotInstalled`] if PgBouncer is not installed, see [`install`](Self::install).
    /// [`Error::Start`] contains the end of its log.
    pub fn in_front_of(server: &Server) -> Result<Self> {
        Self::in_front_of_with(server, &Options::default())
    }

    /// Same as [`in_front_of`](Self::in_front_of), with settings, which are lines of the
    /// configuration such as `pool_mode = session`. They follow the crate's own settings, and so
    /// override them.
    ///
    /// # Errors
    /// Same as [`in_front_of`](Self::in_front_of).
    pub fn in_front_of_with(server: &Server, options: &Options) -> Result<Self> {
        let program = program().ok_or_else(|| PACKAGES.not_installed())?;
        // Uses the account of the PostgreSQL server, because PgBouncer must not run as root either.
        let place = Place::new(Kind::Postgres, false)?;
        let watchdog = Watchdog::start(place.folder(), Signal::KILL)?;
        let version = version_of(&program, TITLE);
        let port = || Port::free().map_err(io("find a free port"));
        let mut bouncer = Self { version, port: port()?, child: None, place, watchdog };
        let mut attempts = 0;
        loop {
            attempts += 1;
            let config = bouncer.configuration(server.port(), &options.settings);
            fs::write(bouncer.config(), config).map_err(io("write the configuration of PgBouncer"))?;
            match bouncer.launch(&program) {
                Err(error) if error.is_port_taken() && attempts < PORTS => bouncer.port = port()?,
                result => return result.map(|()| bouncer),
            }
        }
    }

    /// Starts a PgBouncer for a test, as [`Server::for_test`] does. If a PostgreSQL server is
    /// required, PgBouncer is required too, and this method installs it.
    ///
    /// # Errors
    /// Same as [`in_front_of_with`](Self::in_front_of_with). A missing PgBouncer is an error only
    /// if it is required.
    pub fn for_test(server: &Server, options: &Options) -> Result<Option<Self>> {
        if is_required(Kind::Postgres) {
            Self::install()?;
        }
        unless_missing(TITLE, Self::installed(), || Self::in_front_of_with(server, options))
    }

    /// Returns the product name and version: `PgBouncer 1.18.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns true if this version tracks which connection has which prepared statement. A version
    /// that does not may run another client's statement.
    #[must_use]
    pub fn tracks_prepared_statements(&self) -> bool {
        number(&self.version).is_some_and(|version| version >= TRACKING_SINCE)
    }

    /// Returns the URL for clients, which replaces the server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        Kind::Postgres.recipe().url(self.port.number())
    }

    fn config(&self) -> PathBuf {
        self.place.folder().join("pgbouncer.ini")
    }

    fn configuration(&self, server: u16, settings: &[String]) -> String {
        let port = self.port.number();
        let tracking = if self.tracks_prepared_statements() { TRACKING } else { "" };
        format!(
            "[databases]\n* = host=127.0.0.1 port={server} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = 4\n{tracking}{}\n",
            settings.join("\n")
        )
    }

    fn launch(&mut self, program: &Path) -> Result<()> {
        let log = self.place.open_log()?;
        let logged = self.place.log_length();
        let mut command = self.place.command(program);
        command.arg(self.config());
        command.stdout(log.try_clone().map_err(io("write the log of PgBouncer"))?).stderr(log);
        let child = command.spawn().map_err(io(format!("start {}", program.display())))?;
        let process = Process::of(child.id());
        self.child = Some(child);
        if let Some(process) = process {
            self.watchdog.guard(process)?;
        }
        let Err(why) = self.wait_until_ready(logged) else { return Ok(()) };
        self.end()?;
        Err(Error::Start { title: TITLE, port: self.port.number(), why, log: self.place.log_tail(logged) })
    }

    /// Waits until PgBouncer listens. The error is the reason why it will not.
    fn wait_until_ready(&mut self, logged: u64) -> std::result::Result<(), String> {
        let deadline = Instant::now() + START;
        while !self.place.log_tail(logged).contains(READY) {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                return Err(format!("it ended with {status}"));
            }
            if Instant::now() >= deadline {
                return Err(format!("it was not listening after {} seconds", START.as_secs()));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Kills the process, which has nothing to flush.
    fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(process) = Process::of(child.id()) {
            process.signal(Signal::KILL).map_err(io(format!("end {TITLE}")))?;
            wait_until(END, || process.is_gone());
        }
        child.wait().map_err(io(format!("wait for the end of {TITLE}")))?;
        self.watchdog.release()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // If this fails, the watchdog ends the process.
        drop(self.end());
    }
}

impl fmt::Debug for PgBouncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgBouncer")
            .field("version", &self.version)
            .field("url", &self.url())
            .field("folder", &self.place.folder())
            .finish_non_exhaustive()
    }
}

fn program() -> Option<PathBuf> {
    find::program("pgbouncer")
}

/// Parses the first two numbers of a version such as `PgBouncer 1.18.0`.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split_whitespace().last()?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(number("PgBouncer 1.18.0"), Some((1, 18)));
        assert!(number("PgBouncer 1.9.0").unwrap() < TRACKING_SINCE);
        assert!(number("PgBouncer 1.24.1").unwrap() >= TRACKING_SINCE);
        assert_eq!(number("PgBouncer"), None);
    }
}
