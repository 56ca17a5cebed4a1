//! One transaction: the turn, the new session, the count and the ends.

use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, RawDocumentBuf, doc};
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria};
use session_core::limits::MAX_BATCH;
use session_core::prelude::*;

use super::compare_and_set::Announcement;
use super::{PATIENCE, SignIn, turn_of};
use crate::commands;
use crate::document;
use crate::error::{NAME, Trouble};
use crate::store::MongoStore;

/// How often a commit is sent whose outcome stays unknown.
const COMMITS: usize = 3;

/// What a transaction has come to before it ends.
enum Within {
    /// Nothing: somebody else's announcement comes first.
    Announced(Box<Announcement>),
    /// The session, and the end of these.
    SignedIn(Vec<Arc<SessionRecord>>),
}

impl MongoStore {
    pub(super) async fn in_transaction(&self, sign_in: &SignIn) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let mut session = self.database.client().start_session().await?;
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let begin = session.start_transaction().read_concern(ReadConcern::snapshot());
        begin.write_concern(self.write_concern.clone()).selection_criteria(primary).await?;
        let within = self.within(&mut session, sign_in).await;
        if let Ok(Within::SignedIn(evicted)) = within {
            return in_own_task(commit(session)).await?.map(|()| evicted);
        }
        // Now and not whenever the driver comes to it: until then, what it wrote keeps others waiting. If it fails, the server's own limit
        // ends it.
        drop(in_own_task(async move { session.abort_transaction().await }).await?);
        if let Within::Announced(announcement) = within? {
            announcement.carry_out().await?;
        }
        Err(Trouble::Overtaken)
    }

    async fn within(&self, session: &mut ClientSession, sign_in: &SignIn) -> Result<Within, Trouble> {
        // First, because a driver whose first command is dropped does not end the transaction, and a read locks nothing. If anybody signs
        // in after it, the turn has changed since, and the transaction fails there.
        let live = self.live_within(session, sign_in).await?;
        if let Some(announcement) = self.take_turn(session, sign_in).await? {
            return Ok(Within::Announced(Box::new(announcement)));
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
        Ok(Within::SignedIn(evicted.collect()))
    }

    /// Writes to the document of the shard, which conflicts with every other sign-in there. Returns what somebody announced and has not
    /// carried out.
    async fn take_turn(
        &self,
        session: &mut ClientSession,
        sign_in: &SignIn,
    ) -> Result<Option<Announcement>, Trouble> {
        let change =
            doc! { "$set": { "turn": ObjectId::new() }, "$setOnInsert": { "announced": Bson::Null } };
        let taken = self.turns.find_one_and_update(turn_of(sign_in.shard()), change).upsert(true);
        let before = match taken.session(session).await.map_err(Trouble::from) {
            Err(trouble) if trouble.is_duplicate() => return Err(Trouble::Overtaken),
            result => result?,
        };
        before.map_or(Ok(None), |before| self.announcement(sign_in.shard(), &before))
    }

    async fn live_within(
        &self,
        session: &mut ClientSession,
        sign_in: &SignIn,
    ) -> Result<Vec<RawDocumentBuf>, Trouble> {
        let filter = commands::live_of(&sign_in.user, sign_in.limit.now);
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
