//! Ends, sweeps, purges and erasures. Each works in batches: it finds ids first, then changes those
//! documents.
//!
//! Each session ends by its own `findAndModify`, the only command that changes a document and
//! returns it atomically. An update followed by a read would miss a session that a purge deletes in
//! between. The driver retries the command once after a connection failure, and the server then
//! returns its first reply again.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::ReturnDocument;
use session_core::limits::MAX_BATCH;
use session_core::prelude::*;

use crate::commands::{self, and, with_ids};
use crate::document::{self, Part};
use crate::error::{NAME, Trouble};
use crate::store::{MongoStore, readable};

/// How many sessions of a batch end at once. The driver's pool has 10 connections by default, and
/// loads need some of them.
const AT_ONCE: usize = 8;

/// The result of a claim: the ended records that could be read, and the number of documents found.
struct Claimed {
    records: Vec<Arc<SessionRecord>>,
    found: usize,
}

/// A change to ended sessions.
enum Step {
    Change(Vec<Document>),
    Delete,
}

impl MongoStore {
    pub(crate) async fn end_all(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let change = commands::end(ended, self.retention);
        if let EndScope::Ids(ids) = scope {
            let keys = ids.iter().copied().map(document::id).collect();
            let filter = commands::created_until(created_until, commands::is_active());
            return self.change_each(keys, &filter, &change).await;
        }
        let filter = commands::of_user(scope).ok_or_else(|| Error::unsupported(NAME, "end"))?;
        let filter = commands::created_until(created_until, filter);
        let mut all = Vec::new();
        loop {
            let batch = self.claim(&filter, doc! { "createdAt": 1 }, MAX_BATCH, &change).await?;
            all.extend(batch.records);
            if batch.found < MAX_BATCH {
                return Ok(all);
            }
        }
    }

    /// Ends sessions that have passed their deadline. Claims further ones in place of those that
    /// another node ended and of corrupt documents: a result below the limit means that no expired
    /// session is left.
    pub(crate) async fn end_expired(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let (filter, change) = (commands::due(now), commands::end_by_deadline(self.retention));
        let mut all = Vec::new();
        while all.len() < limit {
            let asked = limit - all.len();
            match self.claim(&filter, doc! { "deadlineAt": 1 }, asked, &change).await {
                Ok(batch) => {
                    all.extend(batch.records);
                    if batch.found < asked {
                        break;
                    }
                }
                // Some sessions have ended, and the caller must learn which.
                Err(_) if !all.is_empty() => break,
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(all)
    }

    /// Ends at most `limit` of the sessions that the filter matches.
    async fn claim(
        &self,
        filter: &Document,
        order: Document,
        limit: usize,
        change: &[Document],
    ) -> Result<Claimed, Trouble> {
        let keys = self.keys(filter, order, limit).await?;
        let found = keys.len();
        Ok(Claimed { records: self.change_each(keys, filter, change).await?, found })
    }

    /// Changes those of the documents that the filter still matches, and returns the changed
    /// records.
    async fn change_each(
        &self,
        keys: Vec<Bson>,
        filter: &Document,
        change: &[Document],
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let change_one = async |key: Bson| {
            let filter = and(doc! { "_id": &key }, filter.clone());
            let update = self.sessions.find_one_and_update(filter, change.to_vec());
            let found = update.return_document(ReturnDocument::After).await?;
            // A reply to another command would report the end of a session that was not requested.
            match found {
                Some(found) if !has_key(&found, &key) => Err(Trouble::unrequested("end")),
                found => Ok(found),
            }
        };
        let changed = stream::iter(keys).map(change_one).buffer_unordered(AT_ONCE);
        let changed: Vec<Option<RawDocumentBuf>> = changed.try_collect().await?;
        Ok(readable(changed.iter().flatten(), Part::Whole))
    }

    /// Returns the ids of at most `limit` documents as stored: the id of a corrupt document need
    /// not be a valid session id.
    async fn keys(&self, filter: &Document, order: Document, limit: usize) -> Result<Vec<Bson>, Trouble> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let documents = self.documents();
        let found = documents.find(filter.clone()).sort(order).projection(doc! { "_id": 1 });
        let found = found.limit(i64::from(limit)).batch_size(limit).await?;
        Ok(found.try_filter_map(async |mut found| Ok(found.remove("_id"))).try_collect().await?)
    }

    pub(crate) async fn delete_ended(&self, before: Timestamp, limit: usize) -> Result<u64, Trouble> {
        let deleted = self.delete(&commands::ended_before(before), doc! { "end.at": 1 }, limit).await?;
        self.delete(&commands::reserved_before(before), doc! { "deadlineAt": 1 }, limit).await?;
        Ok(deleted)
    }

    async fn delete(&self, filter: &Document, order: Document, limit: usize) -> Result<u64, Trouble> {
        self.in_batches(filter, order, limit, &Step::Delete).await
    }

    pub(crate) async fn erase_ended(&self, user: &UserId, limit: usize) -> Result<u64, Trouble> {
        let erase = Step::Change(commands::erase());
        self.in_batches(&commands::history_of(user), doc! { "createdAt": 1 }, limit, &erase).await
    }

    /// Applies the step to at most `limit` documents that the filter matches, and returns their
    /// number. Repeats in place of documents that another node changed first: a result below the
    /// limit means that no document is left.
    async fn in_batches(
        &self,
        filter: &Document,
        order: Document,
        limit: usize,
        step: &Step,
    ) -> Result<u64, Trouble> {
        let mut done = 0;
        while done < limit {
            let asked = limit - done;
            let keys = self.keys(filter, order.clone(), asked).await?;
            if !keys.is_empty() {
                let count = self.apply(step, and(with_ids(&keys), filter.clone())).await?;
                done += usize::try_from(count).unwrap_or(asked);
            }
            if keys.len() < asked {
                break;
            }
        }
        Ok(done as u64)
    }

    async fn apply(&self, step: &Step, filter: Document) -> Result<u64, Trouble> {
        Ok(match step {
            Step::Change(change) => self.sessions.update_many(filter, change.clone()).await?.matched_count,
            Step::Delete => self.sessions.delete_many(filter).await?.deleted_count,
        })
    }
}

fn has_key(document: &RawDocument, key: &Bson) -> bool {
    let found = document.get("_id").ok().flatten();
    found.and_then(|found| Bson::try_from(found).ok()).as_ref() == Some(key)
}
