//! The database servers of the tests: the user's servers, or ephemeral ones for this run.

use std::env;
use std::ffi::OsStr;
use std::fmt;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use session_servers::{Kind, PgBouncer, RedisCluster, Server};

use crate::error::{Error, Result};
use crate::process::{Cmd, in_ci};

/// The server or cluster of the suites with one name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Service {
    One(Kind),
    RedisCluster,
}

/// A running ephemeral service. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) service: Service,
    pub(crate) version: String,
    pub(crate) url: String,
    _servers: Box<dyn fmt::Debug>,
}

/// The servers of one test run. Those that were started for it stop when dropped.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    started: Vec<Running>,
}

impl Service {
    const ALL: &[Self] = &[
        Self::One(Kind::Postgres),
        Self::One(Kind::Mysql),
        Self::One(Kind::Redis),
        Self::RedisCluster,
        Self::One(Kind::Mongodb),
        Self::One(Kind::MongodbFailPoints),
        Self::One(Kind::MongodbStandalone),
        Self::One(Kind::Nats),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One(kind) => kind.name(),
            Self::RedisCluster => RedisCluster::NAME,
        }
    }

    /// Returns the variable that contains its address for the suites.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::One(kind) => kind.variable(),
            Self::RedisCluster => RedisCluster::VARIABLE,
        }
    }

    /// Starts an ephemeral one. Installs it first if that is necessary and possible.
    pub(crate) fn start(self) -> Result<Running> {
        match self {
            Self::One(kind) => {
                kind.install()?;
                let server = Server::start(kind)?;
                Ok(self.running(server.version().to_owned(), server.url(), server))
            }
            Self::RedisCluster => {
                Kind::Redis.install()?;
                let cluster = RedisCluster::start()?;
                Ok(self.running(cluster.version().to_owned(), cluster.url(), cluster))
            }
        }
    }

    fn running(self, version: String, url: String, servers: impl fmt::Debug + 'static) -> Running {
        Running { service: self, version, url, _servers: Box::new(servers) }
    }
}

impl ValueEnum for Service {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl Servers {
    /// Starts each service that the user does not provide, and installs what tests put in front of
    /// it. A failure is an error in CI or if the user requires the service, and otherwise a
    /// warning.
    pub(crate) fn for_tests(required: &str) -> Result<Self> {
        let mut servers = Self::default();
        for &service in Service::ALL {
            match servers.add(service) {
                Err(error) if is_necessary(service, in_ci(), required) => return Err(error),
                Err(error) => warn(service, &error),
                Ok(()) => {}
            }
        }
        Ok(servers)
    }

    fn add(&mut self, service: Service) -> Result<()> {
        let (name, variable) = (service.name(), service.variable());
        if is_given(env::var_os(variable).as_deref()) {
            eprintln!("server for {name}: yours, from {variable}");
            return Ok(());
        }
        if service == Service::One(Kind::Postgres) {
            PgBouncer::install()?;
        }
        let running = service.start()?;
        eprintln!("server for {name}: {} at {}", running.version, running.url);
        self.started.push(running);
        Ok(())
    }

    /// Returns the names of the suites whose server was started here.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.started.iter().map(|running| running.service.name())
    }

    /// Adds the addresses of these servers to the environment of a command.
    pub(crate) fn with_addresses(&self, command: Cmd) -> Cmd {
        let add = |command: Cmd, running: &Running| command.env(running.service.variable(), &running.url);
        self.started.iter().fold(command, add)
    }
}

/// Returns true if the user provides a server. An empty address counts as none, as it does in the
/// suites.
fn is_given(url: Option<&OsStr>) -> bool {
    url.is_some_and(|url| !url.is_empty())
}

fn is_necessary(service: Service, in_ci: bool, required: &str) -> bool {
    in_ci || required.split(',').any(|name| name == service.name() || name == "all")
}

fn warn(service: Service, error: &Error) {
    eprintln!("warning: the {} suites are skipped, because they have no server: {error}", service.name());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_address_counts_as_no_server() {
        assert!(is_given(Some(OsStr::new("postgres://localhost"))));
        assert!(!is_given(Some(OsStr::new(""))) && !is_given(None));
    }

    #[test]
    fn ci_needs_every_server_and_users_those_they_require() {
        let mysql = Service::One(Kind::Mysql);
        assert!(is_necessary(mysql, true, ""));
        assert!(is_necessary(mysql, false, "redis,mysql") && is_necessary(mysql, false, "all"));
        assert!(!is_necessary(mysql, false, "redis,postgres"));
        assert!(!is_necessary(Service::RedisCluster, false, "redis"));
    }

    #[test]
    fn every_kind_of_server_is_found_by_its_name() {
        assert!(Kind::ALL.iter().all(|&kind| Service::ALL.contains(&Service::One(kind))));
        for &service in Service::ALL {
            assert_eq!(Service::from_str(service.name(), false), Ok(service));
            assert_eq!(service.variable(), format!("SESSION_TEST_{}_URL", service.name().to_uppercase()));
        }
    }
}
