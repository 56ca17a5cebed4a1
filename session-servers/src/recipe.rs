//! The description of a kind of server.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::Result;
use crate::cache::Build;
use crate::place::Place;

/// Prepares, starts and ends one kind of server.
pub(crate) trait Recipe: Sync {
    /// Returns the name of the suites that run on it.
    fn name(&self) -> &'static str;

    /// Returns the product name.
    fn title(&self) -> &'static str;

    /// Returns the environment variable with the URL of a server that the user provides.
    fn variable(&self) -> &'static str;

    /// Returns the Debian packages that contain it, or its build tools.
    fn packages(&self) -> &'static [&'static str];

    /// Returns the build, if the packages contain only the build tools.
    fn build(&self) -> Option<&'static Build> {
        None
    }

    /// Returns the account that it runs as if root starts it.
    fn account(&self) -> &'static str;

    /// Returns its programs on this machine, if it is installed.
    fn programs(&self) -> Option<Programs>;

    /// Returns the product name and version: `PostgreSQL 15.14`. Returns only the name if the
    /// version is unknown.
    fn version(&self, programs: &Programs) -> String {
        version_of(&programs.server, self.title())
    }

    /// Returns the command that fills the empty data folder, for a server with such a program. By
    /// default, the program has no arguments.
    ///
    /// # Errors
    /// If a file that the command or the server needs cannot be written.
    fn setup(&self, program: &Path, place: &Place) -> Result<Command> {
        Ok(place.command(program))
    }

    /// Returns the command that runs the server in the foreground. It must not daemonize.
    fn start(&self, programs: &Programs, place: &Place, port: u16) -> Command;

    /// Returns true if the process with this id serves the port. Must not be misled by files of an
    /// earlier run, or by another server on the port.
    fn is_ready(&self, place: &Place, port: u16, pid: u32) -> bool;

    /// Returns the URL for clients.
    fn url(&self, port: u16) -> String;

    /// Returns the Unix socket for clients, if there is one.
    fn socket(&self, _place: &Place) -> Option<PathBuf> {
        None
    }

    /// Returns the signal that shuts the server down in order, without waiting for its clients.
    fn graceful(&self) -> Signal;

    /// Returns the signal that ends the server at once, for when its data is no longer needed.
    fn quick(&self) -> Signal;

    /// Removes the resources that a killed server leaves outside of its folder.
    fn clean_up(&self, _place: &Place) {}
}

/// The programs of an installed server.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The program that fills a data folder, if the server does not do so itself.
    pub(crate) setup: Option<PathBuf>,
    /// The server.
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

/// Returns the version number in the output of `--version`.
fn number(line: &str) -> Option<&str> {
    let words = line.split_whitespace().map(|word| word.strip_prefix("v=").unwrap_or(word));
    let mut numbers = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    numbers.next()?.split('-').next()
}

/// Returns the argument `--name=path`.
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
    fn version_is_parsed_from_the_output_of_the_programs() {
        assert_eq!(number("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some("15.14"));
        assert_eq!(number("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu"), Some("10.11.19"));
        assert_eq!(number("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"), Some("7.0.15"));
        assert_eq!(number("no number"), None);
    }
}
