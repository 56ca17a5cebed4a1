//! One open connection, and whether it can still be used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::ServerInfo;

/// How often a silent connection is asked for a sign of life.
const WATCH: Duration = Duration::from_secs(1);

/// What carries commands.
#[derive(Clone)]
pub(super) enum Link {
    #[cfg(feature = "cluster")]
    Cluster(super::cluster::ClusterLink),
    Managed(ConnectionManager),
    One(MultiplexedConnection),
}

impl Link {
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => link.send(command).await,
            Self::Managed(link) => link.clone().req_packed_command(command).await,
            Self::One(link) => link.clone().send_packed_command(command).await,
        }
    }

    /// Sends a command to the server that another one went to, and after it.
    pub(super) async fn send_after(&self, command: &Cmd, other: &Cmd) -> RedisResult<Value> {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => link.send_after(command, other).await,
            Self::Managed(_) | Self::One(_) => {
                let _ = other;
                self.send(command).await
            }
        }
    }

    /// Sends commands in one packet, as far as they go to one server.
    pub(super) async fn send_each(&self, commands: Vec<Cmd>) -> RedisResult<Vec<Value>> {
        let count = commands.len();
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => link.send_each(&commands).await,
            Self::Managed(link) => link.clone().send_packed_commands(&packed(commands), 0, count).await,
            Self::One(link) => link.clone().send_packed_commands(&packed(commands), 0, count).await,
        }
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
        let is_ours = match &self.link {
            Link::One(_) => self.server.is_known(),
            _ => false,
        };
        if is_ours {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Closes the connection when no answer comes to a `PING`. Callers give up before, and would never know whether a connection or a
    /// server is slow.
    pub(super) async fn watch(this: Weak<Self>, patience: Duration) {
        loop {
            tokio::time::sleep(WATCH).await;
            let Some(live) = this.upgrade().filter(|live| live.is_open()) else { return };
            let ping = redis::cmd("PING");
            // An error is an answer too.
            let is_silent = match tokio::time::timeout(patience, live.link.send(&ping)).await {
                Ok(Err(error)) => error.is_unrecoverable_error() || error.is_timeout(),
                Ok(Ok(_)) => false,
                Err(_) => true,
            };
            if is_silent {
                tracing::warn!(backend = crate::error::NAME, "the connection has fallen silent and is replaced");
                return live.close();
            }
        }
    }
}
