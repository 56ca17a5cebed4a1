//! A cluster: its nodes, and how commands follow a slot that has moved.

use std::time::Duration;

use futures_util::FutureExt;
use redis::aio::ConnectionLike;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::io::tcp::TcpSettings;
use redis::{
    Arg, Cmd, ErrorKind, Pipeline, ProtocolVersion, RedisError, RedisResult, ServerErrorKind, Value,
};

use crate::shards::side_by_side;

/// How often a command is redirected or repeated because a node reported that it did not run it.
/// While the slot moves, repetition continues until the call's time is over.
const HOPS: u32 = 6;

/// Increment of the pause before each repetition: the cluster's new layout has to spread.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) struct ClusterLink(ClusterConnection);

/// Builds a client that repeats nothing: after the driver repeats a command whose connection broke,
/// it is unknown which call created or ended a session. This module repeats only commands that are
/// certain not to have run.
pub(super) fn client(nodes: ClusterClientBuilder, tcp: TcpSettings) -> RedisResult<ClusterClient> {
    nodes
        .retries(0)
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(super::CONNECT)
        .response_timeout(super::RESPONSE)
        .tcp_settings(tcp)
        .build()
}

impl ClusterLink {
    pub(super) async fn connect(client: &ClusterClient) -> RedisResult<Self> {
        client.get_async_connection().await.map(Self)
    }

    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let mut result = self.once(command).await;
        let mut hop = 0;
        loop {
            let error = match result.and_then(Value::extract_error) {
                Err(error) if did_not_run(&error) && (hop < HOPS || is_moving(&error)) => error,
                settled => return settled,
            };
            let elsewhere = asked_elsewhere(&error);
            if elsewhere.is_none() || hop == HOPS {
                tokio::time::sleep((hop + 1) * PAUSE).await;
            }
            hop = HOPS.min(hop + 1);
            result = match elsewhere {
                Some(node) => self.ask(node, command).await,
                None => self.once(command).await,
            };
        }
    }

    async fn once(&self, command: &Cmd) -> RedisResult<Value> {
        self.0.clone().req_packed_command(command).await
    }

    /// Sends a command to the node that a slot is moving to ([cluster
    /// specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#ask-redirection)).
    async fn ask(&self, node: SingleNodeRoutingInfo, command: &Cmd) -> RedisResult<Value> {
        let mut copy = Cmd::new();
        for argument in command.args_iter() {
            if let Arg::Simple(bytes) = argument {
                copy.arg(bytes);
            }
        }
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ASKING").ignore().add_command(copy);
        let mut replies = self.0.clone().route_pipeline(pipeline, 0, 2, node).await?;
        Ok(replies.pop().unwrap_or(Value::Nil))
    }

    /// Sends commands concurrently: each may go to another node.
    pub(super) async fn send_each(&self, commands: &[Cmd]) -> Vec<RedisResult<Value>> {
        side_by_side(commands.iter().map(|command| self.send(command).boxed()).collect()).await
    }

    /// Sends a command to the node that holds the first key of a script's call.
    pub(super) async fn send_after(&self, command: &Cmd, call: &Cmd) -> RedisResult<Value> {
        let route = match call.args_iter().nth(3) {
            Some(Arg::Simple(key)) => {
                SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master))
            }
            _ => SingleNodeRoutingInfo::Random,
        };
        self.0.clone().route_command(command.clone(), RoutingInfo::SingleNode(route)).await
    }

    pub(super) async fn of_each_primary(&self, command: &Cmd) -> RedisResult<Vec<Value>> {
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        match self.0.clone().route_command(command.clone(), everywhere).await? {
            Value::Map(replies) => Ok(replies.into_iter().map(|(_, reply)| reply).collect()),
            Value::Array(replies) => Ok(replies),
            reply => Ok(vec![reply]),
        }
    }
}

/// Returns true if the node reported that it did not run the command, and another node or a later
/// attempt may succeed.
fn did_not_run(error: &RedisError) -> bool {
    is_moving(error)
        || matches!(
            error.kind(),
            ErrorKind::ClusterConnectionNotFound
                | ErrorKind::Server(
                    ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::Moved
                        | ServerErrorKind::ReadOnly
                )
        )
}

/// Returns true if the slot is moving from one node to another.
fn is_moving(error: &RedisError) -> bool {
    // Scripts read all their keys before they write.
    error.detail().is_some_and(|detail| detail.contains("non local key"))
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::TryAgain))
}

fn asked_elsewhere(error: &RedisError) -> Option<SingleNodeRoutingInfo> {
    if error.kind() != ErrorKind::Server(ServerErrorKind::Ask) {
        return None;
    }
    let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
    Some(SingleNodeRoutingInfo::ByAddress { host: host.to_owned(), port: port.parse().ok()? })
}

/// Uses a connection that the application made and manages: nothing is checked, watched or
/// replaced.
///
/// The driver repeats commands when a connection breaks, unless its client was built with
/// `retries(0)`. A repeated command reports "already exists" or "already ended" although this very
/// call created or ended the session.
impl From<ClusterConnection> for super::Connection {
    fn from(connection: ClusterConnection) -> Self {
        Self::from_source(super::Source::given(super::Link::Cluster(ClusterLink(connection))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_moves_is_not_an_outage() {
        let failed = |kind| RedisError::from((ErrorKind::Server(kind), "reported"));
        let half = "Script attempted to access a non local key in a cluster node".to_owned();
        let half = RedisError::from((ErrorKind::Server(ServerErrorKind::ResponseError), "reported", half));
        for error in [failed(ServerErrorKind::Ask), failed(ServerErrorKind::TryAgain), half] {
            assert!(did_not_run(&error) && is_moving(&error), "{error}");
        }
        for kind in [ServerErrorKind::ClusterDown, ServerErrorKind::MasterDown, ServerErrorKind::Moved] {
            assert!(did_not_run(&failed(kind)) && !is_moving(&failed(kind)), "{kind:?}");
        }
        assert!(!did_not_run(&failed(ServerErrorKind::ResponseError)));
    }
}
