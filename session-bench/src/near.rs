//! Validation from process memory, and the handwritten equivalent.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::sync::{Arc, Barrier, RwLock};
use std::time::{Duration, Instant};

use session_core::rules::RequestClient;
use session_core::{
    Clock, SecretHasher, SecretMatch, SecretPurpose, SessionId, SessionRecord, SessionToken, SystemClock,
};
use session_manager::{Session, SessionManager, Source, Tiers};
use session_memory::MemoryStore;
use tokio::runtime::{Builder, Runtime};

use crate::scene::new_session;

/// Sessions with copies in process memory, validated in an order that CPU caches cannot predict.
#[derive(Debug)]
pub struct Near {
    runtime: Runtime,
    manager: SessionManager,
    /// The tokens, shared with the floor, because their location in memory affects the time.
    tokens: Arc<[String]>,
    records: Vec<Arc<SessionRecord>>,
}

const LONG: Duration = Duration::from_secs(300);

impl Near {
    /// Signs users in, with one session each.
    ///
    /// # Panics
    /// If a sign-in fails.
    #[must_use]
    pub fn new(users: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let tiers = Tiers::memory().with_max_stale(LONG).with_l1_max_age(LONG);
        let manager = runtime.block_on(async {
            SessionManager::builder(MemoryStore::default()).with_tiers(tiers).build().expect("a manager")
        });
        let mut signed_in: Vec<_> = (0..users)
            .map(|user| runtime.block_on(manager.create(new_session(user))).expect("a session"))
            .map(|created| (created.token.expose().to_string(), created.session.record()))
            .collect();
        // Sorts by the random part of the ids.
        signed_in.sort_by_key(|(_, record)| record.id.as_bytes()[8..].to_vec());
        let (tokens, records): (Vec<String>, _) = signed_in.into_iter().unzip();
        // Copies the tokens, so that they are in memory in the order of their use: the bytes of a
        // real request have just been read.
        let near = Self { runtime, manager, tokens: tokens.iter().cloned().collect(), records };
        near.run(100);
        near
    }

    /// Validates the tokens one after the other.
    ///
    /// # Panics
    /// If a token is rejected.
    pub fn run(&self, times: u32) {
        let _guard = self.runtime.enter();
        for token in self.tokens.iter().cycle().take(times as usize) {
            black_box(self.validate(token));
        }
    }

    fn validate(&self, token: &str) -> Session {
        let client = RequestClient::default();
        let mut future = std::pin::pin!(self.manager.validate(token, &client));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(outcome) => outcome.expect("a live session"),
            std::task::Poll::Pending => panic!("a validation from memory must not wait"),
        }
    }

    /// Counts the heap allocations of one validation.
    ///
    /// # Panics
    /// If the token is rejected, or not validated from memory.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        let _guard = self.runtime.enter();
        let mut session = None;
        let counted = allocation_counter::measure(|| session = Some(self.validate(&self.tokens[0])));
        assert_eq!(session.map(|session| session.provenance().source), Some(Source::Memory));
        counted.count_total
    }

    /// Returns the handwritten equivalent.
    #[must_use]
    pub fn floor(&self) -> NearFloor {
        let floor = NearFloor {
            tokens: Arc::clone(&self.tokens),
            shards: (0..64).map(|_| RwLock::default()).collect(),
            hasher: SecretHasher::plain(),
        };
        for record in &self.records {
            let shard = floor.shard(record.id);
            shard.write().expect("a lock").insert(record.id, Arc::clone(record));
        }
        floor
    }
}

/// The minimum that a validation from memory must do: parse the token, hash its secret, look up the
/// id in a map of 64 shards, compare the hashes, read the clock, check the deadline, and return the
/// record.
#[derive(Debug)]
pub struct NearFloor {
    tokens: Arc<[String]>,
    shards: Vec<RwLock<Shard>>,
    hasher: SecretHasher,
}

type Shard = HashMap<SessionId, Arc<SessionRecord>, BuildHasherDefault<LastBytes>>;

/// A hasher that returns the last bytes of an id, which are already random.
#[derive(Debug, Default)]
pub struct LastBytes(u64);

impl Hasher for LastBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_ne_bytes(*last);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl NearFloor {
    /// Does the minimum for the tokens, one after the other.
    ///
    /// # Panics
    /// If a token does not match.
    pub fn run(&self, times: u32) {
        for token in self.tokens.iter().cycle().take(times as usize) {
            black_box(self.validate(token));
        }
    }

    fn validate(&self, token: &str) -> Arc<SessionRecord> {
        let token = SessionToken::parse(token).expect("a token");
        let record = Arc::clone(&self.shard(token.id()).read().expect("a lock")[&token.id()]);
        let stored = record.secret.as_ref().expect("a secret");
        let found = self.hasher.verify(SecretPurpose::Session, token.id(), token.secret(), &stored.current);
        assert_eq!(found, SecretMatch::Match);
        assert!(record.expiry(SystemClock.now()).is_live());
        record
    }

    fn shard(&self, id: SessionId) -> &RwLock<Shard> {
        &self.shards[usize::from(id.as_bytes()[15] % 64)]
    }
}

/// Runs a function on two threads at the same time. Returns the nanoseconds per operation of both
/// together, the inverse of their throughput.
///
/// # Panics
/// If a thread panics.
pub fn on_two_threads(operations: u32, run: impl Fn(u32) + Sync) -> f64 {
    let barrier = Barrier::new(2);
    let timed = || {
        barrier.wait();
        let started = Instant::now();
        run(operations);
        started.elapsed()
    };
    let took = std::thread::scope(|scope| {
        let other = scope.spawn(timed);
        timed().max(other.join().expect("a thread"))
    });
    took.as_secs_f64() * 1e9 / f64::from(2 * operations)
}
