//! Ephemeral database servers for tests, benchmarks and developers: real servers, as plain
//! processes.
//!
//! A [`Server`] is one running instance with its own data folder and port. It listens on the
//! loopback address only, and never on a standard port, so it cannot be mistaken for a server in
//! use. It starts within half a second.
//!
//! ```no_run
//! use session_servers::{Kind, Options, Server};
//!
//! let server = Server::start(Kind::Postgres)?;
//! println!("{} at {}", server.version(), server.url());
//!
//! // Simulates a server that stops responding, or crashes:
//! let mut server = Server::start_with(Kind::Mysql, &Options::default().with_durable(true))?;
//! server.pause()?;
//! server.resume()?;
//! server.kill()?;
//! server.start_again()?;
//! # Ok::<(), session_servers::Error>(())
//! ```
//!
//! A [`PgBouncer`] runs in front of a PostgreSQL server, for tests that depend on which connection
//! a client gets. A [`RedisCluster`] and [`RedisSentinels`] are groups of Redis servers with
//! failover. A [`Proxy`] forwards connections between a client and its server, and injects network
//! faults.
//!
//! # Sources of the servers
//! [`Kind::install`] installs Debian packages. No registry has a package of MongoDB, so SecantusDB,
//! which speaks its protocol, replaces it here, in two pinned pre-releases: a Rust server, which
//! `cargo install` builds within minutes, and a Python server, which `pip` downloads. Both are kept
//! in `~/.cache/session-kit`, or `$XDG_CACHE_HOME/session-kit`, or the folder whose absolute path
//! is `$SESSION_SERVERS_CACHE`. SecantusDB is under GPL-2.0: this crate runs it, and no crate links
//! it.
//!
//! # Cleanup
//! Nothing is left behind. When `drop` returns, the server has ended, and its data folder is
//! deleted. The owner may also end without dropping the server (a server in a `static`,
//! `std::process::exit`, a test that is killed because it hangs, Ctrl-C). A small shell script
//! waits for the end of the owner, and then ends the server within moments, even if it is paused.
//! Servers are ended by process id, never by name.
//!
//! # Security
//! A server trusts every client on this machine, without a password, as its superuser. Do not store
//! data in it that other local users must not see. If root starts a server, it runs as the account
//! that its packages created. SecantusDB has no packages, and no other account can read root's home
//! folder, so root runs SecantusDB as root.
//!
//! # Blocking
//! Every function of a server blocks until it is done. In asynchronous code, start servers before
//! the runtime or in `spawn_blocking`.
//!
//! # Platforms
//! Linux, because the crate finds the processes of a server through `/proc`.
//!
//! # Adding a kind of server
//! Write a `Recipe` in a new file (`postgres.rs` is an example), and add a variant to [`Kind`].

mod cache;
mod error;
mod find;
mod install;
mod kind;
mod mongodb;
mod mysql;
mod nats;
mod options;
mod pgbouncer;
mod place;
mod port;
mod postgres;
mod process;
mod proxy;
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
pub use proxy::{Fault, Proxy};
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinels;
pub use server::Server;
pub use testing::is_required;
