//! The connection to a server: multiplexed, and replaced when it fails.

#[cfg(feature = "cluster")]
mod cluster;
mod dial;
mod link;
mod server;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use redis::{Cmd, IntoConnectionInfo, ServerErrorKind, Value};
use session_core::{Error, Result};
use tokio::time::Instant;

use crate::error::{NAME, Trouble, server_kind};
use crate::script::{Script, millis};
pub(crate) use dial::Listening;
use dial::Source;
use link::{Link, Live};
pub use server::ServerInfo;

/// How long a call may take, connecting included, unless its caller gives up earlier.
const RESPONSE: Duration = Duration::from_secs(2);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(1);

/// How long it may take to find the primary through Sentinels, or the nodes of a cluster, and to
/// connect to them.
const DIAL: Duration = Duration::from_secs(10);

/// A handle to a Redis server that a store, a cache and a bus can share. Cloning it is cheap.
///
/// All calls use one connection, on which the calls of all tasks follow each other without waiting
/// for replies. The first call opens it, or [`check`](Self::check).
///
/// # When it fails
/// A broken connection is noticed immediately, a silent one within about 3 seconds by a `PING` each
/// second. The next call opens a new connection. While none can be opened, calls fail immediately,
/// and a new attempt is made after 50 ms, then at growing intervals of up to a second. A call in
/// flight fails, because whether the server ran it is unknown.
///
/// | bound | default | setting |
/// |---|---|---|
/// | a call, connecting included | 2 s | [`with_timeout`](Self::with_timeout) |
/// | connecting to a server | 1 s | |
/// | finding the servers and connecting, in the background | 10 s | |
/// | calls that are queued for sending | 1,024; the next one waits for room | |
///
/// # Examples
/// ```no_run
/// # async fn start() -> session_core::Result<()> {
/// use session_redis::{Connection, RedisStore};
///
/// let connection = Connection::open("redis://127.0.0.1/")?;
/// connection.check().await?; // connects now instead of during the first request
/// let store = RedisStore::new(connection);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    source: Source,
    timeout: Duration,
    state: Mutex<State>,
}

type Dial = Shared<BoxFuture<'static, Result<Arc<Live>, Trouble>>>;

enum State {
    /// There is no connection. The next call opens one.
    Closed,
    Dialing(Dial),
    Up(Arc<Live>),
    /// Opening failed. There is no other attempt before `until`.
    Down {
        until: Instant,
        trouble: Trouble,
        pauses: ExponentialBackoff,
    },
}

impl Connection {
    /// Creates a connection to the server of a URL. Opens nothing.
    ///
    /// | URL | |
    /// |---|---|
    /// | `redis://user:password@host:6379/0` | TCP |
    /// | `rediss://...` | TCP with TLS, if your own `redis` dependency has a TLS feature |
    /// | `redis+unix:///run/redis.sock?db=0` | Unix socket |
    ///
    /// For certificates of your own, pass the `ConnectionInfo` of a [`redis::Client`].
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for an invalid address.
    pub fn open(address: impl IntoConnectionInfo) -> Result<Self> {
        let address =
            address.into_connection_info().map_err(|error| invalid("not the URL of a server", error))?;
        Ok(Self::from_source(Source::server(address)?))
    }

    /// Creates a connection to the primary that Sentinels name, now and after each failover.
    ///
    /// # Examples
    /// ```
    /// use redis::ConnectionAddr::Tcp;
    /// use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
    /// use session_redis::Connection;
    ///
    /// let sentinels = [Tcp("10.0.0.1".to_owned(), 26379), Tcp("10.0.0.2".to_owned(), 26379)];
    /// let client = SentinelClientBuilder::new(sentinels, "session", SentinelServerType::Master)?
    ///     .set_client_to_redis_password("secret")
    ///     .build()?;
    /// let connection = Connection::sentinel(client);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sentinel(client: redis::sentinel::SentinelClient) -> Self {
        Self::from_source(Source::sentinel(client))
    }

    /// Creates a connection to a cluster, whose nodes are discovered now and whenever slots move.
    /// See the [crate's documentation](crate#cluster).
    ///
    /// This function sets the protocol, the timeouts and the number of retries; everything else is
    /// up to the caller.
    ///
    /// # Examples
    /// ```
    /// use redis::cluster::ClusterClientBuilder;
    /// use session_redis::Connection;
    ///
    /// let connection = Connection::cluster(ClusterClientBuilder::new(["redis://10.0.0.1", "redis://10.0.0.2"]))?;
    /// # Ok::<(), session_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for an invalid address of a node.
    #[cfg(feature = "cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cluster")))]
    pub fn cluster(nodes: redis::cluster::ClusterClientBuilder) -> Result<Self> {
        let source = Source::cluster(nodes).map_err(|error| invalid("not the nodes of a cluster", error))?;
        Ok(Self::from_source(source))
    }

    fn from_source(source: Source) -> Self {
        Self(Arc::new(Inner { source, timeout: RESPONSE, state: Mutex::new(State::Closed) }))
    }

    /// Sets the timeout of a call, connecting included. Default: 2 s.
    ///
    /// The result has a connection of its own.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let (source, state) = (self.0.source.clone(), Mutex::new(State::Closed));
        Self(Arc::new(Inner { source, timeout, state }))
    }

    /// Returns a handle to the same server with a connection of its own.
    #[must_use]
    pub fn separate(&self) -> Self {
        self.with_timeout(self.0.timeout)
    }

    /// Connects, unless it is connected, and returns what the server reports about itself.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) if the server cannot be asked,
    /// [`Unsupported`](session_core::ErrorKind::Unsupported) if it is too old, or a node of a
    /// cluster that was opened as a single server.
    pub async fn check(&self) -> Result<ServerInfo> {
        let live = tokio::time::timeout(self.0.timeout, self.live()).await;
        let live = live.map_err(Trouble::from).flatten().map_err(|trouble| trouble.into_error("connect"))?;
        Ok(live.server.clone())
    }

    /// Returns true if keys with different hash tags may be on different servers.
    pub(crate) fn is_cluster(&self) -> bool {
        self.0.source.is_cluster()
    }

    /// Sends a command. An error reply of the server is returned as an error.
    pub(crate) async fn run(&self, command: &Cmd) -> Result<Value, Trouble> {
        self.within(async {
            let live = self.live().await?;
            let result = live.link.send(command).await;
            self.settled(&live, result)
        })
        .await
    }

    /// Runs a script, and sends its text if the server does not know it.
    pub(crate) async fn script(&self, script: &Script, call: &Cmd) -> Result<Value, Trouble> {
        self.within(async {
            let live = self.live().await?;
            self.script_on(&live, script, call).await
        })
        .await
    }

    async fn script_on(&self, live: &Arc<Live>, script: &Script, call: &Cmd) -> Result<Value, Trouble> {
        let mut result = live.link.send(call).await;
        if result.as_ref().is_err_and(|error| server_kind(error) == Some(ServerErrorKind::NoScript)) {
            result = live.link.send(&script.with_text(call)).await;
        }
        self.settled(live, result)
    }

    /// Runs a script that writes, and waits until `replicas` replicas have the write.
    pub(crate) async fn script_on_replicas(
        &self,
        script: &Script,
        call: &Cmd,
        replicas: u32,
        patience: Duration,
    ) -> Result<Value, Trouble> {
        self.within(async {
            let live = self.live().await?;
            let reply = self.script_on(&live, script, call).await?;
            let confirmed =
                live.link.send_after(redis::cmd("WAIT").arg(replicas).arg(millis(patience)), call).await;
            match self.settled(&live, confirmed)? {
                Value::Int(confirmed) if confirmed >= i64::from(replicas) => Ok(reply),
                _ => {
                    let detail = "written, but too few replicas confirmed it";
                    Err(Error::unavailable(NAME, "write").with_detail(detail).into())
                }
            }
        })
        .await
    }

    /// Sends commands together, in one packet if they go to one server, and returns the replies in
    /// their order.
    pub(crate) async fn run_each(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Trouble> {
        self.results_of_each(commands).await?.into_iter().collect()
    }

    /// Sends commands as [`run_each`](Self::run_each) does, and returns a result for each: the
    /// failure of one command does not hide the replies to the others.
    pub(crate) async fn results_of_each(
        &self,
        commands: Vec<Cmd>,
    ) -> Result<Vec<Result<Value, Trouble>>, Trouble> {
        self.within(async {
            let live = self.live().await?;
            let results = self.settled(&live, live.link.send_each(commands).await)?;
            Ok(results.into_iter().map(|result| self.settled(&live, result)).collect())
        })
        .await
    }

    /// Returns the deadline of a step that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.0.timeout
    }

    /// Waits until the connection is open or has failed.
    pub(crate) async fn ready(&self) -> Result<(), Trouble> {
        self.live().await.map(drop)
    }

    /// Limits a step to the timeout of a call.
    pub(crate) async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        tokio::time::timeout(self.0.timeout, step).await?
    }

    fn settled<T>(&self, live: &Arc<Live>, result: redis::RedisResult<T>) -> Result<T, Trouble> {
        let result = result.map_err(Trouble::from);
        if !live.link.is_cluster() && result.as_ref().is_err_and(Trouble::condemns_link) {
            live.close();
        }
        result
    }

    /// Opens a separate connection that subscribes to a channel. `on_push` receives every push and
    /// must not block. The caller limits the time.
    pub(crate) async fn listen(
        &self,
        channel: &str,
        on_push: impl redis::aio::AsyncPushSender,
    ) -> Result<Listening, Trouble> {
        self.0.source.listen(channel, CONNECT, on_push).await
    }

    /// Stops using the current connection, because its replies do not match the commands.
    pub(crate) fn distrust(&self) {
        if let State::Up(live) = &*self.0.state.lock() {
            live.close();
        }
    }

    /// Returns the open connection, or opens one. Concurrent callers share one attempt.
    async fn live(&self) -> Result<Arc<Live>, Trouble> {
        let dial = {
            let mut state = self.0.state.lock();
            match &mut *state {
                State::Up(live) if live.is_open() => return Ok(Arc::clone(live)),
                State::Down { until, trouble, .. } if Instant::now() < *until => return Err(trouble.clone()),
                State::Dialing(dial) => dial.clone(),
                State::Closed | State::Down { .. } | State::Up(_) => {
                    let pauses = match std::mem::replace(&mut *state, State::Closed) {
                        State::Down { pauses, .. } => pauses,
                        _ => pauses(),
                    };
                    let dial = Self::dial(Arc::clone(&self.0), pauses);
                    *state = State::Dialing(dial.clone());
                    dial
                }
            }
        };
        dial.await
    }

    /// Opens a connection in a task, because the caller that started it may give up.
    fn dial(inner: Arc<Inner>, mut pauses: ExponentialBackoff) -> Dial {
        let task = tokio::spawn(async move {
            let dial = tokio::time::timeout(DIAL, inner.source.dial(CONNECT));
            let result = dial.await.map_err(Trouble::from).flatten();
            *inner.state.lock() = match &result {
                Ok(live) => State::Up(Arc::clone(live)),
                Err(trouble) => {
                    let until = Instant::now() + pauses.next().unwrap_or_default();
                    State::Down { until, trouble: trouble.clone(), pauses }
                }
            };
            result
        });
        // The task neither panics nor is aborted, unless the runtime ends.
        let ended = || Error::unavailable(NAME, "connect").with_detail("the runtime has ended");
        async move { task.await.unwrap_or_else(|_| Err(Trouble::Known(ended()))) }.boxed().shared()
    }
}

/// Returns the pauses between attempts to connect.
pub(crate) fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter()
        .build()
}

fn invalid(detail: &'static str, error: redis::RedisError) -> Error {
    Error::invalid("connect", detail).with_source(error)
}

/// Uses a connection that the application made and manages: nothing is checked, watched or
/// replaced.
impl From<redis::aio::ConnectionManager> for Connection {
    fn from(connection: redis::aio::ConnectionManager) -> Self {
        Self::from_source(Source::given(Link::Managed(connection)))
    }
}

/// Uses a connection that the application made. It is neither checked nor watched, and not replaced
/// when it fails.
impl From<redis::aio::MultiplexedConnection> for Connection {
    fn from(connection: redis::aio::MultiplexedConnection) -> Self {
        Self::from_source(Source::given(Link::One(connection)))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.0.state.lock() {
            State::Up(live) if live.is_open() => "open",
            State::Dialing(_) => "connecting",
            State::Down { .. } => "down",
            State::Closed | State::Up(_) => "closed",
        };
        f.debug_struct("Connection").field("to", &self.0.source).field("state", &state).finish()
    }
}
