//! A cluster of Redis servers.

use std::time::Duration;

use crate::process::wait_until;
use crate::redis::{Redis, bus_port};
use crate::redis_client::{ask, order};
use crate::testing::{is_named, unless_missing};
use crate::{Kind, Options, Result, Server};

/// The fewest that can agree on which of them is gone.
const PRIMARIES: usize = 3;

const SLOTS: usize = 16_384;

/// A new cluster waits for two seconds by itself.
const START: Duration = Duration::from_secs(60);

/// A running throw-away cluster of Redis servers. Dropped, it is gone, and so is its data.
///
/// Its first three nodes are primaries, with a third of the slots each, and node `n + 3` is a replica of node `n`. Three primaries agree
/// within seven seconds that one of them is gone, and a replica takes over. Without a replica the whole cluster then refuses commands,
/// unless the setting `--cluster-require-full-coverage no` is given. A node that is started again waits for two seconds before it serves.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Server>,
}

impl RedisCluster {
    /// The name of the conformance suites that run on it.
    pub const NAME: &str = "redis_cluster";

    /// The environment variable that tells those suites where the nodes are, as [`url`](Self::url) does.
    pub const VARIABLE: &str = "SESSION_TEST_REDIS_CLUSTER_URL";

    /// Starts three primaries without replicas, and waits until each of them says that the cluster is complete.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start() -> Result<Self> {
        Self::start_with(0, &Options::default())
    }

    /// Starts a cluster of nodes with these options, and waits until every replica is able to take over.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(replicas_per_primary: usize, options: &Options) -> Result<Self> {
        let count = PRIMARIES * (1 + replicas_per_primary);
        let start = |_| Server::start_as(Kind::Redis, &Redis::ClusterNode, options);
        let cluster = Self { nodes: (0..count).map(start).collect::<Result<_>>()? };
        cluster.give_slots()?;
        cluster.introduce()?;
        cluster.attach_replicas()?;
        cluster.wait_until("is complete", |node| cluster.is_complete(node))?;
        Ok(cluster)
    }

    /// Starts one for a test, as [`Server::for_test`] does. It is required by its [`NAME`](Self::NAME).
    ///
    /// # Errors
    /// As [`start_with`](Self::start_with); that it is not installed is one only if it is required.
    pub fn for_test(replicas_per_primary: usize, options: &Options) -> Result<Option<Self>> {
        let is_expected = Kind::Redis.installed() || is_named(Self::NAME);
        unless_missing(Kind::Redis, is_expected, || Self::start_with(replicas_per_primary, options))
    }

    /// What its nodes call themselves: `Redis 7.0.15`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.nodes[0].version()
    }

    /// Where clients connect to: the addresses of all nodes, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(Server::url).collect();
        urls.join(",")
    }

    /// All nodes, the three primaries first.
    #[must_use]
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// One node, to pause or kill it.
    ///
    /// # Panics
    /// If there are fewer nodes.
    #[must_use]
    pub fn node(&mut self, index: usize) -> &mut Server {
        &mut self.nodes[index]
    }

    fn give_slots(&self) -> Result<()> {
        for (index, node) in self.nodes.iter().take(PRIMARIES).enumerate() {
            let (first, end) = (SLOTS * index / PRIMARIES, SLOTS * (index + 1) / PRIMARIES);
            order(node, &format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1))?;
            // Else all have the same, and settle that one after the other.
            order(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1))?;
        }
        Ok(())
    }

    /// Every node to every other, which is faster than hearsay.
    fn introduce(&self) -> Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            for earlier in &self.nodes[..index] {
                let port = earlier.port();
                order(node, &format!("CLUSTER MEET 127.0.0.1 {port} {}", bus_port(port)))?;
            }
        }
        self.wait_until("knows all nodes", |node| self.knows_all(node))
    }

    fn attach_replicas(&self) -> Result<()> {
        for (index, replica) in self.nodes.iter().enumerate().skip(PRIMARIES) {
            let id = order(&self.nodes[index % PRIMARIES], "CLUSTER MYID")?;
            order(replica, &format!("CLUSTER REPLICATE {id}"))?;
        }
        Ok(())
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Server) -> bool) -> Result<()> {
        let missing = || self.nodes.iter().find(|node| !is_so(node));
        if wait_until(START, || missing().is_none()) {
            return Ok(());
        }
        let node = missing().unwrap_or(&self.nodes[0]);
        Err(node.failed(format!("it does not say after {} seconds that it {what}", START.as_secs())))
    }

    fn knows_all(&self, node: &Server) -> bool {
        let known = ask(node.folder(), "CLUSTER NODES").unwrap_or_default();
        known.lines().count() == self.nodes.len() && !known.contains("handshake")
    }

    fn is_complete(&self, node: &Server) -> bool {
        let says = |command| ask(node.folder(), command).unwrap_or_default();
        let replicas = says("CLUSTER NODES").matches("slave ").count();
        says("CLUSTER INFO").contains("cluster_state:ok")
            && replicas == self.nodes.len() - PRIMARIES
            && !says("INFO replication").contains("master_link_status:down")
    }
}
