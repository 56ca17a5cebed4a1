//! A running server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::io;
use crate::place::Place;
use crate::port::Port;
use crate::process::{POLL, Process, wait_until};
use crate::recipe::{Programs, Recipe};
use crate::watchdog::Watchdog;
use crate::{Error, Kind, Options, Result, install};

/// The longest start of a server, including recovery after a crash.
const START: Duration = Duration::from_secs(60);

/// The longest orderly shutdown of a server.
const STOP: Duration = Duration::from_secs(20);

/// The longest reaction time to a signal that a process cannot ignore.
const SIGNAL: Duration = Duration::from_secs(10);

/// The longest wait for a resumed process.
const AWAKE: Duration = Duration::from_secs(5);

/// The number of ports to try, because another process may take a port that was just free.
const PORTS: usize = 5;

/// A running ephemeral server. Dropping it ends the server and deletes its data.
pub struct Server {
    kind: Kind,
    recipe: &'static dyn Recipe,
    programs: Programs,
    version: String,
    settings: Vec<String>,
    port: Port,
    child: Option<Child>,
    /// The stopped processes. They cannot end by themselves if another process kills the server.
    paused: Vec<Process>,
    place: Place,
    // The last field, because it removes the folder if `place` could not.
    watchdog: Watchdog,
}

impl Server {
    /// Starts a server with the default options, and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::NotInstalled`] if the server is not installed on this machine, see
    /// [`Kind::install`]. [`Error::Setup`] and [`Error::Start`] contain the end of the server's
    /// log.
    pub fn start(kind: Kind) -> Result<Self> {
        Self::start_with(kind, &Options::default())
    }

    /// Starts a server with these options, and waits until it is ready.
    ///
    /// # Errors
    /// Same as [`start`](Self::start).
    pub fn start_with(kind: Kind, options: &Options) -> Result<Self> {
        Self::start_as(kind, kind.recipe(), options)
    }

    /// Starts a server of this kind by another recipe, such as a cluster node.
    pub(crate) fn start_as(kind: Kind, recipe: &'static dyn Recipe, options: &Options) -> Result<Self> {
        Self::start_on(kind, recipe, options, || Port::free().map_err(io("find a free port")))
    }

    fn start_on(
        kind: Kind,
        recipe: &'static dyn Recipe,
        options: &Options,
        mut port: impl FnMut() -> Result<Port>,
    ) -> Result<Self> {
        let programs = recipe.programs().ok_or_else(|| install::not_installed(recipe))?;
        let place = Place::new(kind, options.durable)?;
        let watchdog = Watchdog::start(place.folder(), recipe.quick())?;
        let version = recipe.version(&programs);
        let settings = options.settings.clone();
        let (taken, child, paused) = (port()?, None, Vec::new());
        let mut server =
            Self { kind, recipe, programs, version, settings, port: taken, child, paused, place, watchdog };
        server.set_up()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match server.launch() {
                Err(error) if error.is_port_taken() && attempts < PORTS => server.port = port()?,
                result => return result.map(|()| server),
            }
        }
    }

    /// Returns the kind of server.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the product name and version: `PostgreSQL 15.14`, `MariaDB 10.11.19`, `Redis
    /// 7.0.15`, `SecantusDB 0.5.3-beta.196`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the URL for clients, which connect as the superuser and without a password.
    #[must_use]
    pub fn url(&self) -> String {
        self.recipe.url(self.port())
    }

    /// Returns the Unix socket for clients, if there is one. Redis has one.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        self.recipe.socket(&self.place)
    }

    /// Returns the port of the loopback address on which the server listens. A restarted server
    /// keeps its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the id of the server's process. For PostgreSQL, it is the parent of the processes
    /// that serve the connections. Returns `None` after [`kill`](Self::kill) and
    /// [`stop`](Self::stop).
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Returns the folder of the data and the log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.place.folder()
    }

    /// Suspends all processes of the server: connections stay open, but get no reply, as if the
    /// network dropped all packets. SecantusDB's Rust server closes idle connections after it is
    /// resumed.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the server is not running.
    pub fn pause(&mut self) -> Result<()> {
        let parent = self.process()?;
        // Stops the parent first, because a stopped parent starts no new children.
        self.freeze(&[parent])?;
        let children = parent.children();
        self.freeze(&children)
    }

    fn freeze(&mut self, processes: &[Process]) -> Result<()> {
        self.paused.extend(processes);
        send(processes, Signal::STOP)?;
        self.expect(processes, "stop", |process| process.is_stopped() || process.is_gone())
    }

    /// Resumes a paused server. Does nothing if the server is not paused.
    ///
    /// # Errors
    /// If the processes cannot be signalled.
    pub fn resume(&mut self) -> Result<()> {
        send(&self.paused, Signal::CONT)?;
        // Waits until the processes are awake: a signal that arrives before the first thread is
        // awake goes to another thread, and Python ignores it there. A process is awake once it has
        // been seen asleep. One that works without a pause is awake too, so the wait has a limit.
        wait_until(AWAKE, || {
            self.paused.retain(|process| !process.is_asleep() && !process.is_gone());
            self.paused.is_empty()
        });
        self.paused.clear();
        Ok(())
    }

    /// Kills all processes of the server at once, as in a crash. Data that was not flushed is lost.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the server is not running.
    pub fn kill(&mut self) -> Result<()> {
        let parent = self.process()?;
        send(&[parent], Signal::STOP)?;
        self.expect(&[parent], "stop", |process| process.is_stopped() || process.is_gone())?;
        let mut all = parent.children();
        all.push(parent);
        send(&all, Signal::KILL)?;
        self.expect(&all, "end", Process::is_gone)?;
        self.ended()
    }

    /// Shuts the server down in order, as a service manager does, without waiting for its clients.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the server is not running, and [`Error::Stubborn`] if it does not end.
    pub fn stop(&mut self) -> Result<()> {
        let signal = self.recipe.graceful();
        self.end(signal, STOP)
    }

    /// Restarts a server that was killed or stopped, on the same port and with the same data, and
    /// waits until it is ready.
    ///
    /// # Errors
    /// [`Error::Running`] if the server is running. Otherwise same as [`start`](Self::start).
    pub fn start_again(&mut self) -> Result<()> {
        if self.process().is_ok() {
            return Err(Error::Running { kind: self.kind });
        }
        self.launch()
    }

    fn end(&mut self, signal: Signal, patience: Duration) -> Result<()> {
        let parent = self.process()?;
        self.resume()?;
        send(&[parent], signal)?;
        if !wait_until(patience, || parent.is_gone()) {
            return Err(self.stubborn(&[parent], "end"));
        }
        self.ended()
    }

    /// Reads the exit code of the process, which has ended, so that its id is released.
    fn ended(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.wait().map_err(io("wait for the server's end"))?;
        }
        self.paused.clear();
        self.watchdog.release()
    }

    fn process(&mut self) -> Result<Process> {
        let stopped = Error::Stopped { kind: self.kind };
        let process = self.child.as_ref().and_then(|child| Process::of(child.id()));
        process.filter(|process| !process.is_gone()).ok_or(stopped)
    }

    fn set_up(&mut self) -> Result<()> {
        let Some(program) = &self.programs.setup else { return Ok(()) };
        let mut command = self.recipe.setup(program, &self.place)?;
        let log = self.place.open_log()?;
        command.stdout(log.try_clone().map_err(io("write the server's log"))?).stderr(log);
        let what = command.get_program().display().to_string();
        let mut child = command.spawn().map_err(io(format!("start {what}")))?;
        if let Some(process) = Process::of(child.id()) {
            self.watchdog.guard(process)?;
        }
        let status = child.wait().map_err(io(format!("wait for {what}")))?;
        self.watchdog.release()?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Setup { kind: self.kind, command: format!("{command:?}"), log: self.place.log_tail(0) })
    }

    fn launch(&mut self) -> Result<()> {
        // The previous process may have ended by itself, or because it could not bind its port.
        self.ended()?;
        let log = self.place.open_log()?;
        let logged = self.place.log_length();
        let mut command = self.recipe.start(&self.programs, &self.place, self.port());
        command.args(&self.settings);
        command.stdout(log.try_clone().map_err(io("write the server's log"))?).stderr(log);
        let child = command.spawn().map_err(io(format!("start {}", self.programs.server.display())))?;
        let process = Process::of(child.id());
        self.child = Some(child);
        if let Some(process) = process {
            self.watchdog.guard(process)?;
        }
        let Err(why) = self.wait_until_ready() else { return Ok(()) };
        // The process may have ended by itself.
        drop(self.kill());
        Err(self.failed_since(logged, why))
    }

    /// Returns the error for a started server that does not work as required.
    pub(crate) fn failed(&self, why: String) -> Error {
        self.failed_since(0, why)
    }

    fn failed_since(&self, logged: u64, why: String) -> Error {
        let title = self.recipe.title();
        Error::Start { title, port: self.port(), why, log: self.place.log_tail(logged) }
    }

    /// Waits until the server is ready. The error is the reason why it will not be.
    fn wait_until_ready(&mut self) -> std::result::Result<(), String> {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.exit_status() {
                return Err(format!("it ended with {status}"));
            }
            let pid = self.pid().unwrap_or_default();
            if self.recipe.is_ready(&self.place, self.port(), pid) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("it was not ready after {} seconds", START.as_secs()));
            }
            std::thread::sleep(POLL);
        }
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    fn expect(
        &self,
        processes: &[Process],
        what: &'static str,
        is_so: impl Fn(&Process) -> bool,
    ) -> Result<()> {
        let in_time = wait_until(SIGNAL, || processes.iter().all(&is_so));
        if in_time { Ok(()) } else { Err(self.stubborn(processes, what)) }
    }

    fn stubborn(&self, processes: &[Process], what: &'static str) -> Error {
        let pids: Vec<_> = processes.iter().map(|process| process.id().to_string()).collect();
        Error::Stubborn { kind: self.kind, what, count: processes.len(), pids: pids.join(",") }
    }
}

fn send(processes: &[Process], signal: Signal) -> Result<()> {
    processes.iter().try_for_each(|process| {
        process.signal(signal).map_err(io(format!("send a signal to process {}", process.id())))
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        let paused = self.paused.clone();
        let quick = self.recipe.quick();
        if quick == Signal::KILL || self.end(quick, SIGNAL).is_err() {
            drop(self.kill());
        }
        // Kills stopped children whose parent was killed by another process.
        drop(send(&paused, Signal::KILL));
        // Reads the exit code of a process that has ended by itself.
        drop(self.child.as_mut().map(Child::try_wait));
        self.recipe.clean_up(&self.place);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("version", &self.version)
            .field("url", &self.url())
            .field("pid", &self.pid())
            .field("folder", &self.folder())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::{Redis, bus_port};
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn a_port_in_use_is_replaced() {
        for &kind in Kind::ALL.iter().filter(|kind| kind.installed() || crate::is_required(**kind)) {
            let holder = Server::start(kind).unwrap();
            let taken = holder.port();
            let mut ports = vec![Port::free().unwrap(), Port::unclaimed(taken), Port::unclaimed(taken)];
            let mut next = || Ok(ports.pop().unwrap());
            let server = Server::start_on(kind, kind.recipe(), &Options::default(), &mut next).unwrap();
            assert_ne!(server.port(), taken);
            assert!(ports.is_empty());
        }
    }

    #[test]
    fn cluster_node_needs_two_ports() {
        if !Kind::Redis.installed() && !crate::is_required(Kind::Redis) {
            return println!("skipped: {} is not installed", Kind::Redis);
        }
        let (kind, node) = (Kind::Redis, &Redis::ClusterNode);
        let (free, halfway) = (Port::free().unwrap(), Port::free().unwrap());
        let expected = free.number();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, bus_port(halfway.number()))).unwrap();
        let mut ports = vec![free, halfway];
        let mut next = || Ok(ports.pop().unwrap());
        let server = Server::start_on(kind, node, &Options::default(), &mut next).unwrap();
        assert_eq!(server.port(), expected);
    }
}
