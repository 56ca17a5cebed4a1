//! One open connection, and whether it can still be used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::ServerInfo;

/// How often a silent connection is asked for a sign of life.
const WATCH: Duration = Duration::from_secs(1);

/// How many signs of life in turn a cluster may owe. A node that is away is the cluster's own affair for a while; but with many commands
/// under way to it, the driver may stay stuck when it is back.
#[cfg(feature = "cluster")]
const OWED: u32 = 5;

/// What carries commands.
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

    /// Whether every server answers a `PING`.
    async fn is_alive(&self, patience: Duration) -> bool {
        let ping = redis::cmd("PING");
        let answer = tokio::time::timeout(patience, async {
            match self {
                #[cfg(feature = "cluster")]
                Self::Cluster(link) => link.of_each_primary(&ping).await.map(drop),
                Self::Managed(_) | Self::One(_) => self.send(&ping).await.map(drop),
            }
        });
        // An error is an answer too.
        match answer.await {
            Ok(Err(error)) => !error.is_unrecoverable_error() && !error.is_timeout(),
            Ok(Ok(())) => true,
            Err(_) => false,
        }
    }

    /// How many answers in turn may be missing.
    const fn may_owe(&self) -> u32 {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => OWED,
            Self::Managed(_) | Self::One(_) => 1,
        }
    }

    /// Sends a command. An error reply of the server is an error.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let reply = match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => link.send(command).await,
            Self::Managed(link) => link.clone().req_packed_command(command).await,
            Self::One(link) => link.clone().send_packed_command(command).await,
        };
        reply.and_then(Value::extract_error)
    }

    /// Sends a command to the server that another one went to, and after it.
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

    /// Sends commands in one packet, as far as they go to one server. Each has a result of its own.
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
    /// `closed` becomes true when the driver sees the end of the connection.
    pub(super) fn new(link: Link, server: ServerInfo, closed: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self { link, server, closed })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// A connection that was given cannot be replaced, so it is never closed.
    pub(super) fn close(&self) {
        if self.server.is_known() {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Closes the connection when no answers come to a `PING` each second. Callers give up before, and would never know whether a connection
    /// or a server is slow.
    pub(super) async fn watch(this: Weak<Self>, patience: Duration) {
        let mut owed = 0;
        loop {
            tokio::time::sleep(WATCH).await;
            let Some(live) = this.upgrade().filter(|live| live.is_open()) else { return };
            owed = if live.link.is_alive(patience).await { 0 } else { owed + 1 };
            if owed >= live.link.may_owe() {
                tracing::warn!(
                    backend = crate::error::NAME,
                    "the connection has fallen silent and is replaced"
                );
                return live.close();
            }
        }
    }
}
