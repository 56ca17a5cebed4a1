//! The conformance suite on the store.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};

use ::redb::Database;
use ::redb::backends::FileBackend;
use custom_backend::RedbStore;

static STORES: AtomicU32 = AtomicU32::new(0);

session_conformance::session_store_suite!(redb, || async {
    // A file without a name: it is gone when the store is.
    let file = FileBackend::new(tempfile::tempfile().unwrap()).unwrap();
    let database = Database::builder().create_with_backend(file).unwrap();
    RedbStore::new(database, &format!("file {}", STORES.fetch_add(1, Ordering::Relaxed)))
});
