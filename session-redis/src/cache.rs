//! The shared cache.

mod entry;
mod keys;

use std::time::Duration;

use futures_util::future::join;
use redis::Value;
use session_core::{
    CacheEntry, CacheHit, Error, ErrorKind, Result, Scope, SessionCache, SessionId, async_trait,
};

use crate::connection::Connection;
use crate::error::{NAME, Trouble};
use crate::keys::KeyPrefix;
use crate::script;
use entry::Refusal;
pub use keys::{MacKeyId, MacKeys};

const GET: &str = "get";
const PUT: &str = "put_if_newer";
const REMOVE: &str = "remove";

/// `PTTL` of a key that does not exist.
const MISSING: i64 = -2;

/// `PTTL` of a key without a time to live.
const ENDLESS: i64 = -1;

/// A cache in Redis that all nodes share.
///
/// Every entry is one string under `{prefix}:{shard}:cache:<scope>:<session id>`, with a time to
/// live. It works on a single server, behind Sentinels and on a cluster.
///
/// | setting | default | range |
/// |---|---|---|
/// | [`with_prefix`](Self::with_prefix) | `session-kit` | see [`KeyPrefix`] |
/// | [`with_max_ttl`](Self::with_max_ttl) | 1 hour | 1 ms to 1 day |
/// | [`with_mac_keys`](Self::with_mac_keys) | none | |
///
/// An ACL user with only the rights that the cache needs has `+get +pttl +eval +evalsha +getrange
/// +set +unlink +ping` and the keys `~<prefix>:*`.
///
/// # What is refused
/// [`get`](SessionCache::get) returns [`Corrupt`](ErrorKind::Corrupt) and removes the entry if
///
/// - the value cannot be read, or is not a string;
/// - it names another session or another [scope](Scope) than its key. The connection is replaced
///   then, because its replies may be out of order;
/// - it has no time to live, or a longer one than it was given: prolonging an entry must not
///   prolong a session;
/// - no known key authenticated it, if keys are set.
///
/// # When the memory is full
/// With `maxmemory-policy noeviction` new records are not stored
/// ([`Unavailable`](ErrorKind::Unavailable)). A record still replaces an older one, and a tombstone
/// is always stored. With any other policy the server may evict any entry, which a cache allows.
///
/// # Security
/// Entries contain data and the hashes of secrets, unencrypted. A client that can **read** the
/// server reads the data of sessions, but gets no token.
///
/// Without MAC keys, a client that can **write** to the server can forge sessions: with an entry
/// that confirms a token of its own as a session of any user. It can also sign users out with
/// forged tombstones. With [MAC keys](Self::with_mac_keys) it can only
///
/// - remove entries, which costs a read of the store of record, or keep them from being stored;
/// - put back an entry that was stored before, under the same key and prefix. The entry still
///   contains the time of its verification, so readers refuse it once it is older than their limit
///   for stale copies. Until then an ended session may seem live, as if the cache had not received
///   the end. A tombstone is final and may be put back at any time.
///
/// # Examples
/// ```no_run
/// use std::num::NonZeroU32;
/// use session_redis::{Connection, MacKeyId, MacKeys, RedisCache};
///
/// # fn key_from_vault() -> [u8; 32] { [0; 32] }
/// let keys = MacKeys::new(MacKeyId::new(NonZeroU32::MIN), &key_from_vault())?;
/// let cache = RedisCache::new(Connection::open("redis://127.0.0.1/")?)
///     .with_prefix("shop".parse()?)
///     .with_mac_keys(keys);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RedisCache {
    connection: Connection,
    prefix: KeyPrefix,
    max_ttl: Duration,
    keys: Option<MacKeys>,
}

impl RedisCache {
    /// Range of [`with_max_ttl`](Self::with_max_ttl).
    const MAX_TTL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(86_400));

    /// Creates a cache. Opens no connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        let max_ttl = Duration::from_secs(3_600);
        Self { connection, prefix: KeyPrefix::default(), max_ttl, keys: None }
    }

    /// Sets the prefix of all keys.
    #[must_use]
    pub fn with_prefix(mut self, prefix: KeyPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Sets the longest time to live of an entry. Longer ones are cut to it.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) outside of 1 ms to 1 day.
    pub fn with_max_ttl(mut self, ttl: Duration) -> Result<Self> {
        let (shortest, longest) = Self::MAX_TTL;
        if !(shortest..=longest).contains(&ttl) {
            return Err(Error::invalid("configure", "the longest time to live is 1 ms to 1 day"));
        }
        self.max_ttl = ttl;
        Ok(self)
    }

    /// Sets the keys that authenticate entries. Entries that none of them authenticated are
    /// refused.
    ///
    /// Costs one SHA-256 of an entry's bytes for each call. Nodes with and without keys may share a
    /// cache while the keys are introduced; nodes with keys refuse the entries of nodes without.
    #[must_use]
    pub fn with_mac_keys(mut self, keys: MacKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Returns the error for a reply that belongs to another command. The connection is not used
    /// again.
    fn mismatched(&self, operation: &'static str) -> Error {
        self.connection.distrust();
        Trouble::mismatched(operation).into_error(operation)
    }

    /// Removes a refused entry in the background, unless it was replaced meanwhile.
    fn discard(&self, key: &str, value: &[u8], for_its_ttl: bool) {
        let mut call = script::CACHE_REFUSE.call(&[key]);
        call.arg(value).arg(u8::from(for_its_ttl));
        let connection = self.connection.clone();
        tokio::spawn(async move {
            if let Err(trouble) = connection.script(&script::CACHE_REFUSE, &call).await {
                let error = trouble.into_error(GET);
                tracing::debug!(backend = NAME, %error, "a refused entry was not removed");
            }
        });
    }
}

#[async_trait]
impl SessionCache for RedisCache {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>> {
        let key = self.prefix.cached(scope, id);
        let (mut pttl, mut get) = (redis::cmd("PTTL"), redis::cmd("GET"));
        pttl.arg(&key);
        get.arg(&key);
        // Both commands are sent before either reply arrives. A script would be a single step, but
        // takes three times as much of the server's time: 4.3 us instead of 1.2 us on Redis 7.0. So
        // an entry may be replaced between the two commands. The new entry mostly has more time
        // left, and the time is read first, so it does not exceed the time to live of either entry.
        let (remaining, value) = join(self.connection.run(&pttl), self.connection.run(&get)).await;
        let value = match value {
            Ok(Value::Nil) => return Ok(None),
            Ok(Value::BulkString(value)) => value,
            Ok(_) => return Err(self.mismatched(GET)),
            Err(trouble) => {
                let error = trouble.into_error(GET);
                if error.kind() == ErrorKind::Corrupt {
                    self.discard(&key, &[], false);
                }
                return Err(error);
            }
        };
        let remaining = match remaining {
            // The entry was stored between the two commands.
            Ok(Value::Int(MISSING)) => return Ok(None),
            Ok(Value::Int(remaining)) => remaining,
            Ok(_) => return Err(self.mismatched(GET)),
            Err(trouble) => return Err(trouble.into_error(GET)),
        };
        let stored = entry::read(&value, &key, (scope, id), self.keys.as_ref()).map_err(|refusal| {
            if refusal == Refusal::Another {
                self.connection.distrust();
            }
            self.discard(&key, &value, false);
            refusal.into_error(GET)
        })?;
        let detail = match u64::try_from(remaining) {
            Ok(remaining) if remaining <= stored.ttl => {
                return Ok(Some(CacheHit::new(stored.entry, Duration::from_millis(remaining))));
            }
            Err(_) if remaining == ENDLESS => "an entry without a time to live",
            _ => "an entry lives longer than it was given",
        };
        self.discard(&key, &value, true);
        Err(Error::corrupt(NAME, GET, detail))
    }

    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
        // At most a day.
        let ttl = u64::try_from(ttl.min(self.max_ttl).as_millis()).unwrap_or(0);
        if ttl == 0 {
            return Ok(false);
        }
        let key = self.prefix.cached(entry.scope, entry.id);
        let scope_and_id = [*entry.scope.as_bytes(), *entry.id.as_bytes()].concat();
        let value = entry::write(&entry, ttl, &key, self.keys.as_ref(), PUT)?;
        let accepted = self.keys.as_ref().map_or(&[][..], MacKeys::names);
        let mut call = script::CACHE_PUT.call(&[key]);
        call.arg(value).arg(ttl).arg(accepted);
        let reply = self.connection.script(&script::CACHE_PUT, &call).await;
        match reply.map_err(|trouble| trouble.into_error(PUT))? {
            Value::Array(parts) => match &parts[..] {
                [Value::BulkString(of), Value::Int(stored)] if *of == scope_and_id => Ok(*stored == 1),
                _ => Err(self.mismatched(PUT)),
            },
            _ => Err(self.mismatched(PUT)),
        }
    }

    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(self.prefix.cached(scope, id));
        let reply = self.connection.run(&unlink).await;
        match reply.map_err(|trouble| trouble.into_error(REMOVE))? {
            Value::Int(_) => Ok(()),
            _ => Err(self.mismatched(REMOVE)),
        }
    }
}

#[cfg(test)]
mod tests;
