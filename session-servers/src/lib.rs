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
//! [`RedisSentinels`] are several Redis servers that take over from each other. A [`Proxy`] is a network between a client and its server
//! that fails when it is told to.
//!
//! # Where servers come from
//! [`Kind::install`] installs Debian packages. No registry has one of MongoDB, so what speaks its protocol here is SecantusDB, in two
//! pinned pre-releases: a Rust server, which `cargo install` builds within minutes, and a Python server, which `pip` fetches. Both are
//! kept in `~/.cache/session-kit`, or `$XDG_CACHE_HOME/session-kit`, or the folder whose absolute path is `$SESSION_SERVERS_CACHE`.
//! SecantusDB is under GPL-2.0: it is run, and no crate links it.
//!
//! # What is left behind
//! Nothing. A dropped server is gone when `drop` returns, its data folder too. A server whose owner ends without dropping it (one in a
//! `static`, `std::process::exit`, a test that is killed because it hangs, Ctrl-C) is ended a moment later by a small shell script
//! that waits beside it for that, also while it is paused. Servers are ended by process id, never by name.
//!
//! # Security
//! A server trusts everybody who can reach it: the clients on this machine, without a password, as its superuser. Put nothing into it
//! that they must not see. If started by root, it runs as the account that its packages made for it.
//! SecantusDB has no packages, and what root keeps in its home no other account can read, so root runs it as root.
//!
//! # Blocking
//! Every function of a server blocks until it is done. In asynchronous code, start servers before the runtime or in `spawn_blocking`.
//!
//! # Platforms
//! Linux, because the processes of a server are found through `/proc`.
//!
//! # One more kind of server
//! Write a `Recipe` in a file of its own (`postgres.rs` is a model), and add a variant to [`Kind`].

mod cache;
mod error;
mod find;
mod install;
mod kind;
mod mongodb;
mod mysql;
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
