//! The database servers that the tests run against: the user's where there is one, else throw-away ones for this run.

use std::env;
use std::ffi::OsStr;

use session_servers::{Kind, PgBouncer, Server};

use crate::error::{Error, Result};
use crate::process::{Cmd, in_ci};

/// The servers of one run of the tests. Dropped, those that were started for it are gone.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    started: Vec<Server>,
}

impl Servers {
    /// Has one server of each kind, and what tests put in front of it. That there is none is an error in CI, or if the user requires
    /// it, else a warning.
    pub(crate) fn for_tests(required: &str) -> Result<Self> {
        let mut servers = Self::default();
        for &kind in Kind::ALL {
            match servers.add(kind) {
                Err(error) if is_necessary(kind, in_ci(), required) => return Err(error),
                Err(error) => warn(kind, &error),
                Ok(()) => {}
            }
        }
        Ok(servers)
    }

    fn add(&mut self, kind: Kind) -> Result<()> {
        if is_given(env::var_os(kind.variable()).as_deref()) {
            eprintln!("server for {}: yours, from {}", kind.name(), kind.variable());
            return Ok(());
        }
        if kind == Kind::Postgres {
            PgBouncer::install()?;
        }
        let server = start(kind)?;
        eprintln!("server for {}: {} on port {}", kind.name(), server.version(), server.port());
        self.started.push(server);
        Ok(())
    }

    /// The names of the suites that have a server only because one was started.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.started.iter().map(|server| server.kind().name())
    }

    /// Tells the tests where these servers are.
    pub(crate) fn told_to(&self, command: Cmd) -> Cmd {
        self.started
            .iter()
            .fold(command, |command, server| command.env(server.kind().variable(), &server.url()))
    }
}

/// Starts a throw-away server, and installs it before if that is necessary and possible.
pub(crate) fn start(kind: Kind) -> Result<Server> {
    kind.install()?;
    Ok(Server::start(kind)?)
}

/// Whether the user has a server; an empty address is none, to the suites neither.
fn is_given(url: Option<&OsStr>) -> bool {
    url.is_some_and(|url| !url.is_empty())
}

fn is_necessary(kind: Kind, in_ci: bool, required: &str) -> bool {
    in_ci || required.split(',').any(|name| name == kind.name() || name == "all")
}

fn warn(kind: Kind, error: &Error) {
    eprintln!("warning: the {} suites are skipped, because they have no server: {error}", kind.name());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_address_is_no_server_of_the_users() {
        assert!(is_given(Some(OsStr::new("postgres://localhost"))));
        assert!(!is_given(Some(OsStr::new(""))) && !is_given(None));
    }

    #[test]
    fn ci_needs_every_server_and_a_desk_those_that_are_required() {
        assert!(is_necessary(Kind::Mysql, true, ""));
        assert!(is_necessary(Kind::Mysql, false, "redis,mysql") && is_necessary(Kind::Mysql, false, "all"));
        assert!(!is_necessary(Kind::Mysql, false, "redis,postgres"));
    }
}
