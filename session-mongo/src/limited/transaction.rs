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
use super::{SignIn, turn_of};
use crate::commands;
use crate::document;
use crate::error::Trouble;
use crate::store::MongoStore;

/// How often a commit is sent whose outcome stays unknown.
const COMMITS: usize = 3;

impl MongoStore {
    pub(super) async fn in_transaction(&self, sign_in: &SignIn) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let mut session = self.database.client().start_session().await?;
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let begin = session.start_transaction().read_concern(ReadConcern::snapshot());
        begin.write_concern(self.write_concern.clone()).selection_criteria(primary).await?;
        match self.within(&mut session, sign_in).await {
            Ok(evicted) => commit(&mut session).await.map(|()| evicted),
            Err(trouble) => {
                // Now and not whenever the driver comes to it: until then, what it wrote keeps others waiting. If it fails, the server's
                // own limit ends it.
                drop(session.abort_transaction().await);
                Err(trouble)
            }
        }
    }

    async fn within(
        &self,
        session: &mut ClientSession,
        sign_in: &SignIn,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        if let Some(announcement) = self.take_turn(session, sign_in).await? {
            drop(session.abort_transaction().await);
            announcement.carry_out().await?;
            return Err(Trouble::Overtaken);
        }
        // First, so that an id that is taken is told before anybody is evicted for it.
        self.documents().insert_one(document::new(&sign_in.record)).session(&mut *session).await?;
        let surplus = sign_in.surplus(&self.live_within(session, sign_in).await?)?;
        let ended = sign_in.end();
        let change = commands::end(&ended, self.retention);
        for batch in surplus.chunks(MAX_BATCH) {
            let ids = batch.iter().map(|record| document::id(record.id));
            let filter = commands::active(ids);
            self.sessions.update_many(filter, change.clone()).session(&mut *session).await?;
        }
        // As they now are: had anybody changed one since they were read, the transaction would fail.
        Ok(surplus.iter().map(|record| Arc::new((**record).clone().into_ended(ended.clone()))).collect())
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

async fn commit(session: &mut ClientSession) -> Result<(), Trouble> {
    let mut commits = 1;
    loop {
        match session.commit_transaction().await.map_err(Trouble::from) {
            Err(trouble) if trouble.hides_commit() && commits < COMMITS => commits += 1,
            result => return result,
        }
    }
}
