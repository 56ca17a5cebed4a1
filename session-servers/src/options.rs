//! How a server is started.

/// How a server is started: by default as fast as can be, and forgetful.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Whether what was committed is still there after a crash, as with the server's own defaults.
    pub durable: bool,
    /// More arguments for the server's command line.
    pub settings: Vec<String>,
}

impl Options {
    /// Sets whether what was committed survives [`Server::kill`](crate::Server::kill), or even a power failure.
    ///
    /// It is off by default: then writes are not flushed, and the data is kept in memory where there is enough of it. A Redis then keeps
    /// nothing at all when it ends, also by [`Server::stop`](crate::Server::stop).
    #[must_use]
    pub fn with_durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Adds arguments to the server's command line, such as `-c` and `max_connections=20` for PostgreSQL, `--max-connections=20` for
    /// MariaDB, `--maxclients` and `20` for Redis, or `--session-max` and `20` for SecantusDB. They come last, so they win over this
    /// crate's.
    #[must_use]
    pub fn with_settings<S: Into<String>>(mut self, settings: impl IntoIterator<Item = S>) -> Self {
        self.settings.extend(settings.into_iter().map(Into::into));
        self
    }
}
