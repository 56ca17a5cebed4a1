//! What only PostgreSQL can be besides a store: a cache that all nodes share, and a bus between them.

mod bus;
mod cache;
mod lines;
mod schema;

use std::time::Duration;

use sqlx::Postgres;

use crate::dialect::Dialect;

pub use bus::PostgresBus;
pub use cache::PostgresCache;

/// The backend's name in errors and logs.
const NAME: &str = <Postgres as Dialect>::SYNTAX.name;

/// How long it may take to open a connection. Nobody has to wait for it: a call that gives up leaves it to the next one.
const OPENING: Duration = Duration::from_secs(5);

/// The time by the server's clock, in milliseconds.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
