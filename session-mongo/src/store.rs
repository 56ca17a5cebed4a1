//! The store: the command that each operation sends, and the handling of the reply.

use std::sync::OnceLock;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use mongodb::{Client, Collection, Database};
use session_core::prelude::*;

use crate::builder::MongoStoreBuilder;
use crate::commands;
use crate::document::{self, Part, millis};
use crate::error::{NAME, Trouble, unconfirmed_write};
use crate::limited::{LimitMethod, ShardLocks};

/// A store of sessions in MongoDB. See the [crate's documentation](crate) for its use and for what
/// a failover can lose.
#[derive(Clone, Debug)]
pub struct MongoStore {
    pub(crate) database: Database,
    /// The sessions, with the options for loads.
    pub(crate) loads: Collection<RawDocumentBuf>,
    /// The sessions, with the options for all other reads and for writes.
    pub(crate) sessions: Collection<RawDocumentBuf>,
    /// The sessions, with the options for listings and statistics.
    pub(crate) listings: Collection<RawDocumentBuf>,
    /// One document for each shard, which orders the shard's sign-ins under a limit.
    pub(crate) turns: Collection<RawDocumentBuf>,
    pub(crate) write_concern: WriteConcern,
    pub(crate) capabilities: Capabilities,
    /// The longest time that the server keeps an ended session.
    pub(crate) retention: Duration,
    pub(crate) limit_method: Arc<OnceLock<LimitMethod>>,
    pub(crate) shard_locks: ShardLocks,
}

impl MongoStore {
    /// Creates a store in a database, with the defaults. Opens no connection: see
    /// [`ensure_indexes`](Self::ensure_indexes) and [`verify`](Self::verify).
    #[must_use]
    pub fn new(database: Database) -> Self {
        MongoStoreBuilder::new(database).make()
    }

    /// Creates a store in the database that the client's connection string names.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the connection string names no database.
    pub fn from_client(client: &Client) -> Result<Self> {
        let unnamed = || Error::invalid("build", "the connection string names no database");
        client.default_database().map(Self::new).ok_or_else(unnamed)
    }

    /// Returns a builder of a store with other settings.
    #[must_use]
    pub fn builder(database: Database) -> MongoStoreBuilder {
        MongoStoreBuilder::new(database)
    }

    async fn insert(&self, record: &SessionRecord) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        self.documents().insert_one(document::new(record)).await?;
        Ok(Vec::new())
    }

    /// Inserts the session if its id is only reserved. Otherwise returns the error `taken`.
    async fn insert_over(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<SessionLimit>,
        taken: Trouble,
    ) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        let found = self.sessions.find_one(commands::with_id(record.id)).await?;
        let is_reserved = |found| document::read_reservation(found).is_ok_and(|by| by.is_some());
        if found.as_deref().is_some_and(is_reserved) {
            return self.insert_reserved(record, limit).await;
        }
        Err(taken)
    }

    /// Returns the collection of sessions for typed documents.
    pub(crate) fn documents(&self) -> Collection<Document> {
        self.sessions.clone_with_type()
    }

    pub(crate) async fn load_records(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>, Trouble> {
        if let [id] = ids {
            let found = self.loads.find_one(commands::with_id(*id)).await?;
            return found.iter().filter_map(|found| loaded(found, ids).transpose()).collect();
        }
        let keys: Vec<_> = ids.iter().copied().map(document::id).collect();
        let found = all(&self.loads, commands::with_ids(&keys), keys.len()).await?;
        let mut asked = ids.to_vec();
        asked.sort_unstable();
        found.iter().filter_map(|found| loaded(found, &asked).transpose()).collect()
    }

    async fn replace(&self, record: &SessionRecord, expected: Revision) -> Result<Revision, Trouble> {
        let next = expected.next();
        let filter = commands::at_revision(record.id, expected);
        let updated = self.sessions.update_one(filter, commands::save(record, next)).await?;
        if updated.matched_count > 0 { Ok(next) } else { Err(self.not_replaced(record.id).await?) }
    }

    /// Returns the reason why a record was not replaced.
    async fn not_replaced(&self, id: SessionId) -> Result<Trouble, Trouble> {
        let shown = doc! { "state": 1, "end": 1, "revision": 1, "reservation": 1 };
        let Some(found) = self.sessions.find_one(commands::with_id(id)).projection(shown).await? else {
            return Ok(Error::not_found(NAME, "update").into());
        };
        if document::read_reservation(&found)?.is_some() {
            return Ok(Error::not_found(NAME, "update").into());
        }
        if let SessionState::Ended(ended) = document::read_state(&found)? {
            return Ok(Error::ended(NAME, "update", ended).into());
        }
        Ok(Error::conflict(NAME, "update", document::read_revision(&found)?).into())
    }

    async fn move_last_seen(&self, batch: Vec<&Touch>, now: Timestamp) -> Result<u64, Trouble> {
        self.update_in_order(batch.into_iter().map(|touch| commands::touch(touch, now)), "touch").await
    }

    /// Sends several updates as one command, and returns the number of documents that they matched.
    /// The server stops at the first update that fails.
    ///
    /// The driver's own method for this needs a server of version 8.0 or later.
    pub(crate) async fn update_in_order(
        &self,
        updates: impl IntoIterator<Item = Document>,
        operation: &'static str,
    ) -> Result<u64, Trouble> {
        let updates: Vec<_> = updates.into_iter().map(Bson::Document).collect();
        let command = doc! {
            "update": self.sessions.name(),
            "updates": updates,
            "writeConcern": write_concern_document(&self.write_concern),
        };
        let reply = self.database.run_command(command).await?;
        if let Some(code) = first_error(&reply) {
            return Err(unconfirmed_write(operation, code).into());
        }
        reply.get("n").and_then(whole).ok_or_else(|| Trouble::unrequested(operation))
    }
}

/// Reads a record, and checks that it was requested.
fn loaded(document: &RawDocument, asked: &[SessionId]) -> Result<Option<Arc<SessionRecord>>, Trouble> {
    match document::read(document, Part::Whole)? {
        Some(record) if asked.binary_search(&record.id).is_err() => Err(Trouble::unrequested("load")),
        record => Ok(record.map(Arc::new)),
    }
}

/// Returns at most `limit` documents that the filter matches, in one reply if they fit into one.
pub(crate) async fn all(
    collection: &Collection<RawDocumentBuf>,
    filter: Document,
    limit: usize,
) -> Result<Vec<RawDocumentBuf>, Trouble> {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let cursor = collection.find(filter).limit(i64::from(limit)).batch_size(limit).await?;
    Ok(cursor.try_collect().await?)
}

/// Returns the records of the documents that can be read.
///
/// A corrupt document must not prevent the others from being ended or counted. It is logged here,
/// and every load of it fails.
pub(crate) fn readable<'d>(
    documents: impl IntoIterator<Item = &'d RawDocumentBuf>,
    part: Part,
) -> Vec<Arc<SessionRecord>> {
    let mut records = Vec::new();
    for document in documents {
        match document::read(document, part) {
            Ok(record) => records.extend(record.map(Arc::new)),
            Err(why) => tracing::error!(backend = NAME, why = why.0, "a session cannot be read"),
        }
    }
    records
}

/// Returns the write concern as a field of a command.
fn write_concern_document(concern: &WriteConcern) -> Document {
    let w = match &concern.w {
        Some(Acknowledgment::Nodes(nodes)) => Bson::Int64(i64::from(*nodes)),
        Some(Acknowledgment::Custom(tag)) => tag.as_str().into(),
        _ => "majority".into(),
    };
    let mut document = doc! { "w": w };
    document.extend(concern.journal.map(|journal| ("j".to_owned(), journal.into())));
    document.extend(concern.w_timeout.map(|patience| ("wtimeout".to_owned(), millis(patience).into())));
    document
}

/// Returns the code of the first write error, or of the write concern error, in a reply whose
/// command succeeded as such.
fn first_error(reply: &Document) -> Option<i32> {
    let first = reply.get_array("writeErrors").ok().and_then(|errors| errors.first()?.as_document());
    let error = first.or_else(|| reply.get_document("writeConcernError").ok())?;
    Some(error.get("code").and_then(whole).and_then(|code| i32::try_from(code).ok()).unwrap_or(-1))
}

/// Reads a count, which servers write as an int or a long.
pub(crate) fn whole(value: &Bson) -> Option<u64> {
    match value {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SessionStore for MongoStore {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.capabilities.check_new(&record, limit)?;
        let created = match limit {
            Some(limit) => self.insert_limited(Arc::clone(&record), *limit).await,
            None => self.insert(&record).await,
        };
        let created = match created {
            Err(trouble) if trouble.is_duplicate() => self.insert_over(record, limit.copied(), trouble).await,
            created => created,
        };
        created.map_err(|trouble| trouble.into_error("create"))
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("load", ids.len())?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.load_records(ids).await.map_err(|trouble| trouble.into_error("load"))
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.capabilities.check_active(&record)?;
        self.replace(&record, expected).await.map_err(|trouble| trouble.into_error("update"))
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        check_touches(batch)?;
        let batch = Touch::latest_of_each(batch);
        if batch.is_empty() {
            return Ok(0);
        }
        self.move_last_seen(batch, now).await.map_err(|trouble| trouble.into_error("touch"))
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        if let EndScope::Ids(ids) = scope {
            check_batch("end", ids.len())?;
            if ids.is_empty() {
                return Ok(Vec::new());
            }
        }
        self.end_all(scope, ended, created_until).await.map_err(|trouble| trouble.into_error("end"))
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        query.check()?;
        self.page(query).await.map_err(|trouble| trouble.into_error("list"))
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("expire", limit)?;
        self.end_expired(now, limit).await.map_err(|trouble| trouble.into_error("expire"))
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        check_batch("purge", limit)?;
        self.delete_ended(before, limit).await.map_err(|trouble| trouble.into_error("purge"))
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        check_batch("erase", limit)?;
        self.erase_ended(user, limit).await.map_err(|trouble| trouble.into_error("erase"))
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.count(now).await.map_err(|trouble| trouble.into_error("stats"))
    }
}
