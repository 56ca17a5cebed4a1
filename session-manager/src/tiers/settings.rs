//! Which tiers there are, and their bounds.

use std::sync::Arc;
use std::time::Duration;

use session_core::{Capabilities, Error, InvalidationBus, Result, Scope, SessionCache};

/// Where validation looks before it asks the store of record: this process's memory, then shared
/// caches in order.
///
/// ```no_run
/// # use session_core::{InvalidationBus, SessionCache};
/// # fn tiers(redis: impl SessionCache, postgres: impl SessionCache, bus: impl InvalidationBus) -> session_manager::Tiers {
/// use session_manager::Tiers;
///
/// Tiers::memory().with_scope("shop-production").with_cache(redis).with_cache(postgres).with_bus(bus)
/// # }
/// ```
///
/// | setting | default | range |
/// |---|---|---|
/// | [`with_scope`](Self::with_scope) | none: required with a shared cache or a bus | 1 to 64 bytes |
/// | [`with_memory_bytes`](Self::with_memory_bytes) | 64 MiB, or none with [`Tiers::none`] | 0, or 1 MiB to 1 TiB |
/// | [`with_max_stale`](Self::with_max_stale) | 30 s | 1 s to 5 min |
/// | [`with_l1_max_age`](Self::with_l1_max_age) | 5 s | 1 ms to `max_stale` |
/// | [`with_cache_timeout`](Self::with_cache_timeout) | 50 ms | 1 ms to 5 s |
/// | [`with_stale_if_error`](Self::with_stale_if_error) | off | up to 1 h |
/// | [`with_outbox_capacity`](Self::with_outbox_capacity) | 10,000 sessions per shared cache | 1 to 1,000,000 |
#[derive(Debug, Clone)]
pub struct Tiers {
    pub(super) scope: Option<String>,
    pub(super) memory_bytes: u64,
    pub(super) caches: Vec<Arc<dyn SessionCache>>,
    pub(super) bus: Option<Arc<dyn InvalidationBus>>,
    pub(super) max_stale: Duration,
    pub(super) l1_max_age: Duration,
    pub(super) cache_timeout: Duration,
    pub(super) stale_if_error: Option<Duration>,
    pub(super) outbox_capacity: usize,
}

/// Most shared caches.
const MAX_CACHES: usize = 8;

const MIB: u64 = 1024 * 1024;

impl Tiers {
    /// Begins with 64 MiB of this process's memory.
    #[must_use]
    pub fn memory() -> Self {
        Self { memory_bytes: 64 * MIB, ..Self::none() }
    }

    /// Begins with nothing: for shared caches without copies in this process.
    #[must_use]
    pub fn none() -> Self {
        Self {
            scope: None,
            memory_bytes: 0,
            caches: Vec::new(),
            bus: None,
            max_stale: Duration::from_secs(30),
            l1_max_age: Duration::from_secs(5),
            cache_timeout: Duration::from_millis(50),
            stale_if_error: None,
            outbox_capacity: 10_000,
        }
    }

    /// Names the deployment whose sessions these are: `"shop-production"`. Every node of it uses
    /// the same name, and no other deployment does that shares a cache or a bus with it, so that
    /// production and staging on one Redis never answer for each other.
    ///
    /// Required as soon as anything is shared. Together with the table, prefix or collection of the
    /// store of record ([`Capabilities::place`](session_core::Capabilities)) it makes the [`Scope`]
    /// of every entry and message, so tenants with a table of their own are apart even under one
    /// name.
    #[must_use]
    pub fn with_scope(mut self, name: impl Into<String>) -> Self {
        self.scope = Some(name.into());
        self
    }

    /// Sets how much memory the copies in this process may take, estimated; a session takes about 1
    /// KiB plus its data. Zero keeps none.
    #[must_use]
    pub fn with_memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Adds a shared cache, behind those that were added before. The first that is healthy is read;
    /// all are written. At most 8.
    #[must_use]
    pub fn with_cache(mut self, cache: impl SessionCache) -> Self {
        self.caches.push(Arc::new(cache));
        self
    }

    /// Sets how the nodes notify each other of changes. Without one, an end is noticed by other
    /// processes' memory within [`l1_max_age`](Self::with_l1_max_age) at the latest.
    #[must_use]
    pub fn with_bus(mut self, bus: impl InvalidationBus) -> Self {
        self.bus = Some(Arc::new(bus));
        self
    }

    /// Sets how long a copy counts after the store of record was read, wherever it was copied to
    /// since. This is the longest time until an end is noticed everywhere, whatever fails.
    #[must_use]
    pub fn with_max_stale(mut self, limit: Duration) -> Self {
        self.max_stale = limit;
        self
    }

    /// Sets how long a copy counts after this process took it. This is the longest time until an
    /// end is noticed if only the bus is lost.
    #[must_use]
    pub fn with_l1_max_age(mut self, limit: Duration) -> Self {
        self.l1_max_age = limit;
        self
    }

    /// Sets how long a shared cache may take for an answer before the next tier is asked.
    #[must_use]
    pub fn with_cache_timeout(mut self, timeout: Duration) -> Self {
        self.cache_timeout = timeout;
        self
    }

    /// Sets for how long after its last verification a copy in this process may still open a
    /// session while the store of record cannot be asked. Never for one that is past its own
    /// deadline or known to have ended. Default: `None`, then there is no answer.
    ///
    /// # Security
    /// While the store is away, a session that was ended elsewhere may seem live for that long on a
    /// node that did not receive the message.
    #[must_use]
    pub fn with_stale_if_error(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.stale_if_error = limit.into();
        self
    }

    /// Sets how many sessions, whose end or change a shared cache did not take, are remembered
    /// until it is back. Beyond that the cache is not read for [`max_stale`](Self::with_max_stale).
    #[must_use]
    pub fn with_outbox_capacity(mut self, sessions: usize) -> Self {
        self.outbox_capacity = sessions;
        self
    }

    pub(crate) const fn max_stale(&self) -> Duration {
        self.max_stale
    }

    pub(crate) const fn cache_timeout(&self) -> Duration {
        self.cache_timeout
    }

    /// Makes the scope of what these tiers share.
    pub(super) fn scope_of(&self, store: &Capabilities) -> Result<Scope> {
        let shares = !self.caches.is_empty() || self.bus.is_some();
        match &self.scope {
            None if shares => Err(Error::invalid(
                "build",
                "shared caches and a bus need a scope, so that no other application's sessions are taken for this one's: call \
                 `Tiers::with_scope` with the name of this deployment",
            )),
            name => Scope::of_store(name.as_deref().unwrap_or("process"), store),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let within = |value: Duration, min: Duration, max: Duration| (min..=max).contains(&value);
        let (milli, second) = (Duration::from_millis(1), Duration::from_secs(1));
        let rules = [
            (
                self.memory_bytes == 0 || (MIB..=MIB * MIB).contains(&self.memory_bytes),
                "the memory of copies is 0, or 1 MiB to 1 TiB",
            ),
            (self.caches.len() <= MAX_CACHES, "at most 8 shared caches"),
            (within(self.max_stale, second, 300 * second), "the staleness is 1 s to 5 min"),
            (
                within(self.l1_max_age, milli, self.max_stale),
                "the age of copies in memory is 1 ms to the staleness",
            ),
            (within(self.cache_timeout, milli, 5 * second), "the time for a shared cache is 1 ms to 5 s"),
            (
                self.stale_if_error.is_none_or(|limit| limit <= 3_600 * second),
                "stale answers are given for at most 1 h",
            ),
            ((1..=1_000_000).contains(&self.outbox_capacity), "the outbox holds 1 to 1,000,000 sessions"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(Error::invalid("build", rule)),
            None => Ok(()),
        }
    }

    /// Returns advice about settings that are allowed and probably not meant.
    pub(crate) fn advice(&self, idle: Option<Duration>) -> Vec<&'static str> {
        let several_nodes = !self.caches.is_empty();
        let rules = [
            (
                self.memory_bytes > 0 && self.bus.is_none() && several_nodes,
                "copies in memory without a bus: an end is noticed by other processes only after l1_max_age",
            ),
            (
                self.memory_bytes > 0 && self.bus.is_none() && !several_nodes,
                "copies in memory without a bus and without a shared cache: if there are other processes, an end is noticed by \
                 them only after l1_max_age",
            ),
            (
                self.memory_bytes == 0 && self.caches.is_empty(),
                "neither memory nor a shared cache: every validation reads the store of record",
            ),
            (
                idle.is_some_and(|idle| idle <= self.max_stale),
                "max_stale is not below the idle timeout: many copies will look idle, and the store of record is asked each time",
            ),
            (
                self.stale_if_error.is_some_and(|limit| limit <= self.max_stale),
                "stale_if_error is not above max_stale and so has no effect",
            ),
        ];
        rules.into_iter().filter(|(applies, _)| *applies).map(|(_, advice)| advice).collect()
    }
}
