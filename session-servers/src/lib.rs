//! Throw-away database servers for tests, benchmarks and people: real ones, as plain processes.
//!
//! A [`Server`] is one running instance with a data folder and a port of its own. It listens on the loopback address only, and never
//! on a standard port, so it cannot be mistaken for a server that somebody uses. It takes half a second to start at most.
//!
//! ```no_run
//! use session_servers::{Kind, Options, Server};
//!
//! let server = Server::start(Kind::Postgres)?;
//! println!("{} at {}", server.version(), server.url());
//!
//! // What a store does when its server stops answering, or crashes:
//! let mut server = Server::start_with(Kind::Mysql, &Options::default().with_durable(true))?;
//! server.pause()?;
//! server.resume()?;
//! server.kill()?;
//! server.start_again()?;
//! # Ok::<(), session_servers::Error>(())
//! ```
//!
//! A [`PgBouncer`] stands in front of a PostgreSQL, for what depends on which connection a client is given. A [`RedisCluster`] and
//! [`RedisSentinels`] are several Redis servers that take over from each other.
//!
//! # What is left behind
//! Nothing. A dropped server is gone when `drop` returns, its data folder too. A server whose owner ends without dropping it (one in a
//! `static`, `std::process::exit`, a test that is killed because it hangs, Ctrl-C) is ended a moment later by a small shell script
//! that waits beside it for that, also while it is paused. Servers are ended by process id, never by name.
//!
//! # Security
//! A server trusts everybody who can reach it: the clients on this machine, without a password, as its superuser. Put nothing into it
//! that they must not see. If started by root, it runs as the account that its packages made for it.
//!
//! # Blocking
//! Every function blocks until it is done. In asynchronous code, start servers before the runtime or in `spawn_blocking`.
//!
//! # Platforms
//! Linux, because the processes of a server are found through `/proc`.
//!
//! # One more kind of server
//! Write a `Recipe` in a file of its own (`postgres.rs` is a model), and add a variant to [`Kind`].

mod error;
mod find;
mod install;
mod kind;
mod mysql;
mod options;
mod pgbouncer;
mod place;
mod port;
mod postgres;
mod process;
mod recipe;
mod redis;
mod redis_client;
mod redis_cluster;
mod redis_sentinel;
mod server;
mod testing;
mod watchdog;

pub use error::{Error, Result};
pub use kind::Kind;
pub use options::Options;
pub use pgbouncer::PgBouncer;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinels;
pub use server::Server;
pub use testing::is_required;
