//! Without transactions: reserve the id, announce what will happen by a compare-and-set, then carry it out.
//!
//! Announcing is the decision. From then on everybody who meets the announcement carries it out, by steps that can be repeated by anybody at
//! any later time without effect: an end of what is still active, a replacement of *this* reservation, and forgetting *this* announcement.

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

/// What a sign-in has decided to do.
#[derive(Clone, Debug)]
struct Announcement {
    store: MongoStore,
    shard: Shard,
    /// Names the announcement, and what it ends.
    turn: ObjectId,
    content: Content,
}

#[derive(Clone, Debug)]
struct Content {
    session: Document,
    reservation: ObjectId,
    /// The ids of what has to end, and how.
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
    /// Ends the surplus and lets the session begin, in one command, then forgets the announcement. In this order, because at no moment there
    /// may be more sessions than the limit allows. Returns how many documents changed.
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
        let forgotten = doc! { "$set": { "announced": Bson::Null } };
        self.store.turns.update_one(at_turn(self.shard, self.turn), forgotten).await?;
        Ok(changed)
    }
}

fn at_turn(shard: Shard, turn: ObjectId) -> Document {
    and(turn_of(shard), doc! { "turn": turn })
}

impl MongoStore {
    /// Whether the document of a shard announces nothing.
    pub(super) fn is_free(&self, shard: Shard, turn: &RawDocumentBuf) -> Result<bool, Trouble> {
        Ok(self.announcement(shard, turn)?.is_none())
    }

    /// What the document of a shard announces.
    fn announcement(&self, shard: Shard, turn: &RawDocumentBuf) -> Result<Option<Announcement>, Trouble> {
        const DAMAGED: Unreadable = Unreadable("the turn of a shard cannot be read");
        let document = Document::try_from(turn.as_ref()).map_err(|_| DAMAGED)?;
        let announced = match document.get("announced") {
            Some(Bson::Null) => return Ok(None),
            Some(Bson::Document(announced)) => Content::read(announced),
            _ => None,
        };
        let turn = document.get_object_id("turn").map_err(|_| DAMAGED)?;
        Ok(Some(self.announce(shard, turn, announced.ok_or(DAMAGED)?)))
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
                self.give_up(sign_in.record.id, reservation).await?;
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
        self.carried_out(&announcement, sign_in.record.id).await
    }

    /// Carries our own announcement out, and returns what it ended.
    async fn carried_out(
        &self,
        announcement: &Announcement,
        id: SessionId,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let surplus = &announcement.content.surplus;
        let changed = announcement.carry_out().await?;
        // Fewer, if somebody else carried it out or ended some of them meanwhile.
        if changed <= surplus.len() as u64 && self.load_records(&[id]).await?.is_empty() {
            let lost = Error::unavailable(NAME, "create");
            return Err(lost
                .with_detail("the reservation was withdrawn by another sign-in of the same id")
                .into());
        }
        if surplus.is_empty() {
            return Ok(Vec::new());
        }
        let ours = and(with_ids(surplus), doc! { "end.signIn": announcement.turn });
        Ok(readable(&all(&self.sessions, ours, surplus.len()).await?, Part::Whole))
    }

    /// The turn of a shard, once what was announced there is carried out. Creates its document.
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
        found.get_object_id("turn").map_err(|_| Unreadable("the turn of a shard cannot be read").into())
    }

    /// Makes sure that nobody else begins a session with this id. A reservation that somebody left is as good as one's own.
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
        // What cannot be read is there, too.
        let already = || Error::already_exists(NAME, "create").into();
        document::read_reservation(&found).ok().flatten().ok_or_else(already)
    }

    async fn give_up(&self, id: SessionId, reservation: ObjectId) -> Result<(), Trouble> {
        let reserved = doc! { "_id": document::id(id), "state": RESERVED, "reservation": reservation };
        self.sessions.delete_one(reserved).await?;
        Ok(())
    }

    async fn surplus(&self, sign_in: &SignIn) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let Some(filter) = sign_in.live() else { return Ok(Vec::new()) };
        let found = self.sessions.find(filter).projection(commands::redacted());
        // What every acknowledged write has left, whatever the write concern.
        let found = found.read_concern(ReadConcern::local()).await?;
        let live: Vec<RawDocumentBuf> = found.try_collect().await?;
        sign_in.surplus(&live)
    }
}
