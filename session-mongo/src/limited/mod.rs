//! Sign-ins under a limit: counting, ending the surplus and inserting as one step.
//!
//! They take turns at one document of their shard. With transactions, all of it happens in one, and the turn is a write that conflicts with
//! that of another. Without, the turn is a compare-and-set that also says what is about to happen, so that whoever comes next carries
//! it out if its author did not. Both respect each other, so that nodes which found out different things can run side by side.

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

/// How often a sign-in is tried that others come before. Each time, at least one of them got through.
const ATTEMPTS: u32 = 50;

/// Longest pause between two attempts, in milliseconds.
const LONGEST_PAUSE: u64 = 40;

/// How long a sign-in takes at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an attempt goes on after its caller left: enough to come to its end on a server that answers. On one that does not, it would
/// keep a connection from everybody else.
const GRACE: Duration = Duration::from_secs(1);

/// How a sign-in under a limit is one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitMethod {
    /// A compare-and-set on one document of the shard, for a single server without replication.
    ///
    /// The limit holds as exactly as with a transaction. What differs is what others can see for a moment: the surplus has ended and the
    /// new session is not there yet. If the process ends in that moment, it stays so until somebody else of the shard signs in.
    CompareAndSet,
    /// A transaction, for replica sets and sharded clusters.
    Transaction,
}

/// Turns within one process: who waits here does not conflict with the others at the server.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<[Arc<Mutex<()>>]>);

impl Default for Turns {
    fn default() -> Self {
        Self(Shard::all().map(|_| Arc::default()).collect())
    }
}

impl Turns {
    async fn take(&self, shard: Shard) -> OwnedMutexGuard<()> {
        // There is one for each shard.
        Arc::clone(&self.0[usize::from(shard.index())]).lock_owned().await
    }
}

/// What is asked for.
struct SignIn {
    record: Arc<SessionRecord>,
    /// None for a session without a limit whose id somebody left reserved.
    limit: Option<SessionLimit>,
}

impl SignIn {
    fn shard(&self) -> Shard {
        // That of its user, too.
        self.record.id.shard()
    }

    /// What may count against the limit.
    fn live(&self) -> Option<Document> {
        Some(commands::live_of(self.record.user_id.as_ref()?, self.limit?.now))
    }

    /// Which of the user's live sessions have to end.
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

/// The document at which a shard takes turns.
fn turn_of(shard: Shard) -> Document {
    doc! { "_id": i32::from(shard.index()) }
}

/// Waits a moment, so that those who came in between are not met again at once.
async fn pause(attempt: u32) {
    let longest = u64::from(attempt * 2).min(LONGEST_PAUSE);
    sleep(Duration::from_millis(fastrand::u64(1..=longest))).await;
}

impl MongoStore {
    /// Returns how sign-ins under a limit are one step on this deployment. Asks it the first time.
    ///
    /// # Errors
    /// As every operation, if the deployment cannot be asked.
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

    /// Begins a session with an id that a sign-in which died may have left reserved.
    pub(crate) async fn insert_reserved(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        self.insert_in_turn(LimitMethod::CompareAndSet, record, limit).await
    }

    /// In a task of its own, which goes on if nobody waits for it any more: half of it would keep everybody else of the shard waiting, and
    /// the driver does not always end a transaction whose future is dropped.
    async fn insert_in_turn(
        &self,
        method: LimitMethod,
        record: Arc<SessionRecord>,
        limit: Option<SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let sign_in = SignIn { record, limit };
        let turn = self.local_turns.take(sign_in.shard()).await;
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
            drop(turn);
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
                Err(trouble) if trouble.is_worth_another_attempt() && attempt < ATTEMPTS => {
                    pause(attempt).await;
                    // What was begun is brought to its end, but nothing begins for a caller who has left.
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
