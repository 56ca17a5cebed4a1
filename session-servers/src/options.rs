//! The options of a server.

/// The options of a server. The defaults favour speed over durability.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Whether committed data survives a crash, as with the server's own defaults.
    pub durable: bool,
    /// Additional arguments for the server's command line.
    pub settings: Vec<String>,
}

impl Options {
    /// Sets whether committed data survives [`Server::kill`](crate::Server::kill), or even a power
    /// failure.
    ///
    /// It is off by default: the server then does not flush writes, and keeps its data in memory if
    /// there is enough. A Redis server that is not durable loses its data whenever it ends, even by
    /// [`Server::stop`](crate::Server::stop).
    #[must_use]
    pub fn with_durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Adds arguments to the server's command line, such as `-c` and `max_connections=20` for
    /// PostgreSQL, `--max-connections=20` for MariaDB, `--maxclients` and `20` for Redis, or
    /// `--session-max` and `20` for SecantusDB. They follow the crate's own arguments, and so
    /// override them.
    #[must_use]
    pub fn with_settings<S: Into<String>>(mut self, settings: impl IntoIterator<Item = S>) -> Self {
        self.settings.extend(settings.into_iter().map(Into::into));
        self
    }
}
