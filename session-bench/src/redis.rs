//! The Redis store, compared with raw commands with the same bytes on the same kind of connection.

use std::hint::black_box;
use std::ops::Deref;
use std::sync::Arc;

use session_redis::redis::aio::MultiplexedConnection;
use session_redis::redis::{AsyncConnectionConfig, Client, Cmd, cmd};
use session_redis::{Connection, RedisStore};
use session_servers::{Kind, Server};

use crate::stored::{Stored, TASKS, new, runtime, saved};

/// A filled store, and a connection for its floors.
#[derive(Debug)]
pub struct RedisScene {
    stored: Stored<RedisStore>,
    raw: MultiplexedConnection,
    /// The stored bytes of a session.
    value: Vec<u8>,
}

impl Deref for RedisScene {
    type Target = Stored<RedisStore>;

    fn deref(&self) -> &Self::Target {
        &self.stored
    }
}

impl RedisScene {
    /// Fills a store. The client has `threads` threads; one means the calling thread.
    ///
    /// # Panics
    /// If the server cannot be started.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let server = Server::start(Kind::Redis).expect("a Redis server; `cargo xtask test` installs one");
        let (runtime, url) = (runtime(threads), server.url());
        let store = RedisStore::new(Connection::open(&*url).expect("an address"));
        let client = Client::open(url).expect("an address");
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let raw = runtime
            .block_on(client.get_multiplexed_async_connection_with_config(&config))
            .expect("a connection");
        let stored = Stored::fill(runtime, store, server);
        let mut get = cmd("GET");
        get.arg(key(&stored, 0));
        let value = stored.block_on(get.query_async(&mut raw.clone())).expect("a session");
        Self { stored, raw, value }
    }

    /// Reads the bytes of sessions.
    pub fn raw_get(&self, times: u32) {
        self.run(times, async |record, _| {
            let mut get = cmd("GET");
            get.arg(key_of(record.id));
            assert!(black_box(self.send::<Vec<u8>>(&get).await).len() >= self.value.len());
        });
    }

    /// Builds sessions, and writes as many bytes under new keys.
    pub fn raw_create(&self, times: u32) {
        self.run(times, async |_, step| {
            let record = black_box(new(step));
            self.set(format!("{}:{step}", key_of(record.id))).await;
        });
    }

    /// Changes sessions, and writes as many bytes under one raw key for each session.
    pub fn raw_update(&self, times: u32) {
        self.run(times, async |record, step| {
            let record = black_box(saved(record, step));
            self.set(format!("{}:raw", key_of(record.id))).await;
        });
    }

    async fn set(&self, key: String) {
        let mut set = cmd("SET");
        set.arg(key).arg(&self.value).arg("PX").arg(34_560_000_000_u64);
        self.send::<()>(&set).await;
    }

    /// Reads the bytes of sessions in 64 tasks at once.
    pub fn raw_get_at_once(&self, times: u32) {
        let keys: Arc<Vec<_>> = Arc::new(self.records().iter().map(|record| key_of(record.id)).collect());
        self.block_on(async {
            let tasks = (0..TASKS).map(|task| {
                let (mut raw, keys) = (self.raw.clone(), Arc::clone(&keys));
                tokio::spawn(async move {
                    for step in 0..times / TASKS {
                        let mut get = cmd("GET");
                        get.arg(&keys[(step * TASKS + task) as usize * 7_919 % keys.len()]);
                        black_box(get.query_async::<Vec<u8>>(&mut raw).await.expect("a session"));
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("a task that ends");
            }
        });
    }

    async fn send<T: session_redis::redis::FromRedisValue>(&self, command: &Cmd) -> T {
        command.query_async(&mut self.raw.clone()).await.expect("an answer")
    }
}

fn key(stored: &Stored<RedisStore>, number: usize) -> String {
    key_of(stored.records()[number].id)
}

fn key_of(id: session_core::SessionId) -> String {
    format!("session-kit:{{{}}}:session:{id}", id.shard().index())
}
