//! The store of the sessions. The only part of the shop that depends on databases.

mod failure;
mod mongo;
mod redis;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
pub(crate) use failure::Failure;
use session_manager::Tiers;
use session_manager::core::SessionStore;
use session_redis::KeyPrefix;
use session_sqlx::{Step, TableName};

/// A file in the current folder.
const DEFAULT_URL: &str = "sqlite:axum-devices.db";

/// A second variable for the store's URL, which is often set already.
const OTHER_VARIABLE: &str = "DATABASE_URL";

/// Time limit of the first connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The options that select the store.
#[derive(Clone, Debug, Args)]
pub(crate) struct Choice {
    /// The store: a URL with postgres://, mysql://, mariadb://, mongodb://, mongodb+srv://,
    /// redis://, redis+unix:// or sqlite:, or `sqlite::memory:` [default: DATABASE_URL, or else
    /// sqlite:axum-devices.db]
    #[arg(long, visible_alias = "database", env = "STORE_URL", hide_env_values = true, value_name = "URL")]
    store: Option<String>,
    /// SQL: the table of the sessions, created if missing
    #[arg(long, env = "SESSION_TABLE", default_value_t, value_name = "NAME")]
    pub(crate) table: TableName,
    /// MongoDB: the collection of the sessions, created with its indexes if missing
    #[arg(long, env = "SESSION_COLLECTION", default_value = "sessions", value_name = "NAME")]
    collection: String,
    /// A Redis cache that processes share: it is read after process memory and before the store
    #[arg(long, env = "CACHE_URL", hide_env_values = true, value_name = "URL")]
    cache: Option<String>,
    /// Redis: the prefix of all keys
    #[arg(long, env = "SESSION_PREFIX", default_value_t, value_name = "NAME")]
    prefix: KeyPrefix,
}

impl Choice {
    fn url(&self) -> String {
        let other = || std::env::var_os(OTHER_VARIABLE).map(|url| url.to_string_lossy().into_owned());
        self.store.clone().or_else(other).unwrap_or_else(|| DEFAULT_URL.to_owned())
    }
}

/// An opened store.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn SessionStore>,
    /// A description of the store's location, without the password.
    pub(crate) place: String,
    /// The migrations that were applied.
    pub(crate) steps: Vec<Step>,
}

impl Opened {
    /// Describes a store that needed no migration.
    fn at(place: String, store: impl SessionStore) -> Self {
        Self { store: Arc::new(store), place, steps: Vec::new() }
    }
}

/// Opens the selected store. Creates a missing table or missing indexes.
pub(crate) async fn open(choice: &Choice) -> Result<Opened, Failure> {
    let (url, table) = (&*choice.url(), choice.table.clone());
    match url.split_once(':') {
        Some(("mariadb" | "mysql", rest)) if rest.starts_with("//") => sql::on_mysql(url, table).await,
        Some(("mongodb" | "mongodb+srv", rest)) if rest.starts_with("//") => {
            mongo::open(url, &choice.collection).await
        }
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            sql::on_postgres(url, table).await
        }
        Some(("redis" | "rediss" | "redis+unix" | "valkey" | "valkeys" | "valkey+unix", rest))
            if rest.starts_with("//") =>
        {
            redis::open(url, &choice.prefix).await
        }
        Some(("sqlite", _)) => sql::on_sqlite(url, table).await,
        _ => Err(Failure::Scheme),
    }
}

/// Connects to the cache, if one was selected.
pub(crate) async fn tiers(choice: &Choice) -> Result<Option<Tiers>, Failure> {
    match &choice.cache {
        Some(url) => redis::tiers(url, &choice.prefix).await.map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod testing {
    //! Helpers for the tests of every store.

    use std::net::TcpListener;

    use super::*;

    pub(crate) fn named(url: &str) -> Choice {
        Choice {
            store: Some(url.to_owned()),
            table: TableName::default(),
            collection: "sessions".to_owned(),
            cache: None,
            prefix: KeyPrefix::default(),
        }
    }

    /// Returns the error message for a store that cannot be opened.
    pub(crate) async fn failure(url: &str) -> String {
        open(&named(url)).await.err().unwrap().to_string()
    }

    /// Returns a port without a listener: binds a free one and releases it.
    pub(crate) fn closed_port() -> u16 {
        TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::failure;

    #[tokio::test]
    async fn invalid_url_is_refused_without_repeating_it() {
        for url in [
            "",
            "shop.db",
            "redis:secret",
            "secret",
            "mysql:secret",
            "mongodb:secret",
            "http://a:secret@localhost",
        ] {
            let message = failure(url).await;
            assert!(
                message.contains("begins with postgres://") && !message.contains("secret"),
                "{url}: {message}"
            );
        }
        for (url, like) in [
            ("postgres://ann:sec/ret@localhost/shop", "like postgres://"),
            ("mysql://ann:secret@[::1/shop", "like postgres://"),
            ("mongodb://ann:sec/ret@localhost/shop", "like mongodb://"),
            ("mongodb://ann:sec?ret@localhost/shop", "like mongodb://"),
            ("mongodb://ann:sec@ret@localhost/shop", "like mongodb://"),
            ("mongodb://ann:secret", "like mongodb://"),
            ("mongodb://localhost/shop?tlsCertificateKeyFilePassword=secret&tls=maybe", "like mongodb://"),
            ("mongodb+srv://ann:secret@db.example:27017/shop", "like mongodb://"),
            ("redis://ann:sec/ret@localhost", "like redis://"),
            ("redis://ann:secret@localhost/shop", "like redis://"),
            ("redis+unix://", "like redis://"),
        ] {
            let message = failure(url).await;
            assert!(message.contains("cannot be read") && message.contains(like), "{url}: {message}");
            assert!(!message.contains("sec"), "{url}: {message}");
        }
        for url in ["sqlite:", "sqlite://", "sqlite:?mode=rwc", "sqlite:shop?mode=memory"] {
            assert!(failure(url).await.contains("names no file"), "{url}");
        }
        for url in ["mongodb://ann:secret@localhost", "mongodb+srv://ann:secret@db.example/?w=majority"] {
            let message = failure(url).await;
            assert!(
                message.contains("names no database") && message.contains("mongodb://localhost/shop"),
                "{url}: {message}"
            );
            assert!(!message.contains("secret"), "{url}: {message}");
        }
    }
}
