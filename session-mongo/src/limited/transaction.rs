//! One transaction: the turn, the new session, the count and the ends.

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

/// How often a commit is sent whose outcome stays unknown.
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
        // Now and not whenever the driver comes to it: until then, what it wrote keeps others waiting. If it fails, the server's own limit
        // ends it.
        drop(in_own_task(async move { session.abort_transaction().await }).await?);
        within?;
        self.next_turn(sign_in.shard()).await?;
        Err(Trouble::Overtaken)
    }

    /// Returns what had to end. `None` if the turn has to be prepared first, outside of the transaction.
    async fn within(
        &self,
        session: &mut ClientSession,
        sign_in: &SignIn,
    ) -> Result<Option<Vec<Arc<SessionRecord>>>, Trouble> {
        // First, because a driver whose first command is dropped does not end the transaction, and a read locks nothing. If anybody signs
        // in after it, the turn has changed since, and the transaction fails there.
        let live = self.live_within(session, sign_in).await?;
        if !self.take_turn(session, sign_in).await? {
            return Ok(None);
        }
        // Before the count, so that an id that is taken is told before anybody is evicted for it.
        self.documents().insert_one(document::new(&sign_in.record)).session(&mut *session).await?;
        let surplus = sign_in.surplus(&live)?;
        let ended = sign_in.end();
        let change = commands::end(&ended, self.retention);
        for batch in surplus.chunks(MAX_BATCH) {
            let ids = batch.iter().map(|record| document::id(record.id));
            let filter = commands::active(ids);
            self.sessions.update_many(filter, change.clone()).session(&mut *session).await?;
        }
        // As they now are: had anybody changed one since they were read, the transaction would fail.
        let evicted = surplus.iter().map(|record| Arc::new((**record).clone().into_ended(ended.clone())));
        Ok(Some(evicted.collect()))
    }

    /// Writes to the document of the shard, which conflicts with every other sign-in there. Returns whether that was all it takes: the
    /// document is there (a transaction that reads a snapshot may not create its collection), and nothing is announced.
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

/// The end of a transaction goes on if nobody waits for it any more: once it has begun, the driver does not send another. Not for ever, because
/// it has a connection.
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
            Err(trouble) if trouble.hides_commit() && commits < COMMITS => commits += 1,
            result => return result,
        }
    }
}
