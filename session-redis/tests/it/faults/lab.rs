//! A server of a test's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use session_core::{SessionId, Shard, UserId};
use session_redis::{Connection, KeyPrefix, RedisStore};
use session_servers::{Kind, Options, Proxy, Server};

use super::RECOVERY;
use crate::support::{PATIENT, connected, driver_config, fresh_prefix};

/// A server, and the prefix of the test's sessions.
pub(super) struct Lab {
    pub(super) keys: Keys,
    server: Server,
}

impl Lab {
    /// Starts a server. Returns `None` if it is not installed, and then the test is skipped.
    pub(super) fn start() -> Option<Self> {
        Self::start_with(&Options::default())
    }

    pub(super) fn start_set(settings: &[&str]) -> Option<Self> {
        Self::start_with(&Options::default().with_settings(settings.iter().copied()))
    }

    pub(super) fn start_with(options: &Options) -> Option<Self> {
        let server = tokio::task::block_in_place(|| Server::for_test(Kind::Redis, options)).unwrap()?;
        Some(Self { keys: Keys(fresh_prefix()), server })
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    /// Returns a proxy in front of the server.
    pub(super) async fn proxy(&self) -> Proxy {
        Proxy::to(self.port()).await.unwrap()
    }

    /// Runs an action on the server.
    pub(super) fn server<T>(&mut self, act: impl FnOnce(&mut Server) -> session_servers::Result<T>) -> T {
        tokio::task::block_in_place(|| act(&mut self.server)).unwrap()
    }

    /// Returns a connected store.
    pub(super) fn store(&self) -> Arc<RedisStore> {
        let store = self.store_at(&self.url());
        connected(store.connection());
        store
    }

    /// Returns a connected store for tests that do not measure time.
    pub(super) fn patient_store(&self) -> Arc<RedisStore> {
        let connection = Connection::open(self.url()).unwrap().with_timeout(PATIENT);
        connected(&connection);
        self.store_on(connection)
    }

    /// Returns a store that is connected through a proxy.
    pub(super) fn store_behind(&self, proxy: &Proxy) -> Arc<RedisStore> {
        let store = self.store_at(&proxy.url(&self.url()));
        connected(store.connection());
        store
    }

    /// Returns a store for a URL of the server, not connected yet.
    pub(super) fn store_at(&self, url: &str) -> Arc<RedisStore> {
        self.store_on(Connection::open(url).unwrap())
    }

    pub(super) fn store_on(&self, connection: Connection) -> Arc<RedisStore> {
        self.keys.store_on(connection)
    }

    /// Returns a connection of the test's own.
    pub(super) async fn raw(&self) -> Raw {
        Raw::to(&self.url()).await
    }
}

/// The names of a store's keys, written a second time: they are a promise to operators.
#[derive(Debug, Clone)]
pub(super) struct Keys(pub(super) KeyPrefix);

impl Keys {
    pub(super) fn fresh() -> Self {
        Self(fresh_prefix())
    }

    pub(super) fn store_on(&self, connection: Connection) -> Arc<RedisStore> {
        Arc::new(RedisStore::builder(connection).prefix(self.0.clone()).build().unwrap())
    }

    pub(super) fn session(&self, id: SessionId) -> String {
        self.of(id.shard(), &format!("session:{id}"))
    }

    pub(super) fn user(&self, user: &UserId) -> String {
        self.of(user.shard(), &format!("user:{user}"))
    }

    pub(super) fn history(&self, user: &UserId) -> String {
        self.of(user.shard(), &format!("history:{user}"))
    }

    pub(super) fn of(&self, shard: Shard, rest: &str) -> String {
        format!("{}:{{{}}}:{rest}", self.0, shard.index())
    }
}

/// A connection for commands that the store never sends.
pub(super) struct Raw(MultiplexedConnection);

impl Raw {
    pub(super) async fn to(url: &str) -> Self {
        let client = redis::Client::open(url).unwrap();
        Self(client.get_multiplexed_async_connection_with_config(&driver_config()).await.unwrap())
    }

    /// Sends the words of a command.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, words: &str) -> T {
        self.send(&command(words)).await
    }

    pub(super) async fn run(&mut self, words: &str) {
        let _: redis::Value = self.ask(words).await;
    }

    pub(super) async fn send<T: FromRedisValue>(&mut self, command: &Cmd) -> T {
        let name = command.args_iter().next().map(|name| format!("{name:?}"));
        self.try_send(command).await.unwrap_or_else(|error| panic!("{name:?}: {error}"))
    }

    pub(super) async fn try_send<T: FromRedisValue>(&mut self, command: &Cmd) -> redis::RedisResult<T> {
        command.query_async(&mut self.0).await
    }

    pub(super) async fn get(&mut self, key: &str) -> Vec<u8> {
        self.send(redis::cmd("GET").arg(key)).await
    }

    pub(super) async fn set(&mut self, key: &str, value: &[u8]) {
        let _: () = self.send(redis::cmd("SET").arg(key).arg(value)).await;
    }

    /// Returns the members of a sorted set and their scores.
    pub(super) async fn members(&mut self, key: &str) -> Vec<(String, i64)> {
        let flat: Vec<(String, f64)> =
            self.send(redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES")).await;
        #[allow(clippy::cast_possible_truncation, reason = "milliseconds are exact in a double")]
        flat.into_iter().map(|(member, score)| (member, score as i64)).collect()
    }

    /// Replaces a key by a value of another type.
    pub(super) async fn make_list(&mut self, key: &str) {
        let mut pipeline = redis::pipe();
        pipeline.cmd("DEL").arg(key).ignore().cmd("RPUSH").arg(key).arg("damage");
        let _: redis::Value = pipeline.query_async(&mut self.0).await.unwrap();
    }

    /// Returns one line of `INFO`.
    pub(super) async fn info(&mut self, section: &str, name: &str) -> Option<String> {
        let info: String = self.send(redis::cmd("INFO").arg(section)).await;
        let line =
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
        line.map(|line| line.trim().to_owned())
    }

    /// Returns how many commands of this name the server has run.
    pub(super) async fn calls(&mut self, command: &str) -> u64 {
        self.count("commandstats", &format!("cmdstat_{command}"), "calls=").await
    }

    /// Returns how often the server has replied with this error.
    pub(super) async fn errors(&mut self, code: &str) -> u64 {
        self.count("errorstats", &format!("errorstat_{code}"), "count=").await
    }

    /// Returns the processor time of the server. A busy machine does not add to it.
    pub(super) async fn worked(&mut self) -> Duration {
        let mut all = 0.0;
        for name in ["used_cpu_user_main_thread", "used_cpu_sys_main_thread"] {
            all += self.info("cpu", name).await.unwrap().parse::<f64>().unwrap();
        }
        Duration::from_secs_f64(all)
    }

    async fn count(&mut self, section: &str, name: &str, field: &str) -> u64 {
        let line = self.info(section, name).await.unwrap_or_default();
        let found = line.split(',').find_map(|part| part.strip_prefix(field)?.parse().ok());
        found.unwrap_or(0)
    }
}

pub(super) fn command(words: &str) -> Cmd {
    let mut command = Cmd::new();
    words.split_whitespace().for_each(|word| {
        command.arg(word);
    });
    command
}

/// Waits until a condition holds.
pub(super) async fn wait_until(what: &str, is_so: impl AsyncFnMut() -> bool) -> Duration {
    wait_for(RECOVERY, what, is_so).await
}

pub(super) async fn wait_for(
    patience: Duration,
    what: &str,
    mut is_so: impl AsyncFnMut() -> bool,
) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < patience, "not after {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

/// Returns true if the store's connection is open, according to its debug output.
pub(super) fn is_open(store: &RedisStore) -> bool {
    format!("{:?}", store.connection()).contains("\"open\"")
}
