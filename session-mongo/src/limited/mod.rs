//! Sign-ins under a limit: counting, ending the surplus and inserting as one atomic step.
//!
//! One document for each shard, the turn, orders the sign-ins of the shard. With transactions, all
//! steps happen in one transaction, which writes to the turn and so conflicts with every other
//! sign-in of the shard. Without transactions, a compare-and-set on the turn also announces the
//! changes, so that the next sign-in carries them out if the announcing one did not. Each method
//! respects the other, so that nodes which have detected different methods can run side by side.

mod compare_and_set;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use session_core::Shard;
use session_core::prelude::*;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::{sleep, timeout};

use crate::commands;
use crate::document::Part;
use crate::error::{NAME, Trouble};
use crate::store::{MongoStore, readable};

/// The most attempts of a sign-in that conflicts with others. At each conflict, at least one other
/// sign-in has succeeded.
const ATTEMPTS: u32 = 50;

/// Longest pause between two attempts, in milliseconds.
const LONGEST_PAUSE: u64 = 40;

/// The longest time that a sign-in may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an attempt continues after the caller dropped its future: long enough to complete on a
/// server that responds. On a server that does not respond, it would occupy a connection that other
/// calls need.
const GRACE: Duration = Duration::from_secs(1);

/// How a sign-in under a limit becomes atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitMethod {
    /// A compare-and-set on one document of the shard, for a single server without replication.
    ///
    /// The limit holds as exactly as with a transaction, but an intermediate state is visible for a
    /// moment: the surplus has ended, and the new session does not exist yet. If the process dies
    /// at that moment, this state lasts until the next sign-in of the shard.
    CompareAndSet,
    /// A transaction, for replica sets and sharded clusters.
    Transaction,
}

/// One lock for each shard, so that the sign-ins of one process do not conflict with each other on
/// the server.
#[derive(Clone, Debug)]
pub(crate) struct ShardLocks(Arc<[Arc<Mutex<()>>]>);

impl Default for ShardLocks {
    fn default() -> Self {
        Self(Shard::all().map(|_| Arc::default()).collect())
    }
}

impl ShardLocks {
    async fn lock(&self, shard: Shard) -> OwnedMutexGuard<()> {
        // The index is in range: there is a lock for each shard.
        Arc::clone(&self.0[usize::from(shard.index())]).lock_owned().await
    }
}

/// A requested sign-in.
struct SignIn {
    record: Arc<SessionRecord>,
    /// `None` for a session without a limit that takes over an abandoned reservation.
    limit: Option<SessionLimit>,
}

impl SignIn {
    fn shard(&self) -> Shard {
        // An id has the shard of its user.
        self.record.id.shard()
    }

    /// Returns the filter of the sessions that may count against the limit.
    fn live(&self) -> Option<Document> {
        Some(commands::live_of(self.record.user_id.as_ref()?, self.limit?.now))
    }

    /// Returns those of the user's live sessions that must end.
    fn surplus(&self, live: &[RawDocumentBuf]) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let Some(limit) = self.limit else { return Ok(Vec::new()) };
        let counts =
            |stored: &Arc<SessionRecord>| stored.id != self.record.id && limit.counts(stored, &self.record);
        let counted = readable(live, Part::Redacted).into_iter().filter(counts);
        Ok(limit.evict(NAME, &self.record, counted.collect())?)
    }

    fn end(&self) -> Ended {
        let now = self.limit.map_or(self.record.created_at, |limit| limit.now);
        Ended::new(EndReason::LimitEvicted, now, Actor::System)
    }
}

/// Matches the turn of a shard.
fn turn_of(shard: Shard) -> Document {
    doc! { "_id": i32::from(shard.index()) }
}

/// Waits for a random time, so that the same sign-ins do not conflict again at once.
async fn pause(attempt: u32) {
    let longest = u64::from(attempt * 2).min(LONGEST_PAUSE);
    sleep(Duration::from_millis(fastrand::u64(1..=longest))).await;
}

impl MongoStore {
    /// Returns how sign-ins under a limit become atomic on this deployment. The first call asks the
    /// deployment.
    ///
    /// # Errors
    /// Same as every operation, if the deployment cannot be reached.
    pub async fn limit_method(&self) -> Result<LimitMethod> {
        self.find_limit_method().await.map_err(|trouble| trouble.into_error("limit_method"))
    }

    async fn find_limit_method(&self) -> Result<LimitMethod, Trouble> {
        if let Some(method) = self.limit_method.get() {
            return Ok(*method);
        }
        let hello = self.database.run_command(doc! { "hello": 1 }).await?;
        let is_cluster = hello.get_str("msg").is_ok_and(|word| word == "isdbgrid");
        let has_transactions = hello.contains_key("setName") || is_cluster;
        let method = if has_transactions { LimitMethod::Transaction } else { LimitMethod::CompareAndSet };
        Ok(*self.limit_method.get_or_init(|| method))
    }

    pub(crate) async fn insert_limited(
        &self,
        record: Arc<SessionRecord>,
        limit: SessionLimit,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let method = self.find_limit_method().await?;
        self.insert_in_turn(method, record, Some(limit)).await
    }

    /// Creates a session whose id may still be reserved by a sign-in that died.
    pub(crate) async fn insert_reserved(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        self.insert_in_turn(LimitMethod::CompareAndSet, record, limit).await
    }

    /// Runs the sign-in in its own task, which continues if the caller drops its future. A
    /// half-finished sign-in would block all others of the shard, and the driver does not always
    /// end a transaction whose future is dropped.
    async fn insert_in_turn(
        &self,
        method: LimitMethod,
        record: Arc<SessionRecord>,
        limit: Option<SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let sign_in = SignIn { record, limit };
        let lock = self.shard_locks.lock(sign_in.shard()).await;
        let store = self.clone();
        let (answer, _caller) = watch::channel(());
        let task = tokio::spawn(async move {
            let late = async {
                if timeout(PATIENCE, answer.closed()).await.is_ok() {
                    sleep(GRACE).await;
                }
            };
            let created = tokio::select! {
                created = store.sign_in(method, &sign_in, &answer) => Some(created),
                () = late => None,
            };
            drop(lock);
            created
        });
        let stopped = || Error::unavailable(NAME, "create").with_detail("the runtime is shutting down");
        let late = || Error::timeout(NAME, "create").with_detail("no answer in time");
        task.await.map_err(|_| stopped())?.ok_or_else(late)?
    }

    async fn sign_in(
        &self,
        method: LimitMethod,
        sign_in: &SignIn,
        caller: &watch::Sender<()>,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let mut attempt = 1;
        loop {
            let result = match method {
                LimitMethod::CompareAndSet => self.compare_and_set(sign_in).await,
                LimitMethod::Transaction => self.in_transaction(sign_in).await,
            };
            match result {
                Err(trouble) if trouble.is_retryable() && attempt < ATTEMPTS => {
                    pause(attempt).await;
                    // An attempt in progress completes, but no new one starts without a caller.
                    if caller.is_closed() {
                        return Err(trouble);
                    }
                    attempt += 1;
                }
                result => return result,
            }
        }
    }
}
