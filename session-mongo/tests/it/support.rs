//! Stores in collections of their own.

use std::{env, thread};

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::{Client, Collection, Database};
use session_core::prelude::*;
use session_core::{DeviceId, SystemRandom};
use session_mongo::{MongoStore, MongoStoreBuilder};

/// Returns a store in a collection of its own, because tests share a server.
pub(crate) async fn fresh(
    url: &str,
    settings: impl FnOnce(MongoStoreBuilder) -> MongoStoreBuilder,
) -> MongoStore {
    let client = Client::with_uri_str(url).await.expect("a connection string");
    let database = client.default_database().expect("a database in the connection string");
    let store = settings(MongoStore::builder(database).collection(fresh_name())).build().unwrap();
    store.ensure_indexes().await.unwrap();
    store
}

pub(crate) fn fresh_name() -> String {
    format!("sessions_{}", DeviceId::mint(&SystemRandom).unwrap()).replace('-', "")
}

/// Returns the URL of the server of the conformance suite `mongodb`. If there is none, prints one
/// line, `skipped ...`, or panics if `SESSION_TEST_REQUIRE` names the suite.
pub(crate) fn server_url() -> Option<String> {
    const NAME: &str = "mongodb";
    const VARIABLE: &str = "SESSION_TEST_MONGODB_URL";
    if let Some(url) = env::var(VARIABLE).ok().filter(|url| !url.is_empty()) {
        return Some(url);
    }
    let required = env::var("SESSION_TEST_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').map(str::trim).any(|required| [NAME, "all"].contains(&required));
    assert!(!is_required, "SESSION_TEST_REQUIRE asks for `{NAME}`, but {VARIABLE} is not set");
    println!("skipped {}: {VARIABLE} is not set", thread::current().name().unwrap_or("a test"));
    None
}

/// A collection of its own, with access to its documents that bypasses the store.
pub(crate) struct Lab {
    pub(crate) database: Database,
    pub(crate) name: String,
}

impl Lab {
    /// Returns a collection that does not exist yet.
    pub(crate) async fn empty() -> Option<Self> {
        let client = Client::with_uri_str(server_url()?).await.unwrap();
        Some(Self { database: client.default_database().unwrap(), name: fresh_name() })
    }

    /// Returns a collection with the indexes, and a store in it.
    pub(crate) async fn start() -> Option<(Self, MongoStore)> {
        let lab = Self::empty().await?;
        let store = lab.store();
        store.ensure_indexes().await.unwrap();
        Some((lab, store))
    }

    pub(crate) fn builder(&self) -> MongoStoreBuilder {
        MongoStore::builder(self.database.clone()).collection(&self.name)
    }

    pub(crate) fn store(&self) -> MongoStore {
        self.builder().build().unwrap()
    }

    pub(crate) fn documents(&self) -> Collection<Document> {
        self.database.collection(&self.name)
    }

    /// Returns the bytes of the document with this id.
    pub(crate) async fn bytes(&self, id: &Bson) -> Vec<u8> {
        let raw = self.documents().clone_with_type::<RawDocumentBuf>();
        raw.find_one(doc! { "_id": id.clone() }).await.unwrap().unwrap().into_bytes()
    }

    /// Returns the document of a session.
    pub(crate) async fn document(&self, id: SessionId) -> Document {
        self.documents().find_one(doc! { "_id": key(id) }).await.unwrap().unwrap()
    }

    /// Replaces the document that has the same id.
    pub(crate) async fn put(&self, document: &Document) {
        let same = doc! { "_id": document.get("_id").unwrap().clone() };
        self.documents().replace_one(same, document).await.unwrap();
    }

    pub(crate) async fn clear(&self) {
        self.documents().delete_many(doc! {}).await.unwrap();
    }
}

/// Returns an id as the store writes it.
pub(crate) fn key(id: SessionId) -> Bson {
    mongodb::bson::Uuid::from_bytes(*id.as_bytes()).into()
}

/// Creates a session.
pub(crate) async fn create(store: &MongoStore, record: SessionRecord) -> Arc<SessionRecord> {
    let record = Arc::new(record);
    store.create(Arc::clone(&record), None).await.unwrap();
    record
}

/// Returns the sorted ids of records.
pub(crate) fn ids(records: &[Arc<SessionRecord>]) -> Vec<SessionId> {
    let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
    ids.sort_unstable();
    ids
}
