//! Where the sessions live. The one part of the shop that knows about databases.

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

/// A file in the folder where the shop is started.
const DEFAULT_URL: &str = "sqlite:axum-devices.db";

/// What else may say where the sessions live: many people have it set.
const OTHER_VARIABLE: &str = "DATABASE_URL";

/// How long a server may take for the first connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the person who starts the shop wants.
#[derive(Clone, Debug, Args)]
pub(crate) struct Choice {
    /// Where the sessions live: postgres://, mysql://, mariadb://, mongodb://, mongodb+srv://, redis://, redis+unix:// or sqlite:,
    /// `sqlite::memory:` too [default: what DATABASE_URL says, else sqlite:axum-devices.db]
    #[arg(long, visible_alias = "database", env = "STORE_URL", hide_env_values = true, value_name = "URL")]
    store: Option<String>,
    /// In SQL: the table of the sessions; it is made if it is not there
    #[arg(long, env = "SESSION_TABLE", default_value_t, value_name = "NAME")]
    pub(crate) table: TableName,
    /// In MongoDB: the collection of the sessions; it and its indexes are made if they are not there
    #[arg(long, env = "SESSION_COLLECTION", default_value = "sessions", value_name = "NAME")]
    collection: String,
    /// A Redis in front of the store, and between processes: who comes back is known from memory, then from there, then from the store
    #[arg(long, env = "CACHE_URL", hide_env_values = true, value_name = "URL")]
    cache: Option<String>,
    /// In Redis: what the keys of the sessions begin with
    #[arg(long, env = "SESSION_PREFIX", default_value_t, value_name = "NAME")]
    prefix: KeyPrefix,
}

impl Choice {
    fn url(&self) -> String {
        let other = || std::env::var_os(OTHER_VARIABLE).map(|url| url.to_string_lossy().into_owned());
        self.store.clone().or_else(other).unwrap_or_else(|| DEFAULT_URL.to_owned())
    }
}

/// A store that is ready to be used.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn SessionStore>,
    /// Where it is, as people say it. Without the password.
    pub(crate) place: String,
    /// What was done to the database.
    pub(crate) steps: Vec<Step>,
}

impl Opened {
    /// A store that needed nothing to be done that is worth telling.
    fn at(place: String, store: impl SessionStore) -> Self {
        Self { store: Arc::new(store), place, steps: Vec::new() }
    }
}

/// Connects to what was chosen. A database gets its table or its indexes, if they are not there yet.
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

/// Connects to the cache, if one was chosen.
pub(crate) async fn tiers(choice: &Choice) -> Result<Option<Tiers>, Failure> {
    match &choice.cache {
        Some(url) => redis::tiers(url, &choice.prefix).await.map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod testing {
    //! What the tests of every store need.

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

    /// What is told about a store that cannot be opened.
    pub(crate) async fn failure(url: &str) -> String {
        open(&named(url)).await.err().unwrap().to_string()
    }

    /// A port that nobody listens on: it was bound, and given back.
    pub(crate) fn closed_port() -> u16 {
        TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::failure;

    #[tokio::test]
    async fn a_url_that_names_no_database_is_refused_without_being_repeated() {
        for url in [
            "",
            "shop.db",
            "redis:secret",
            "secret",
            "mysql:secret",
            "mongodb:secret",
            "http://a:secret@localhost",
        ] {
            let told = failure(url).await;
            assert!(told.contains("begins with postgres://") && !told.contains("secret"), "{url}: {told}");
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
            let told = failure(url).await;
            assert!(told.contains("cannot be read") && told.contains(like), "{url}: {told}");
            assert!(!told.contains("sec"), "{url}: {told}");
        }
        for url in ["sqlite:", "sqlite://", "sqlite:?mode=rwc", "sqlite:shop?mode=memory"] {
            assert!(failure(url).await.contains("names no file"), "{url}");
        }
        for url in ["mongodb://ann:secret@localhost", "mongodb+srv://ann:secret@db.example/?w=majority"] {
            let told = failure(url).await;
            assert!(
                told.contains("names no database") && told.contains("mongodb://localhost/shop"),
                "{url}: {told}"
            );
            assert!(!told.contains("secret"), "{url}: {told}");
        }
    }
}
