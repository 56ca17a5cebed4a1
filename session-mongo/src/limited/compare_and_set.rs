//! Without transactions, a sign-in reserves its id, announces its changes by a compare-and-set, and
//! then carries them out.
//!
//! The announcement is the decision. From then on, every sign-in that finds it carries it out. Any
//! node can repeat the steps at any later time without effect: they end only sessions that are
//! still active, replace only *this* reservation, and remove only *this* announcement.

use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::options::ReadConcern;
use session_core::Shard;
use session_core::prelude::*;

use super::{SignIn, turn_of};
use crate::commands::{self, and, with_ids};
use crate::document::{self, FORMAT, Part, RESERVED, Unreadable, time};
use crate::error::{NAME, Trouble};
use crate::store::{MongoStore, all, readable};

const CORRUPT_TURN: Unreadable = Unreadable("the turn of a shard is corrupt");

/// The changes that a sign-in has decided on.
#[derive(Clone, Debug)]
struct Announcement {
    store: MongoStore,
    shard: Shard,
    /// Identifies the announcement and the sessions that it ends.
    turn: ObjectId,
    content: Content,
}

#[derive(Clone, Debug)]
struct Content {
    session: Document,
    reservation: ObjectId,
    /// The ids of the sessions that must end.
    surplus: Vec<Bson>,
    ended: Ended,
}

impl Content {
    fn write(&self) -> Document {
        let Ended { reason, at, by, .. } = &self.ended;
        doc! {
            "session": self.session.clone(),
            "reservation": self.reservation,
            "surplus": self.surplus.clone(),
            "end": { "reason": reason.as_str(), "at": time(*at), "by": by.to_string() },
        }
    }

    fn read(document: &Document) -> Option<Self> {
        let end = document.get_document("end").ok()?;
        let at = Timestamp::from_millis(end.get_datetime("at").ok()?.timestamp_millis());
        let (reason, by) = (end.get_str("reason").ok()?.parse().ok()?, end.get_str("by").ok()?.parse().ok()?);
        Some(Self {
            session: document.get_document("session").ok()?.clone(),
            reservation: document.get_object_id("reservation").ok()?,
            surplus: document.get_array("surplus").ok()?.clone(),
            ended: Ended::new(reason, at, by),
        })
    }
}

impl Announcement {
    /// Ends the surplus and creates the session in one command, then removes the announcement.
    /// Returns the number of documents that matched the updates.
    ///
    /// The order ensures that there are never more live sessions than the limit allows.
    async fn carry_out(&self) -> Result<u64, Trouble> {
        let Content { session, reservation, surplus, ended } = &self.content;
        let mut updates = Vec::new();
        if !surplus.is_empty() {
            let filter = commands::active(surplus.iter().cloned());
            let change = commands::evict(ended, self.turn, self.store.retention);
            let change: Vec<_> = change.into_iter().map(Bson::Document).collect();
            updates.push(doc! { "q": filter, "u": change, "multi": true });
        }
        let reserved = doc! { "_id": session.get("_id"), "state": RESERVED, "reservation": reservation };
        updates.push(doc! { "q": reserved, "u": session.clone() });
        let changed = self.store.update_in_order(updates, "create").await?;
        let removed = doc! { "$set": { "announced": Bson::Null } };
        self.store.turns.update_one(at_turn(self.shard, self.turn), removed).await?;
        Ok(changed)
    }
}

fn at_turn(shard: Shard, turn: ObjectId) -> Document {
    and(turn_of(shard), doc! { "turn": turn })
}

impl MongoStore {
    /// Returns true if the turn of a shard has no announcement.
    pub(super) fn is_free(&self, shard: Shard, turn: &RawDocumentBuf) -> Result<bool, Trouble> {
        Ok(self.announcement(shard, turn)?.is_none())
    }

    /// Reads the announcement in the turn of a shard, if there is one.
    fn announcement(&self, shard: Shard, turn: &RawDocumentBuf) -> Result<Option<Announcement>, Trouble> {
        let document = Document::try_from(turn.as_ref()).map_err(|_| CORRUPT_TURN)?;
        let announced = match document.get("announced") {
            Some(Bson::Null) => return Ok(None),
            Some(Bson::Document(announced)) => Content::read(announced),
            _ => None,
        };
        let turn = document.get_object_id("turn").map_err(|_| CORRUPT_TURN)?;
        Ok(Some(self.announce(shard, turn, announced.ok_or(CORRUPT_TURN)?)))
    }

    fn announce(&self, shard: Shard, turn: ObjectId, content: Content) -> Announcement {
        Announcement { store: self.clone(), shard, turn, content }
    }

    pub(super) async fn compare_and_set(&self, sign_in: &SignIn) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let shard = sign_in.shard();
        let turn = self.next_turn(shard).await?;
        let reservation = self.reserve(&sign_in.record).await?;
        let surplus = match self.surplus(sign_in).await {
            Ok(surplus) => surplus,
            Err(trouble) => {
                self.release(sign_in.record.id, reservation).await?;
                return Err(trouble);
            }
        };
        let content = Content {
            session: document::new(&sign_in.record),
            reservation,
            surplus: surplus.iter().map(|record| document::id(record.id)).collect(),
            ended: sign_in.end(),
        };
        let announcement = self.announce(shard, ObjectId::new(), content);
        let change =
            doc! { "$set": { "turn": announcement.turn, "announced": announcement.content.write() } };
        let unchanged = and(at_turn(shard, turn), doc! { "announced": Bson::Null });
        if self.turns.update_one(unchanged, change).await?.matched_count == 0 {
            return Err(Trouble::Overtaken);
        }
        self.finish(&announcement, sign_in.record.id).await
    }

    /// Carries out this sign-in's own announcement, and returns the sessions that it ended.
    async fn finish(
        &self,
        announcement: &Announcement,
        id: SessionId,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let surplus = &announcement.content.surplus;
        let changed = announcement.carry_out().await?;
        // There are fewer matches if another sign-in has carried it out, or if some of the sessions
        // have ended in the meantime.
        if changed <= surplus.len() as u64 && self.load_records(&[id]).await?.is_empty() {
            let lost = Error::unavailable(NAME, "create");
            return Err(lost
                .with_detail("the reservation was withdrawn by another sign-in of the same id")
                .into());
        }
        if surplus.is_empty() {
            return Ok(Vec::new());
        }
        let own = and(with_ids(surplus), doc! { "end.signIn": announcement.turn });
        Ok(readable(&all(&self.sessions, own, surplus.len()).await?, Part::Whole))
    }

    /// Returns the turn of a shard, after carrying out its announcement. Creates the turn if it
    /// does not exist.
    pub(super) async fn next_turn(&self, shard: Shard) -> Result<ObjectId, Trouble> {
        let Some(found) = self.turns.find_one(turn_of(shard)).read_concern(ReadConcern::local()).await?
        else {
            let mut first = turn_of(shard);
            let turn = ObjectId::new();
            first.extend(doc! { "turn": turn, "announced": Bson::Null });
            return match self.turns.clone_with_type().insert_one(first).await.map_err(Trouble::from) {
                Err(trouble) if trouble.is_duplicate() => Err(Trouble::Overtaken),
                result => result.map(|_| turn),
            };
        };
        if let Some(announcement) = self.announcement(shard, &found)? {
            announcement.carry_out().await?;
        }
        found.get_object_id("turn").map_err(|_| CORRUPT_TURN.into())
    }

    /// Reserves the id, so that no other sign-in creates a session with it. Reuses an abandoned
    /// reservation.
    async fn reserve(&self, record: &SessionRecord) -> Result<ObjectId, Trouble> {
        let reservation = ObjectId::new();
        let reserved = doc! {
            "_id": document::id(record.id),
            "format": FORMAT,
            "state": RESERVED,
            "reservation": reservation,
            "deadlineAt": time(record.created_at),
        };
        match self.documents().insert_one(reserved).await.map_err(Trouble::from) {
            Err(trouble) if trouble.is_duplicate() => {}
            result => return result.map(|_| reservation),
        }
        let found = self.sessions.find_one(commands::with_id(record.id)).read_concern(ReadConcern::local());
        let found = found.await?.ok_or(Trouble::Overtaken)?;
        // A corrupt document occupies the id, too.
        let already = || Error::already_exists(NAME, "create").into();
        document::read_reservation(&found).ok().flatten().ok_or_else(already)
    }

    async fn release(&self, id: SessionId, reservation: ObjectId) -> Result<(), Trouble> {
        let reserved = doc! { "_id": document::id(id), "state": RESERVED, "reservation": reservation };
        self.sessions.delete_one(reserved).await?;
        Ok(())
    }

    async fn surplus(&self, sign_in: &SignIn) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let Some(filter) = sign_in.live() else { return Ok(Vec::new()) };
        let found = self.sessions.find(filter).projection(commands::redacted());
        // A local read sees every acknowledged write, whatever the write concern.
        let found = found.read_concern(ReadConcern::local()).await?;
        let live: Vec<RawDocumentBuf> = found.try_collect().await?;
        sign_in.surplus(&live)
    }
}
