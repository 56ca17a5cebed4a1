//! One transaction writes to the turn, inserts the new session, counts, and ends the surplus.

use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria};
use session_core::limits::MAX_BATCH;
use session_core::prelude::*;

use super::{PATIENCE, SignIn, turn_of};
use crate::commands;
use crate::document;
use crate::error::{NAME, Trouble};
use crate::store::MongoStore;

/// The most times that a commit with an unknown outcome is sent.
const COMMITS: usize = 3;

impl MongoStore {
    pub(super) async fn in_transaction(&self, sign_in: &SignIn) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let mut session = self.database.client().start_session().await?;
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let begin = session.start_transaction().read_concern(ReadConcern::snapshot());
        begin.write_concern(self.write_concern.clone()).selection_criteria(primary).await?;
        let within = self.within(&mut session, sign_in).await;
        if let Ok(Some(evicted)) = within {
            return in_own_task(commit(session)).await?.map(|()| evicted);
        }
        // Aborts now, not when the driver gets to it: until then, the transaction's writes block
        // other sign-ins. If the abort fails, the server's own time limit ends the transaction.
        drop(in_own_task(async move { session.abort_transaction().await }).await?);
        within?;
        self.next_turn(sign_in.shard()).await?;
        Err(Trouble::Overtaken)
    }

    /// Returns the sessions that it ended, or `None` if the turn must first be prepared outside of
    /// the transaction.
    async fn within(
        &self,
        session: &mut ClientSession,
        sign_in: &SignIn,
    ) -> Result<Option<Vec<Arc<SessionRecord>>>, Trouble> {
        // The transaction begins with a read, because the driver does not end a transaction whose
        // first command is dropped, and a read takes no lock. If another sign-in follows the read,
        // it changes the turn, and this transaction fails at the turn.
        let live = self.live_within(session, sign_in).await?;
        if !self.take_turn(session, sign_in).await? {
            return Ok(None);
        }
        // Inserts before the count, so that an existing id is reported before any session is
        // evicted.
        self.documents().insert_one(document::new(&sign_in.record)).session(&mut *session).await?;
        let surplus = sign_in.surplus(&live)?;
        let ended = sign_in.end();
        let change = commands::end(&ended, self.retention);
        for batch in surplus.chunks(MAX_BATCH) {
            let ids = batch.iter().map(|record| document::id(record.id));
            let filter = commands::active(ids);
            self.sessions.update_many(filter, change.clone()).session(&mut *session).await?;
        }
        // The records are up to date: if one had changed since it was read, the transaction would
        // fail.
        let evicted = surplus.iter().map(|record| Arc::new((**record).clone().into_ended(ended.clone())));
        Ok(Some(evicted.collect()))
    }

    /// Writes to the turn of the shard, which conflicts with every other sign-in of the shard.
    ///
    /// Returns true if the turn exists and has no announcement. A transaction with a snapshot read
    /// concern cannot create the turn's collection.
    async fn take_turn(&self, session: &mut ClientSession, sign_in: &SignIn) -> Result<bool, Trouble> {
        let shard = sign_in.shard();
        let change = doc! { "$set": { "turn": ObjectId::new() } };
        let before = self.turns.find_one_and_update(turn_of(shard), change).session(session).await?;
        before.map_or(Ok(false), |before| self.is_free(shard, &before))
    }

    async fn live_within(
        &self,
        session: &mut ClientSession,
        sign_in: &SignIn,
    ) -> Result<Vec<RawDocumentBuf>, Trouble> {
        let Some(filter) = sign_in.live() else { return Ok(Vec::new()) };
        let found = self.sessions.find(filter).projection(commands::redacted());
        let mut cursor = found.session(&mut *session).await?;
        Ok(cursor.stream(session).try_collect().await?)
    }
}

/// Commits or aborts a transaction in a separate task, so that a dropped caller does not interrupt
/// it: once it has begun, the driver does not send another. A timeout bounds it, because it
/// occupies a connection.
async fn in_own_task<T: Send + 'static>(end: impl Future<Output = T> + Send + 'static) -> Result<T, Trouble> {
    let stopped = |_| Error::unavailable(NAME, "create").with_detail("the runtime is shutting down");
    let late = |_| Error::timeout(NAME, "create").with_detail("no answer in time");
    let ended = tokio::spawn(tokio::time::timeout(PATIENCE, end)).await.map_err(stopped)?;
    Ok(ended.map_err(late)?)
}

async fn commit(mut session: ClientSession) -> Result<(), Trouble> {
    let mut commits = 1;
    loop {
        match session.commit_transaction().await.map_err(Trouble::from) {
            Err(trouble) if trouble.is_unknown_commit() && commits < COMMITS => commits += 1,
            result => return result,
        }
    }
}
