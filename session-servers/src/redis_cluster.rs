//! A cluster of Redis servers.

use std::time::Duration;

use crate::process::wait_until;
use crate::redis::{Redis, bus_port};
use crate::redis_client::{ask, order};
use crate::testing::{is_named, unless_missing};
use crate::{Kind, Options, Result, Server};

/// The fewest primaries that can agree on a failure.
const PRIMARIES: usize = 3;

const SLOTS: usize = 16_384;

/// The longest start of a cluster. A new cluster always waits for two seconds.
const START: Duration = Duration::from_secs(60);

/// A running ephemeral cluster of Redis servers. Dropping it ends the servers and deletes their
/// data.
///
/// The first three nodes are primaries, with a third of the slots each, and node `n + 3` is a
/// replica of node `n`. The primaries agree within seven seconds that one of them is down, and its
/// replica takes over. Without a replica, the whole cluster then rejects commands, unless the
/// setting `--cluster-require-full-coverage no` is given. A restarted node waits for two seconds
/// before it serves commands.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Server>,
}

impl RedisCluster {
    /// The name of the conformance suites that run on it.
    pub const NAME: &str = "redis_cluster";

    /// The environment variable with the addresses of the nodes for those suites, in the format of
    /// [`url`](Self::url).
    pub const VARIABLE: &str = "SESSION_TEST_REDIS_CLUSTER_URL";

    /// Starts three primaries without replicas, and waits until each of them reports a complete
    /// cluster.
    ///
    /// # Errors
    /// Same as [`Server::start`].
    pub fn start() -> Result<Self> {
        Self::start_with(0, &Options::default())
    }

    /// Starts a cluster of nodes with these options, and waits until every replica can take over.
    ///
    /// # Errors
    /// Same as [`Server::start`].
    pub fn start_with(replicas_per_primary: usize, options: &Options) -> Result<Self> {
        let count = PRIMARIES * (1 + replicas_per_primary);
        let start = |_| Server::start_as(Kind::Redis, &Redis::ClusterNode, options);
        let cluster = Self { nodes: (0..count).map(start).collect::<Result<_>>()? };
        cluster.assign_slots()?;
        cluster.introduce()?;
        cluster.attach_replicas()?;
        cluster.wait_until("is complete", |node| cluster.is_complete(node))?;
        Ok(cluster)
    }

    /// Starts a cluster for a test, as [`Server::for_test`] does. `SESSION_TEST_REQUIRE` refers to
    /// it by its [`NAME`](Self::NAME).
    ///
    /// # Errors
    /// Same as [`start_with`](Self::start_with). A missing Redis is an error only if the cluster is
    /// required.
    pub fn for_test(replicas_per_primary: usize, options: &Options) -> Result<Option<Self>> {
        let is_expected = Kind::Redis.installed() || is_named(Self::NAME);
        unless_missing(Kind::Redis, is_expected, || Self::start_with(replicas_per_primary, options))
    }

    /// Returns the product name and version of the nodes: `Redis 7.0.15`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.nodes[0].version()
    }

    /// Returns the URLs of all nodes, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(Server::url).collect();
        urls.join(",")
    }

    /// Returns all nodes, the three primaries first.
    #[must_use]
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// Returns a node, for example to pause or kill it.
    ///
    /// # Panics
    /// If the cluster has no node with this index.
    #[must_use]
    pub fn node(&mut self, index: usize) -> &mut Server {
        &mut self.nodes[index]
    }

    fn assign_slots(&self) -> Result<()> {
        for (index, node) in self.nodes.iter().take(PRIMARIES).enumerate() {
            let (first, end) = (SLOTS * index / PRIMARIES, SLOTS * (index + 1) / PRIMARIES);
            order(node, &format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1))?;
            // Without this, all nodes have the same epoch, and resolve the collisions one by one.
            order(node, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1))?;
        }
        Ok(())
    }

    /// Introduces every node to every other, which is faster than gossip.
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
        Err(node.failed(format!("it did not report after {} seconds that it {what}", START.as_secs())))
    }

    fn knows_all(&self, node: &Server) -> bool {
        let known = ask(node.folder(), "CLUSTER NODES").unwrap_or_default();
        known.lines().count() == self.nodes.len() && !known.contains("handshake")
    }

    fn is_complete(&self, node: &Server) -> bool {
        let reply = |command| ask(node.folder(), command).unwrap_or_default();
        let replicas = reply("CLUSTER NODES").matches("slave ").count();
        reply("CLUSTER INFO").contains("cluster_state:ok")
            && replicas == self.nodes.len() - PRIMARIES
            && !reply("INFO replication").contains("master_link_status:down")
    }
}
