//! The way to a server: one multiplexed connection, replaced when it fails.

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

/// How long a call may take, connecting included, unless its caller gives up before.
const RESPONSE: Duration = Duration::from_secs(2);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(1);

/// How long finding the primary through Sentinels, or the nodes of a cluster, and connecting to them may take.
const DIAL: Duration = Duration::from_secs(10);

/// A way to a Redis server that a store, a cache and a bus can share. Cloning it is cheap.
///
/// Everything goes over one connection, on which the calls of all tasks follow each other without waiting for answers. It is opened by
/// the first call, or by [`check`](Self::check).
///
/// # When it fails
/// A connection that breaks is noticed at once, one that only falls silent within about 3 seconds by a `PING` each second. The next call
/// opens a new one; while none can be opened, calls fail at once and it is tried again after 50 ms, then more and more slowly up to
/// once a second. A call that was under way fails, because nobody can tell whether the server had it.
///
/// | bound | default | setting |
/// |---|---|---|
/// | a call, connecting included | 2 s | [`with_timeout`](Self::with_timeout) |
/// | connecting to a server | 1 s | |
/// | finding the servers and connecting, in the background | 10 s | |
/// | calls that wait to be sent | 1,024; the next one waits for room | |
///
/// # Examples
/// ```no_run
/// # async fn start() -> session_core::Result<()> {
/// use session_redis::{Connection, RedisStore};
///
/// let connection = Connection::open("redis://127.0.0.1/")?;
/// connection.check().await?; // now and not under the first request
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
    /// There is none. The next call opens one.
    Closed,
    Dialing(Dial),
    Up(Arc<Live>),
    /// It could not be opened, and is not tried again before then.
    Down {
        until: Instant,
        trouble: Trouble,
        pauses: ExponentialBackoff,
    },
}

impl Connection {
    /// Names a server by its URL. Opens nothing.
    ///
    /// | URL | |
    /// |---|---|
    /// | `redis://user:password@host:6379/0` | TCP |
    /// | `rediss://...` | TCP with TLS, if your own `redis` dependency has a TLS feature |
    /// | `redis+unix:///run/redis.sock?db=0` | Unix socket |
    ///
    /// A [`redis::Client`]'s `ConnectionInfo` will do as well, for certificates of your own.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) if that is no address.
    pub fn open(address: impl IntoConnectionInfo) -> Result<Self> {
        let address =
            address.into_connection_info().map_err(|error| invalid("not the URL of a server", error))?;
        Ok(Self::from_source(Source::server(address)?))
    }

    /// Finds the primary through Sentinels, now and after each failover.
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

    /// Finds the nodes of a cluster, now and whenever slots move. See the [crate's documentation](crate#cluster).
    ///
    /// Protocol, timeouts and the number of retries are set here; everything else is the caller's.
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
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the nodes are no addresses.
    #[cfg(feature = "cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "cluster")))]
    pub fn cluster(nodes: redis::cluster::ClusterClientBuilder) -> Result<Self> {
        let source = Source::cluster(nodes).map_err(|error| invalid("not the nodes of a cluster", error))?;
        Ok(Self::from_source(source))
    }

    fn from_source(source: Source) -> Self {
        Self(Arc::new(Inner { source, timeout: RESPONSE, state: Mutex::new(State::Closed) }))
    }

    /// Sets how long a call may take, connecting included. Default: 2 s.
    ///
    /// The result has a connection of its own.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let (source, state) = (self.0.source.clone(), Mutex::new(State::Closed));
        Self(Arc::new(Inner { source, timeout, state }))
    }

    /// Returns a way to the same server over a connection of its own.
    #[must_use]
    pub fn separate(&self) -> Self {
        self.with_timeout(self.0.timeout)
    }

    /// Connects, if it is not connected, and says what the server is.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) if it cannot be asked, [`Unsupported`](session_core::ErrorKind::Unsupported)
    /// if it is too old or, though named as one server, a node of a cluster.
    pub async fn check(&self) -> Result<ServerInfo> {
        let live = tokio::time::timeout(self.0.timeout, self.live()).await;
        let live = live.map_err(Trouble::from).flatten().map_err(|trouble| trouble.into_error("connect"))?;
        Ok(live.server.clone())
    }

    /// Whether keys of different hash tags may lie on different servers.
    pub(crate) fn is_cluster(&self) -> bool {
        self.0.source.is_cluster()
    }

    /// Sends a command. An error reply of the server is an error.
    pub(crate) async fn run(&self, command: &Cmd) -> Result<Value, Trouble> {
        self.within(async {
            let live = self.live().await?;
            let result = live.link.send(command).await;
            self.settled(&live, result)
        })
        .await
    }

    /// Runs a script, and tells the server its text if it does not know it.
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
            result = live.link.send(&script.spelled_out(call)).await;
        }
        self.settled(live, result)
    }

    /// Runs a script that writes, and waits until so many replicas have it.
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

    /// Sends commands at once, in one packet if they go to one server, and returns the replies in their order.
    pub(crate) async fn run_each(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Trouble> {
        self.results_of_each(commands).await?.into_iter().collect()
    }

    /// The same, where the failure of one command does not hide the replies to the others.
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

    /// The time until which a step that begins now may take.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.0.timeout
    }

    /// Waits until it is connected, or is not.
    pub(crate) async fn ready(&self) -> Result<(), Trouble> {
        self.live().await.map(drop)
    }

    /// Limits a step to the time that a call may take.
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

    /// Opens a connection of its own that hears a channel. `hear` takes every push and must not wait. Callers limit the time.
    pub(crate) async fn listen(
        &self,
        channel: &str,
        hear: impl redis::aio::AsyncPushSender,
    ) -> Result<Listening, Trouble> {
        self.0.source.listen(channel, CONNECT, hear).await
    }

    /// Stops using the present connection: its replies do not fit their questions.
    pub(crate) fn distrust(&self) {
        if let State::Up(live) = &*self.0.state.lock() {
            live.close();
        }
    }

    /// The open connection, or one that is opened now, once for all who ask.
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

    /// Opens a connection in a task, because who began it may give up.
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

/// The pauses between attempts to connect.
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

/// A connection that the application made and looks after: nothing is checked, watched or replaced.
impl From<redis::aio::ConnectionManager> for Connection {
    fn from(connection: redis::aio::ConnectionManager) -> Self {
        Self::from_source(Source::given(Link::Managed(connection)))
    }
}

/// A connection that the application made. Nothing is checked or watched, and it is not replaced when it fails.
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
