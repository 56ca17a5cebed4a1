//! Opens connections.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::AsyncPushSender;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ProtocolVersion, PushKind};
use session_core::{Error, Result};
use tokio::sync::Mutex;

use super::link::{Link, Live};
use super::{ServerInfo, invalid};
use crate::error::{NAME, Trouble};

/// Maximum number of commands that wait to be sent. The driver's default of 50 blocks callers long
/// before a server is busy.
const QUEUE: usize = 1024;

/// How long the network may leave sent bytes unacknowledged, and an idle peer unprobed.
const NETWORK: Duration = Duration::from_secs(3);

/// The target of a connection.
#[derive(Clone)]
pub(super) enum Source {
    #[cfg(feature = "cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
    Given(Box<Link>),
    Sentinel(Arc<Mutex<SentinelClient>>),
    Server(Client),
}

impl Source {
    pub(super) fn server(address: ConnectionInfo) -> Result<Self> {
        let client =
            Client::open(prepared(address)).map_err(|error| invalid("not the URL of a server", error))?;
        Ok(Self::Server(client))
    }

    pub(super) fn sentinel(client: SentinelClient) -> Self {
        Self::Sentinel(Arc::new(Mutex::new(client)))
    }

    pub(super) fn given(link: Link) -> Self {
        Self::Given(Box::new(link))
    }

    #[cfg(feature = "cluster")]
    pub(super) fn cluster(nodes: redis::cluster::ClusterClientBuilder) -> redis::RedisResult<Self> {
        super::cluster::client(nodes, tcp()).map(|client| Self::Cluster(Box::new(client)))
    }

    pub(super) fn is_cluster(&self) -> bool {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
            Self::Given(link) => link.is_cluster(),
            Self::Sentinel(_) | Self::Server(_) => false,
        }
    }

    /// Opens a connection and checks the server.
    pub(super) async fn dial(&self, patience: Duration) -> Result<Arc<Live>, Trouble> {
        let closed = Arc::new(AtomicBool::new(false));
        let (link, server) = match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(client) => {
                let link = super::cluster::ClusterLink::connect(client).await?;
                let server = ServerInfo::of_cluster(&link).await?;
                (Link::Cluster(link), server)
            }
            Self::Given(link) => return Ok(Live::new(Link::clone(link), ServerInfo::unknown(), closed)),
            Self::Sentinel(client) => {
                Self::connect(&primary(client).await?, patience, Arc::clone(&closed)).await?
            }
            Self::Server(client) => Self::connect(client, patience, Arc::clone(&closed)).await?,
        };
        let live = Live::new(link, server, closed);
        tokio::spawn(Live::watch(Arc::downgrade(&live), 2 * patience));
        Ok(live)
    }

    /// Opens a connection that subscribes to a channel. `on_push` receives every push and must not
    /// block.
    pub(super) async fn listen(
        &self,
        channel: &str,
        patience: Duration,
        on_push: impl AsyncPushSender,
    ) -> Result<Listening, Trouble> {
        let client = match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(client) => {
                // Without this setting, the driver has no response timeout.
                let config = redis::cluster::ClusterConfig::new()
                    .set_response_timeout(patience)
                    .set_push_sender(on_push);
                let mut link = client.get_async_connection_with_config(config).await?;
                link.subscribe(channel).await?;
                return Ok(Listening { _link: Box::new(link) });
            }
            Self::Given(_) => {
                let detail =
                    "a connection that the application made cannot be subscribed: name the server instead";
                return Err(Error::unsupported(NAME, "subscribe").with_detail(detail).into());
            }
            Self::Sentinel(client) => primary(client).await?,
            Self::Server(client) => client.clone(),
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience))
            .set_push_sender(on_push);
        let mut link = client.get_multiplexed_async_connection_with_config(&config).await?;
        link.subscribe(channel).await?;
        Ok(Listening { _link: Box::new(link) })
    }

    /// Connects to a server. `closed` becomes true when the connection ends.
    async fn connect(
        client: &Client,
        patience: Duration,
        closed: Arc<AtomicBool>,
    ) -> Result<(Link, ServerInfo), Trouble> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            // Callers have a timeout of their own, which covers connecting too.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE)
            .set_push_sender(move |push: redis::PushInfo| {
                if push.kind == PushKind::Disconnection {
                    closed.store(true, Ordering::Relaxed);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let link = Link::One(client.get_multiplexed_async_connection_with_config(&config).await?);
        let server = tokio::time::timeout(patience, ServerInfo::of(&link)).await??;
        Ok((link, server))
    }
}

/// Returns a client of the primary that the sentinels currently name.
async fn primary(sentinels: &Mutex<SentinelClient>) -> Result<Client, Trouble> {
    let found = sentinels.lock().await.async_get_client().await?;
    Ok(Client::open(prepared(found.get_connection_info().clone()))?)
}

/// A connection that is subscribed to a channel until it is dropped.
pub(crate) struct Listening {
    _link: Box<dyn Any + Send + Sync>,
}

/// Prepares an address for RESP3, which reports a lost connection when it happens and not to the
/// next caller.
fn prepared(address: ConnectionInfo) -> ConnectionInfo {
    let settings = address.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    address.set_redis_settings(settings).set_tcp_settings(tcp())
}

fn tcp() -> TcpSettings {
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(TcpKeepalive::new().with_time(NETWORK).with_interval(NETWORK / 3));
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(NETWORK);
    settings
}

/// Shows addresses, but never a password.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => f.write_str("a cluster"),
            Self::Given(_) => f.write_str("a connection of the application"),
            Self::Sentinel(_) => f.write_str("the primary that sentinels name"),
            Self::Server(client) => write!(f, "{}", client.get_connection_info().addr()),
        }
    }
}
