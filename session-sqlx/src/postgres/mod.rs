//! Backends that only PostgreSQL provides besides the store: a cache that all nodes share, and a
//! bus between the nodes.

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

/// The limit for opening a connection. A call does not have to wait for it: if the call gives up,
/// the next call uses the connection.
const OPENING: Duration = Duration::from_secs(5);

/// The time of the server's clock, in milliseconds.
const NOW: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
