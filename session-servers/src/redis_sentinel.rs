//! Redis servers with sentinels.

use std::time::Duration;

use crate::process::wait_until;
use crate::redis::Redis;
use crate::redis_client::{ask, order};
use crate::testing::unless_missing;
use crate::{Kind, Options, Result, Server, is_required};

const MASTER: &str = "session";

const REPLICAS: usize = 2;

const SENTINELS: usize = 3;

/// The number of sentinels that must agree that the primary is down.
const QUORUM: usize = 2;

/// The longest time until the servers know each other, which usually takes some seconds.
const START: Duration = Duration::from_secs(60);

/// A running ephemeral Redis server with replicas, and three sentinels that promote a replica when
/// the primary has been down for four seconds. Dropping it ends all servers and deletes their data.
#[derive(Debug)]
pub struct RedisSentinels {
    primary: Server,
    replicas: Vec<Server>,
    sentinels: Vec<Server>,
}

impl RedisSentinels {
    /// Starts a primary, two replicas and their sentinels, and waits until a replica can take over.
    ///
    /// # Errors
    /// Same as [`Server::start`].
    pub fn start() -> Result<Self> {
        Self::start_with(REPLICAS, &Options::default())
    }

    /// Same as [`start`](Self::start), with this number of replicas, and with these options for the
    /// primary and the replicas.
    ///
    /// # Errors
    /// Same as [`Server::start`].
    pub fn start_with(replicas: usize, options: &Options) -> Result<Self> {
        let primary = Server::start_with(Kind::Redis, options)?;
        let of = ["--replicaof".to_owned(), "127.0.0.1".to_owned(), primary.port().to_string()];
        let mut following = options.clone();
        following.settings.splice(..0, of);
        let replicas = (0..replicas).map(|_| Server::start_with(Kind::Redis, &following));
        let replicas = replicas.collect::<Result<Vec<_>>>()?;
        // Waits before the sentinels query the servers, because they repeat the query only after
        // ten seconds.
        await_all(&[&primary], |primary| has_replicas(primary, replicas.len()))?;

        let sentinel = |_| Server::start_as(Kind::Redis, &Redis::Sentinel, &Options::default());
        let sentinels = (0..SENTINELS).map(sentinel).collect::<Result<Vec<_>>>()?;
        for sentinel in &sentinels {
            let port = primary.port();
            order(sentinel, &format!("SENTINEL MONITOR {MASTER} 127.0.0.1 {port} {QUORUM}"))?;
            order(sentinel, &format!("SENTINEL SET {MASTER} down-after-milliseconds 4000"))?;
            order(sentinel, &format!("SENTINEL SET {MASTER} failover-timeout 3000"))?;
        }
        await_all(&sentinels.iter().collect::<Vec<_>>(), |sentinel| knows_all(sentinel, replicas.len()))?;
        Ok(Self { primary, replicas, sentinels })
    }

    /// Starts the servers for a test, as [`Server::for_test`] does. They are required if Redis is.
    ///
    /// # Errors
    /// Same as [`start_with`](Self::start_with). A missing Redis is an error only if it is
    /// required.
    pub fn for_test(replicas: usize, options: &Options) -> Result<Option<Self>> {
        let is_expected = Kind::Redis.installed() || is_required(Kind::Redis);
        unless_missing(Kind::Redis, is_expected, || Self::start_with(replicas, options))
    }

    /// Returns the URLs of the sentinels, from which clients get the address of the primary.
    #[must_use]
    pub fn sentinel_urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::url).collect()
    }

    /// Returns the name of the primary at the sentinels.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        MASTER
    }

    /// Returns the initial primary.
    #[must_use]
    pub fn primary(&mut self) -> &mut Server {
        &mut self.primary
    }

    /// Returns the initial replicas.
    #[must_use]
    pub fn replicas(&mut self) -> &mut [Server] {
        &mut self.replicas
    }

    /// Returns the sentinels.
    #[must_use]
    pub fn sentinels(&mut self) -> &mut [Server] {
        &mut self.sentinels
    }
}

fn await_all(servers: &[&Server], is_so: impl Fn(&Server) -> bool) -> Result<()> {
    let missing = || servers.iter().find(|server| !is_so(server));
    if wait_until(START, || missing().is_none()) {
        return Ok(());
    }
    let server = missing().unwrap_or(&servers[0]);
    Err(server.failed(format!("it did not know the other servers after {} seconds", START.as_secs())))
}

fn has_replicas(primary: &Server, replicas: usize) -> bool {
    let info = ask(primary.folder(), "INFO replication").unwrap_or_default();
    info.matches("state=online").count() == replicas
}

fn knows_all(sentinel: &Server, replicas: usize) -> bool {
    let reply = |command| ask(sentinel.folder(), &format!("{command} {MASTER}")).unwrap_or_default();
    reply("SENTINEL MASTER").contains(&format!("num-other-sentinels\n{}\n", SENTINELS - 1))
        && reply("SENTINEL REPLICAS").matches("master-link-status\nok").count() == replicas
}
