//! A server of a test's own, with direct access to what the cache stores in it.

use std::num::NonZeroU32;
use std::time::Duration;

use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, logged_out};
use session_core::{
    CacheEntry, Error, ErrorKind, Revision, Scope, SessionCache, SessionId, SessionRecord, Timestamp,
};
use session_redis::redis::{self, FromRedisValue};
use session_redis::{Connection, MacKeyId, MacKeys, RedisCache};
use session_servers::{Kind, Options, Proxy, Server};

use crate::support::{PATIENT, connected, driver_config};

/// Longer than any test takes.
pub(super) const LONG: Duration = Duration::from_secs(600);

const PREFIX: &str = "test";

#[derive(Debug)]
pub(super) struct Lab {
    server: Server,
}

impl Lab {
    pub(super) fn start() -> Option<Self> {
        Self::start_with::<&str>([])
    }

    pub(super) fn start_with<S: Into<String>>(settings: impl IntoIterator<Item = S>) -> Option<Self> {
        let options = Options::default().with_settings(settings);
        blocking(|| Server::for_test(Kind::Redis, &options)).unwrap().map(|server| Self { server })
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// Returns a proxy in front of the server.
    pub(super) async fn proxy(&self) -> Proxy {
        Proxy::to(self.server.port()).await.unwrap()
    }

    pub(super) fn server(&mut self, step: impl FnOnce(&mut Server) -> session_servers::Result<()>) {
        blocking(|| step(&mut self.server)).unwrap();
    }

    /// Returns a connection that is not open yet.
    pub(super) fn connection(&self) -> Connection {
        Connection::open(self.url()).unwrap()
    }

    pub(super) fn cache(&self) -> RedisCache {
        cache_connected(self.connection())
    }

    /// Returns a cache that reaches its server through a proxy, with a generous timeout.
    pub(super) fn cache_behind(&self, proxy: &Proxy) -> RedisCache {
        cache_connected(Connection::open(proxy.url(&self.url())).unwrap().with_timeout(LONG))
    }

    /// Returns a cache that authenticates with the first of these keys and accepts all of them.
    pub(super) fn cache_with_keys(&self, names: &[u32]) -> RedisCache {
        self.cache().with_mac_keys(ring(names))
    }

    /// Runs a command whose words are separated by spaces.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        self.ask_with(command, &[]).await
    }

    /// Runs a command with more arguments in bytes.
    pub(super) async fn ask_with<T: FromRedisValue>(&self, command: &str, bytes: &[&[u8]]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&driver_config()).await.unwrap();
        let mut words = command.split(' ');
        let mut built = redis::cmd(words.next().unwrap());
        for word in words {
            built.arg(word);
        }
        for bytes in bytes {
            built.arg(*bytes);
        }
        built.query_async(&mut connection).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    pub(super) async fn exists(&self, id: SessionId) -> bool {
        self.ask(&format!("EXISTS {}", key(id))).await
    }

    /// Returns the stored bytes.
    pub(super) async fn stored(&self, id: SessionId) -> Vec<u8> {
        self.ask(&format!("GET {}", key(id))).await
    }

    /// Stores bytes for ten minutes.
    pub(super) async fn store(&self, id: SessionId, bytes: &[u8]) {
        let ttl = LONG.as_millis().to_string();
        let () = self.ask_with(&format!("SET {}", key(id)), &[bytes, b"PX", ttl.as_bytes()]).await;
    }

    /// Asserts that the cache refuses the stored entry and removes it.
    pub(super) async fn assert_refused(&self, cache: &RedisCache, id: SessionId) -> Error {
        assert!(self.exists(id).await, "there is nothing to refuse");
        let error = assert_kind(cache.get(SCOPE, id).await, ErrorKind::Corrupt);
        eventually("the refused entry is removed", async || !self.exists(id).await).await;
        assert_eq!(cache.get(SCOPE, id).await.unwrap(), None);
        error
    }

    /// Returns how often a command ran since the statistics were reset.
    pub(super) async fn calls(&self, command: &str) -> u64 {
        let info: String = self.ask("INFO commandstats").await;
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }
}

pub(super) fn cache_connected(connection: Connection) -> RedisCache {
    connected(&connection);
    cache_on(connection)
}

pub(super) fn cache_on(connection: Connection) -> RedisCache {
    RedisCache::new(connection).with_prefix(PREFIX.parse().unwrap())
}

/// Returns the key of an entry in the lab's scope.
pub(super) fn key(id: SessionId) -> String {
    key_in(SCOPE, id)
}

/// Returns the key of an entry, spelled out because operators and other versions rely on it.
pub(super) fn key_in(scope: Scope, id: SessionId) -> String {
    let scope: String = scope.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}:{{{}}}:cache:{scope}:{id}", id.shard().index())
}

pub(super) fn ring(names: &[u32]) -> MacKeys {
    let key = |name: u32| (MacKeyId::new(NonZeroU32::new(name).unwrap()), [u8::try_from(name).unwrap(); 32]);
    let (active, secret) = key(names[0]);
    names[1..].iter().fold(MacKeys::new(active, &secret).unwrap(), |ring, name| {
        let (name, secret) = key(*name);
        ring.with_previous(name, &secret).unwrap()
    })
}

pub(super) fn entry(record: &SessionRecord, revision: u64, verified_at: Timestamp) -> CacheEntry {
    let record = record.clone().with_revision(Revision::new(revision).unwrap());
    CacheEntry::of(SCOPE, record.into(), verified_at)
}

pub(super) fn tombstone(record: &SessionRecord, revision: u64, verified_at: Timestamp) -> CacheEntry {
    let record = record.clone().into_ended(logged_out(5)).with_revision(Revision::new(revision).unwrap());
    CacheEntry::of(SCOPE, record.into(), verified_at)
}

pub(super) async fn put(cache: &RedisCache, entry: &CacheEntry) -> session_core::Result<bool> {
    cache.put_if_newer(entry.clone(), LONG).await
}

pub(super) async fn given(cache: &RedisCache, entry: &CacheEntry) {
    assert!(put(cache, entry).await.unwrap(), "{entry:?} was not stored");
}

pub(super) async fn assert_holds(cache: &RedisCache, entry: &CacheEntry) {
    assert_eq!(cache.get(entry.scope, entry.id).await.unwrap().map(|hit| hit.entry).as_ref(), Some(entry));
}

/// Waits for an effect in another process.
pub(super) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENT, waiting).await.unwrap_or_else(|_| panic!("not so: {what}"));
}

fn blocking<T>(step: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(step)
}
