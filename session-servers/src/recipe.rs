//! What there is to know about one kind of server.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::Result;
use crate::cache::Build;
use crate::place::Place;

/// How one kind of server is prepared, started and ended.
pub(crate) trait Recipe: Sync {
    /// The name of its suites.
    fn name(&self) -> &'static str;

    /// What its makers call it.
    fn title(&self) -> &'static str;

    /// The variable that names a server of one's own.
    fn variable(&self) -> &'static str;

    /// The Debian packages that bring it.
    fn packages(&self) -> &'static [&'static str];

    /// How it is built, if the packages bring only what that takes.
    fn build(&self) -> Option<&'static Build> {
        None
    }

    /// The account that root runs it as.
    fn account(&self) -> &'static str;

    /// Its programs on this machine, if it is installed.
    fn programs(&self) -> Option<Programs>;

    /// What the server calls itself: `PostgreSQL 15.14`. Only the title if it does not tell.
    fn version(&self, programs: &Programs) -> String {
        version_of(&programs.server, self.title())
    }

    /// The command that fills the empty data folder, if there is a program for it: that program, by default without arguments.
    ///
    /// # Errors
    /// A file that the command or the server needs cannot be written.
    fn setup(&self, program: &Path, place: &Place) -> Result<Command> {
        Ok(place.command(program))
    }

    /// The command that is the server, in the foreground: it must not fork itself away.
    fn start(&self, programs: &Programs, place: &Place, port: u16) -> Command;

    /// Whether the process with this id answers on the port. Must not believe what an earlier run left in the folder, nor another
    /// server that has the port.
    fn is_ready(&self, place: &Place, port: u16, pid: u32) -> bool;

    /// Where clients connect to.
    fn url(&self, port: u16) -> String;

    /// The Unix socket that clients may connect to instead, if it has one.
    fn socket(&self, _place: &Place) -> Option<PathBuf> {
        None
    }

    /// Ends the server in order, without waiting for its clients.
    fn graceful(&self) -> Signal;

    /// Ends the server at once, when its data is thrown away anyway.
    fn quick(&self) -> Signal;

    /// Takes away what a killed server leaves outside of its folder.
    fn clean_up(&self, _place: &Place) {}
}

/// The programs of an installed server.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Fills a data folder, where the server does not do so itself.
    pub(crate) setup: Option<PathBuf>,
    /// Is the server.
    pub(crate) server: PathBuf,
}

pub(crate) fn version_of(program: &Path, title: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let line = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match line.as_deref().ok().and_then(number) {
        Some(number) => format!("{title} {number}"),
        None => title.to_owned(),
    }
}

/// The first number of a program's answer to `--version`.
fn number(line: &str) -> Option<&str> {
    let words = line.split_whitespace().map(|word| word.strip_prefix("v=").unwrap_or(word));
    let mut numbers = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    numbers.next()?.split('-').next()
}

/// `--name=path`, for the command lines that spell it so.
pub(crate) fn path_argument(name: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(name);
    argument.push("=");
    argument.push(path);
    argument
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_the_programs_say() {
        assert_eq!(number("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some("15.14"));
        assert_eq!(number("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu"), Some("10.11.19"));
        assert_eq!(number("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"), Some("7.0.15"));
        assert_eq!(number("no number"), None);
    }
}
