//! The MongoDB store, compared with the driver's own calls on the same client and with the same
//! documents.

use std::hint::black_box;
use std::ops::Deref;
use std::sync::Arc;

use session_core::SessionId;
use session_mongo::MongoStore;
use session_mongo::mongodb::bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use session_mongo::mongodb::options::{Acknowledgment, CollectionOptions, ReadConcern, WriteConcern};
use session_mongo::mongodb::{Client, Collection};
use session_servers::{Kind, Server};

use crate::stored::{Stored, TASKS, new, runtime, saved};

/// The fields that a save does not write.
const KEPT: [&str; 8] = ["_id", "format", "userId", "kind", "createdAt", "state", "revision", "end"];

/// A filled store, and a collection of the same client for its floors.
#[derive(Debug)]
pub struct MongoScene {
    stored: Stored<MongoStore>,
    raw: Collection<Document>,
    /// The document of a session.
    document: Document,
}

impl Deref for MongoScene {
    type Target = Stored<MongoStore>;

    fn deref(&self) -> &Self::Target {
        &self.stored
    }
}

impl MongoScene {
    /// Fills a store. The client has `threads` threads; one means the calling thread.
    ///
    /// # Panics
    /// If the server cannot be started.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let server = Server::start(Kind::Mongodb).expect("a MongoDB server; `cargo xtask test` installs one");
        let (runtime, url) = (runtime(threads), server.url());
        let (store, raw) = runtime.block_on(async {
            let client = Client::with_uri_str(url).await.expect("an address");
            let database = client.default_database().expect("a database");
            let store = MongoStore::new(database.clone());
            store.ensure_indexes().await.expect("indexes");
            let majority = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
            let options = CollectionOptions::builder().read_concern(ReadConcern::majority());
            let options = options.write_concern(majority).build();
            (store, database.collection_with_options("sessions", options))
        });
        let stored = Stored::fill(runtime, store, server);
        let first = stored.records()[0].id;
        let document = stored.block_on(async { raw.find_one(with_id(first)).await });
        let document = document.expect("an answer").expect("a session");
        Self { stored, raw, document }
    }

    /// Finds documents, and decodes them to the driver's own type.
    pub fn raw_find(&self, times: u32) {
        self.run(times, async |record, _| {
            let found = self.raw.find_one(with_id(record.id)).await.expect("an answer");
            assert!(black_box(found).is_some());
        });
    }

    /// Builds sessions, and inserts documents of the same size.
    pub fn raw_create(&self, times: u32) {
        self.run(times, async |_, step| {
            let record = black_box(new(step));
            let mut document = self.document.clone();
            document.insert("_id", format!("{} {step}", record.id));
            self.raw.insert_one(document).await.expect("an insert");
        });
    }

    /// Changes sessions, and sets as many fields, and the revision, in their documents.
    pub fn raw_update(&self, times: u32) {
        self.run(times, async |record, step| {
            let record = black_box(saved(record, step));
            let mut changed = self.document.clone();
            for kept in KEPT {
                changed.remove(kept);
            }
            changed.insert("data", bytes(BinarySubtype::Generic, &record.data));
            let update = doc! { "$set": changed, "$inc": { "revision": 1_i64 } };
            let updated = self.raw.update_one(with_id(record.id), update).await.expect("an answer");
            assert_eq!(updated.matched_count, 1);
        });
    }

    /// Finds documents in 64 tasks at once.
    pub fn raw_find_at_once(&self, times: u32) {
        let ids: Arc<Vec<_>> = Arc::new(self.records().iter().map(|record| record.id).collect());
        self.block_on(async {
            let tasks = (0..TASKS).map(|task| {
                let (raw, ids) = (self.raw.clone(), Arc::clone(&ids));
                tokio::spawn(async move {
                    for step in 0..times / TASKS {
                        let id = ids[(step * TASKS + task) as usize * 7_919 % ids.len()];
                        black_box(raw.find_one(with_id(id)).await.expect("an answer"));
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("a task that ends");
            }
        });
    }
}

fn with_id(id: SessionId) -> Document {
    doc! { "_id": bytes(BinarySubtype::Uuid, id.as_bytes()) }
}

fn bytes(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Bson::Binary(Binary { subtype, bytes: bytes.to_vec() })
}
