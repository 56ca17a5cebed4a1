//! The kinds of servers.

use std::fmt;
use std::str::FromStr;

use crate::install;
use crate::mongodb::Mongodb;
use crate::mysql::Mysql;
use crate::nats::Nats;
use crate::postgres::Postgres;
use crate::recipe::Recipe;
use crate::redis::Redis;
use crate::{Error, Result};

/// A kind of server that can be started.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// SecantusDB's Rust server as a replica set of one member. It speaks the protocol of MongoDB,
    /// and has transactions.
    Mongodb,
    /// SecantusDB's Python server as a replica set of one member. It is much slower, and has fail
    /// points.
    MongodbFailPoints,
    /// SecantusDB's Rust server as a standalone server. It supports transactions nevertheless,
    /// which a standalone MongoDB rejects.
    MongodbStandalone,
    /// MariaDB, which speaks the protocol of MySQL.
    Mysql,
    /// NATS, for the example of a bus on another broker.
    Nats,
    /// PostgreSQL.
    Postgres,
    /// Redis, or Valkey if only that is installed.
    Redis,
}

impl Kind {
    /// All kinds.
    pub const ALL: &[Self] = &[
        Self::Postgres,
        Self::Mysql,
        Self::Redis,
        Self::Mongodb,
        Self::MongodbFailPoints,
        Self::MongodbStandalone,
        Self::Nats,
    ];

    /// Returns the name of the suites that run on it: `postgres`, `mysql`, `redis`, `mongodb`,
    /// `mongodb_fail_points`, `mongodb_standalone`, `nats`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.recipe().name()
    }

    /// Returns the name of the environment variable that contains the server's URL for those
    /// suites, such as `SESSION_TEST_POSTGRES_URL`.
    #[must_use]
    pub fn variable(self) -> &'static str {
        self.recipe().variable()
    }

    /// Returns true if the server is installed on this machine.
    #[must_use]
    pub fn installed(self) -> bool {
        self.recipe().programs().is_some()
    }

    /// Installs the server if it is missing, and prints a line about it. Does not start the
    /// services of its Debian packages.
    ///
    /// A server without a package is built for this user, see the crate's documentation.
    ///
    /// # Errors
    /// [`Error::NotInstalled`] if packages are missing and the system is not Debian or the user is
    /// not root, and [`Error::Install`] if the package manager or the build fails.
    pub fn install(self) -> Result<()> {
        install::install(self.recipe())
    }

    pub(crate) fn recipe(self) -> &'static dyn Recipe {
        match self {
            Self::Mongodb => &Mongodb::ReplicaSet,
            Self::MongodbFailPoints => &Mongodb::FailPoints,
            Self::MongodbStandalone => &Mongodb::Standalone,
            Self::Mysql => &Mysql,
            Self::Nats => &Nats,
            Self::Postgres => &Postgres,
            Self::Redis => &Redis::Alone,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.recipe().title())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let named = |kind: &&Self| kind.name() == name;
        Self::ALL.iter().find(named).copied().ok_or_else(|| {
            let kinds: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            Error::Unknown { name: name.to_owned(), kinds: kinds.join(", ") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_is_parsed_from_the_name_of_its_suite() {
        for &kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
            assert_eq!(kind.variable(), format!("SESSION_TEST_{}_URL", kind.name().to_uppercase()));
        }
    }

    #[test]
    fn error_for_an_unknown_name_lists_the_known_ones() {
        let error = "oracle".parse::<Kind>().unwrap_err().to_string();
        let kinds = "postgres, mysql, redis, mongodb, mongodb_fail_points, mongodb_standalone, nats";
        assert_eq!(error, format!(r#"there is no server "oracle"; the kinds are: {kinds}"#));
    }

    #[test]
    fn error_for_a_missing_server_shows_how_to_install_or_replace_it() {
        let error = install::not_installed(Kind::Postgres.recipe()).to_string();
        assert!(error.contains("sudo apt-get install -y --no-install-recommends postgresql"), "{error}");
        assert!(error.contains("or set SESSION_TEST_POSTGRES_URL to"), "{error}");
        let error = install::not_installed(Kind::Mongodb.recipe()).to_string();
        assert!(
            error.contains(
                "SecantusDB's Rust server is not installed; install it (cargo xtask serve mongodb)"
            ),
            "{error}"
        );
        assert!(error.contains("or set SESSION_TEST_MONGODB_URL to"), "{error}");
    }
}
