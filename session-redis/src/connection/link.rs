//! One open connection, and whether it can still be used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::ServerInfo;

/// Interval of the `PING` on a connection.
const WATCH: Duration = Duration::from_secs(1);

/// Number of unanswered pings in a row at which a connection to a cluster is closed. For a while,
/// an unreachable node is left to the cluster. But with many commands in flight to the node, the
/// driver may stay stuck when the node is back.
#[cfg(feature = "cluster")]
const MISSED_PING_LIMIT: u32 = 5;

/// The driver's connection, which carries commands.
#[derive(Clone)]
pub(super) enum Link {
    #[cfg(feature = "cluster")]
    Cluster(super::cluster::ClusterLink),
    Managed(ConnectionManager),
    One(MultiplexedConnection),
}

impl Link {
    pub(super) const fn is_cluster(&self) -> bool {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
            Self::Managed(_) | Self::One(_) => false,
        }
    }

    /// Returns true if every server answers a `PING`.
    async fn is_alive(&self, patience: Duration) -> bool {
        let ping = redis::cmd("PING");
        let answer = tokio::time::timeout(patience, async {
            match self {
                #[cfg(feature = "cluster")]
                Self::Cluster(link) => link.of_each_primary(&ping).await.map(drop),
                Self::Managed(_) | Self::One(_) => self.send(&ping).await.map(drop),
            }
        });
        // An error reply counts as an answer.
        match answer.await {
            Ok(Err(error)) => !error.is_unrecoverable_error() && !error.is_timeout(),
            Ok(Ok(())) => true,
            Err(_) => false,
        }
    }

    /// Returns the number of unanswered pings in a row at which the connection is closed.
    const fn missed_ping_limit(&self) -> u32 {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => MISSED_PING_LIMIT,
            Self::Managed(_) | Self::One(_) => 1,
        }
    }

    /// Sends a command. An error reply of the server is returned as an error.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let reply = match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => link.send(command).await,
            Self::Managed(link) => link.clone().req_packed_command(command).await,
            Self::One(link) => link.clone().send_packed_command(command).await,
        };
        reply.and_then(Value::extract_error)
    }

    /// Sends a command to the server that received another command, and after it.
    pub(super) async fn send_after(&self, command: &Cmd, other: &Cmd) -> RedisResult<Value> {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => link.send_after(command, other).await.and_then(Value::extract_error),
            Self::Managed(_) | Self::One(_) => {
                let _ = other;
                self.send(command).await
            }
        }
    }

    /// Sends commands, in one packet if they go to one server. Each has a result of its own.
    pub(super) async fn send_each(&self, commands: Vec<Cmd>) -> RedisResult<Vec<RedisResult<Value>>> {
        let count = commands.len();
        let replies = match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => return Ok(link.send_each(&commands).await),
            Self::Managed(link) => link.clone().send_packed_commands(&packed(commands), 0, count).await,
            Self::One(link) => link.clone().send_packed_commands(&packed(commands), 0, count).await,
        };
        Ok(replies?.into_iter().map(Value::extract_error).collect())
    }
}

fn packed(commands: Vec<Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

/// An open connection.
pub(super) struct Live {
    pub(super) link: Link,
    pub(super) server: ServerInfo,
    closed: Arc<AtomicBool>,
}

impl Live {
    /// Creates an open connection. The driver sets `closed` when the connection ends.
    pub(super) fn new(link: Link, server: ServerInfo, closed: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self { link, server, closed })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Marks the connection as closed. A given connection cannot be replaced, so it is never
    /// closed.
    pub(super) fn close(&self) {
        if self.server.is_known() {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Sends a `PING` each second, and closes the connection when too many in a row stay
    /// unanswered. Callers give up earlier, so they cannot distinguish a dead connection from a
    /// slow server.
    pub(super) async fn watch(this: Weak<Self>, patience: Duration) {
        let mut missed = 0;
        loop {
            tokio::time::sleep(WATCH).await;
            let Some(live) = this.upgrade().filter(|live| live.is_open()) else { return };
            missed = if live.link.is_alive(patience).await { 0 } else { missed + 1 };
            if missed >= live.link.missed_ping_limit() {
                tracing::warn!(
                    backend = crate::error::NAME,
                    "the connection does not respond and is replaced"
                );
                return live.close();
            }
        }
    }
}
