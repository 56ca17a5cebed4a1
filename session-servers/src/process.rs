//! Processes, identified by their id and the time of their start.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// The polling interval while waiting for a state.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// 127.0.0.1 as `/proc/net/tcp` writes it on a little-endian machine, and the state of a listening
/// socket.
const LOOPBACK: &str = "0100007F";
const LISTEN: &str = "0A";

/// A process of this machine. Process ids are reused, but the id and the time of the start together
/// are unique.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    id: Pid,
    started: u64,
}

/// The fields of `/proc/<id>/stat` that this crate uses.
#[derive(Debug, Eq, PartialEq)]
struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

impl Process {
    /// Returns the process with this id, if it exists.
    pub(crate) fn of(id: u32) -> Option<Self> {
        let id = Pid::from_raw(i32::try_from(id).ok()?)?;
        stat(id).map(|stat| Self { id, started: stat.started })
    }

    pub(crate) fn id(&self) -> i32 {
        self.id.as_raw_nonzero().get()
    }

    /// Returns the time of the start, in kernel ticks since the machine's start.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    pub(crate) fn children(&self) -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        let stats = ids.filter_map(|id| Some((id, stat(id)?)));
        let mine = stats.filter(|(_, stat)| stat.parent == self.id());
        mine.map(|(id, stat)| Self { id, started: stat.started }).collect()
    }

    /// Returns true if the process has ended, even if its exit code has not been read yet.
    pub(crate) fn is_gone(&self) -> bool {
        self.stat().is_none_or(|stat| matches!(stat.state, 'X' | 'Z'))
    }

    /// Returns true if all threads of the process are stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten().flatten();
        let mut stats = threads.filter_map(|thread| read(&format!("{}/stat", thread.path().display())));
        self.stat().is_some() && stats.all(|stat| stat.state == 'T')
    }

    /// Returns true if the process waits for an event or for I/O, and so is not stopped.
    pub(crate) fn is_asleep(&self) -> bool {
        self.stat().is_some_and(|stat| matches!(stat.state, 'D' | 'S'))
    }

    /// Returns true if the process listens on this port of the loopback address.
    pub(crate) fn listens_on(&self, port: u16) -> bool {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let sockets: Vec<_> = sockets.lines().filter_map(|line| listening(line, port)).collect();
        let open = fs::read_dir(format!("/proc/{}/fd", self.id())).into_iter().flatten().flatten();
        let mut open = open.filter_map(|file| fs::read_link(file.path()).ok());
        open.any(|file| sockets.iter().any(|socket| file.as_os_str() == socket.as_str()))
    }

    /// Sends a signal. Does nothing if the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.is_gone() {
            return Ok(());
        }
        match kill_process(self.id, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn stat(&self) -> Option<Stat> {
        stat(self.id).filter(|stat| stat.started == self.started)
    }
}

fn stat(id: Pid) -> Option<Stat> {
    read(&format!("/proc/{}/stat", id.as_raw_nonzero()))
}

fn read(path: &str) -> Option<Stat> {
    parse(&fs::read_to_string(path).ok()?)
}

/// Parses a `stat` line. The second field is the name in parentheses, which may contain any
/// character.
fn parse(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started })
}

/// Returns the socket of a line of `/proc/net/tcp`, as links to it name it, if it listens on this
/// port.
fn listening(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_whitespace().skip(1);
    let is_address = fields.next()? == format!("{LOOPBACK}:{port:04X}");
    let is_listening = fields.nth(1)? == LISTEN;
    let inode = fields.nth(5)?;
    (is_address && is_listening).then(|| format!("socket:[{inode}]"))
}

/// Waits until the condition holds. Returns false if it does not hold in time.
pub(crate) fn wait_until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_spaces_and_parentheses_does_not_shift_fields() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 1";
        assert_eq!(parse(line), Some(Stat { state: 'S', parent: 7, started: 98_765 }));
    }

    #[test]
    fn states_of_a_child_are_detected() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(Process::of(std::process::id()).unwrap().children().contains(&process));
        assert!(!process.is_gone() && !process.is_stopped());

        process.signal(Signal::STOP).unwrap();
        assert!(wait_until(Duration::from_secs(5), || process.is_stopped()));
        assert!(!process.is_asleep());
        process.signal(Signal::CONT).unwrap();
        assert!(wait_until(Duration::from_secs(5), || process.is_asleep()));

        process.signal(Signal::KILL).unwrap();
        assert!(wait_until(Duration::from_secs(5), || process.is_gone()));
        child.wait().unwrap();
        process.signal(Signal::KILL).unwrap();
        assert_eq!(Process::of(child.id()), None);
    }

    #[test]
    fn only_the_listening_process_listens_on_a_port() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connected = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (me, init) = (Process::of(std::process::id()).unwrap(), Process::of(1).unwrap());
        assert!(me.listens_on(port) && !init.listens_on(port));
        assert!(!me.listens_on(connected.local_addr().unwrap().port()));
        drop(listener);
        assert!(!me.listens_on(port));
    }

    #[test]
    fn process_with_a_reused_id_is_another_process() {
        let me = Process::of(std::process::id()).unwrap();
        let earlier = Process { started: me.started - 1, ..me };
        assert!(earlier.is_gone() && !me.is_gone());
    }
}
