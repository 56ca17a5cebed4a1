//! Fresh stores.

use mongodb::Client;
use session_core::{DeviceId, SystemRandom};
use session_mongo::{MongoStore, MongoStoreBuilder};

/// A store in a collection that nobody else uses, because tests share a server.
pub(crate) async fn fresh(
    url: &str,
    settings: impl FnOnce(MongoStoreBuilder) -> MongoStoreBuilder,
) -> MongoStore {
    let client = Client::with_uri_str(url).await.expect("a connection string");
    let database = client.default_database().expect("a database in the connection string");
    let name = format!("sessions_{}", DeviceId::mint(&SystemRandom).unwrap()).replace('-', "");
    let store = settings(MongoStore::builder(database).collection(name)).build().unwrap();
    store.ensure_indexes().await.unwrap();
    store
}
