//! Where the sessions live. The one file of the shop that knows about databases.

use std::error::Error as StdError;
use std::path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use session_manager::core::{ErrorKind, SessionStore};
use session_redis::redis::{self, IntoConnectionInfo, RedisError};
use session_redis::{KeyPrefix, RedisStore};
use session_sqlx::{Dialect, SqlStore, Step, TableName};
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError};
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Connection, MySql, Postgres, Sqlite};

/// A file in the folder where the shop is started.
const DEFAULT_URL: &str = "sqlite:axum-devices.db";

/// What else may say where the sessions live: many people have it set.
const OTHER_VARIABLE: &str = "DATABASE_URL";

/// How long a server may take for the first connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the person who starts the shop wants.
#[derive(Clone, Debug, Args)]
pub(crate) struct Choice {
    /// Where the sessions live: postgres://, mysql://, mariadb://, redis://, redis+unix:// or sqlite:, `sqlite::memory:` too
    /// [default: what DATABASE_URL says, else sqlite:axum-devices.db]
    #[arg(long, visible_alias = "database", env = "STORE_URL", hide_env_values = true, value_name = "URL")]
    store: Option<String>,
    /// In SQL: the table of the sessions; it is made if it is not there
    #[arg(long, env = "SESSION_TABLE", default_value_t, value_name = "NAME")]
    pub(crate) table: TableName,
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

/// Connects to what was chosen. A database gets its table, if that is not there yet.
pub(crate) async fn open(choice: &Choice) -> Result<Opened, Failure> {
    let (url, table) = (&*choice.url(), choice.table.clone());
    match url.split_once(':') {
        Some(("mariadb" | "mysql", rest)) if rest.starts_with("//") => {
            let options: MySqlConnectOptions = parse(url)?;
            let place = match options.get_socket() {
                Some(socket) => format!("MySQL at {}", socket.display()),
                None => format!("MySQL at {}:{}", options.get_host(), options.get_port()),
            };
            let database = options.get_database().unwrap_or("none").to_owned();
            prepare::<MySql>(options, format!("{place}, database {database}, table {table}"), table).await
        }
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
            let options: PgConnectOptions = parse(url)?;
            let place = match options.get_socket() {
                Some(socket) => format!("PostgreSQL at {}", socket.display()),
                None => format!("PostgreSQL at {}:{}", options.get_host(), options.get_port()),
            };
            // The server's own default.
            let database = options.get_database().unwrap_or(options.get_username()).to_owned();
            prepare::<Postgres>(options, format!("{place}, database {database}, table {table}"), table).await
        }
        Some(("redis" | "rediss" | "redis+unix" | "valkey" | "valkeys" | "valkey+unix", rest))
            if rest.starts_with("//") =>
        {
            on_redis(url, &choice.prefix).await
        }
        Some(("sqlite", _)) => {
            let options: SqliteConnectOptions = parse(url)?;
            let place = sqlite_place(url, &options)?;
            // Readers and the writer do not wait for each other, and a process that is killed loses nothing.
            let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
            prepare::<Sqlite>(options, place, table).await
        }
        _ => Err(Failure::Scheme),
    }
}

fn parse<O: FromStr<Err = sqlx::Error>>(url: &str) -> Result<O, Failure> {
    url.parse().map_err(|error: sqlx::Error| Failure::Url { cause: error.to_string(), like: SQL_URL })
}

/// Redis and Valkey have nothing to be made beforehand.
async fn on_redis(url: &str, prefix: &KeyPrefix) -> Result<Opened, Failure> {
    let address = url.into_connection_info().map_err(|error| match url.split_once(':') {
        Some(("rediss" | "valkeys", _)) => Failure::RedisTls,
        _ => Failure::Url { cause: error.to_string(), like: REDIS_URL },
    })?;
    let mut place = format!("Redis at {}", address.addr());
    if address.redis_settings().db() != 0 {
        place = format!("{place}, database {}", address.redis_settings().db());
    }
    let checked = async {
        let connection = session_redis::Connection::open(address)?;
        connection.check().await?;
        RedisStore::builder(connection).prefix(prefix.clone()).build()
    };
    match checked.await {
        Ok(store) => {
            let place = format!("{place}, keys {prefix}:*");
            Ok(Opened { store: Arc::new(store), place, steps: Vec::new() })
        }
        Err(error) => {
            let otherwise = if error.kind() == ErrorKind::Unsupported { ONE_REDIS } else { REDIS };
            Err(Failure::database(place, &error, otherwise))
        }
    }
}

fn sqlite_place(url: &str, options: &SqliteConnectOptions) -> Result<String, Failure> {
    let file = options.get_filename();
    if url.contains(":memory:") {
        return Ok("memory: they end with this program".to_owned());
    }
    // The driver gives each connection a database of its own then.
    if file.as_os_str().is_empty() || url.contains("mode=memory") {
        return Err(Failure::NoFile);
    }
    Ok(path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string())
}

async fn prepare<D: Dialect>(
    options: <D::Connection as Connection>::Options,
    place: String,
    table: TableName,
) -> Result<Opened, Failure> {
    // A pool waits for a server that is not there, and does not say afterwards what was wrong.
    match tokio::time::timeout(PATIENCE, D::Connection::connect_with(&options)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(Failure::database(place, &error, SERVER)),
        Err(_) => return Err(Failure::Silent { place }),
    }
    let pool = PoolOptions::<D>::new().connect_lazy_with(options);
    let prepared = async {
        let store = SqlStore::builder(pool).table(table).build()?;
        let steps = store.migrate().await?;
        store.connect().await?;
        Ok::<_, Box<dyn StdError + Send + Sync>>((store, steps))
    };
    match prepared.await {
        Ok((store, steps)) => Ok(Opened { store: Arc::new(store), place, steps }),
        Err(error) => Err(Failure::database(place, &*error, TABLE)),
    }
}

/// Why there is no store, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "this is no store that the shop knows. The URL after --store, or in STORE_URL or {OTHER_VARIABLE}, begins with postgres://, \
         mysql://, mariadb://, redis://, redis+unix:// or sqlite:, like {SQL_URL}; without one, the sessions are in {DEFAULT_URL}"
    )]
    Scheme,
    #[error("the URL of the store cannot be read: {cause}. It looks like {like}")]
    Url { cause: String, like: &'static str },
    #[error(
        "the shop is built without TLS. Use a redis:// URL, or add `redis` with its feature `tokio-native-tls-comp` to the dependencies \
         in examples/axum-devices/Cargo.toml"
    )]
    RedisTls,
    #[error(
        "the URL of the store names no file. Write one behind `sqlite:`, like {DEFAULT_URL}, or `:memory:`"
    )]
    NoFile,
    #[error("no answer in {} s: {place}. Are the host and the port in the URL right?", PATIENCE.as_secs())]
    Silent { place: String },
    #[error("cannot keep the sessions in {place}: {cause}. {advice}")]
    Database { place: String, cause: String, advice: &'static str },
}

const SQL_URL: &str = "postgres://ann:password@localhost:5432/shop";
const REDIS_URL: &str = "redis://ann:password@localhost:6379/0 or redis+unix:///run/redis.sock";
const SERVER: &str = "Start the server, or correct the URL; without one, the sessions are in a file";
const REDIS: &str = "Start one with `redis-server`, or one to throw away with `cargo xtask serve redis`, or correct the URL; without \
                     one, the sessions are in a file";
const ONE_REDIS: &str = "The shop knows one server, Redis 6.2 or later: name such a one";
const CREDENTIALS: &str = "Correct the user and the password in the URL";
const DATABASE: &str = "Name a database that exists, and that the user may use, at the end of the URL";
// An account of MySQL 8 wants its password encrypted, by TLS or by RSA.
const TLS: &str = "The shop is built without TLS: use a connection and an account that do without, or add the feature \
                   `tls-rustls` to sqlx in examples/axum-devices/Cargo.toml";
const TABLE: &str =
    "If that table belongs to another program, choose a name for this one: SESSION_TABLE=shop_sessions";

impl Failure {
    fn database(place: String, error: &(dyn StdError + 'static), otherwise: &'static str) -> Self {
        let mut cause = error.to_string();
        let mut inner = error;
        // The drivers' own errors repeat their sources.
        let is_drivers =
            |error: &(dyn StdError + 'static)| error.is::<sqlx::Error>() || error.is::<RedisError>();
        while let Some(source) = inner.source().filter(|_| !is_drivers(inner)) {
            inner = source;
            cause = format!("{cause}: {inner}");
        }
        Self::Database { place, cause, advice: advice(inner).unwrap_or(otherwise) }
    }
}

fn advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<RedisError>() {
        let asks_who = matches!(error.code(), Some("NOAUTH" | "WRONGPASS"));
        return (asks_who || error.kind() == redis::ErrorKind::AuthenticationFailed).then_some(CREDENTIALS);
    }
    let error = match error.downcast_ref()? {
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => {
            return Some(TLS);
        }
        sqlx::Error::Database(error) => error,
        _ => return None,
    };
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>()
        && matches!(error.number(), 1044 | 1046 | 1049)
    {
        return Some(DATABASE);
    }
    // Either an SQLSTATE or an extended result code of SQLite, whose last byte is the primary one.
    let code = error.code().unwrap_or_default();
    match (&*code, code.parse::<u32>().unwrap_or_default() & 0xff) {
        ("28P01" | "28000", _) => Some(CREDENTIALS),
        ("3D000", _) => Some(DATABASE),
        ("42501", _) => Some("Let the database user create tables, or choose another one in the URL"),
        (_, 8 | 14) if code.len() < 5 => {
            Some("Choose a file in a folder that exists and that you may write to: --store sqlite:shop.db")
        }
        ("26", _) => Some("Choose another file, or a new one: --store sqlite:shop.db"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use session_servers::{Kind, Options, RedisCluster, Server};

    use super::*;

    fn named(url: &str) -> Choice {
        Choice { store: Some(url.to_owned()), table: TableName::default(), prefix: KeyPrefix::default() }
    }

    async fn failure(url: &str) -> String {
        open(&named(url)).await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_url_that_names_no_database_is_refused_without_being_repeated() {
        for url in ["", "shop.db", "redis:secret", "secret", "mysql:secret", "http://a:secret@localhost"] {
            let told = failure(url).await;
            assert!(told.contains("begins with postgres://") && !told.contains("secret"), "{url}: {told}");
        }
        for (url, like) in [
            ("postgres://ann:sec/ret@localhost/shop", "like postgres://"),
            ("mysql://ann:secret@[::1/shop", "like postgres://"),
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
    }

    #[tokio::test]
    async fn a_new_file_gets_its_table_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new.db");
        let url = format!("sqlite:{}", file.display());
        let first = open(&named(&url)).await.unwrap();
        assert_eq!((first.place, first.steps.is_empty()), (file.display().to_string(), false));
        assert_eq!(open(&named(&url)).await.unwrap().steps, []);
    }

    #[tokio::test]
    async fn memory_is_told_as_what_it_is() {
        for url in ["sqlite::memory:", "sqlite://:memory:"] {
            let opened = open(&named(url)).await.unwrap();
            assert_eq!(opened.place, "memory: they end with this program", "{url}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_named_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let away = folder.path().join("missing/shop.db");
        let told = failure(&format!("sqlite:{}", away.display())).await;
        assert!(told.contains(away.to_str().unwrap()) && told.contains("folder that exists"), "{told}");

        let text = folder.path().join("letter.txt");
        std::fs::write(&text, "Dear Ann, this is no database. ".repeat(100)).unwrap();
        let told = failure(&format!("sqlite:{}", text.display())).await;
        assert!(told.contains("file is not a database") && told.contains("another file"), "{told}");
    }

    #[tokio::test]
    async fn a_table_of_another_program_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("shop.db").display());
        let options: SqliteConnectOptions = url.parse().unwrap();
        let mut other = sqlx::SqliteConnection::connect_with(&options.create_if_missing(true)).await.unwrap();
        sqlx::raw_sql("CREATE TABLE sessions (sid TEXT)").execute(&mut other).await.unwrap();
        let told = failure(&url).await;
        assert!(told.contains("sessions") && told.contains("SESSION_TABLE="), "{told}");
        open(&Choice { table: "shop_sessions".parse().unwrap(), ..named(&url) }).await.unwrap();
        sqlx::raw_sql("SELECT sid FROM sessions").execute(&mut other).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_without_the_password() {
        // Bound and dropped: nobody listens there.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        for scheme in ["postgres", "postgresql", "mysql", "mariadb"] {
            let told = failure(&format!("{scheme}://ann:secret@127.0.0.1:{port}/shop")).await;
            assert!(told.contains(&format!("127.0.0.1:{port}, database shop")), "{told}");
            assert!(told.contains("Start the server") && !told.contains("secret"), "{told}");
        }
        for scheme in ["redis", "valkey"] {
            let told = failure(&format!("{scheme}://ann:secret@127.0.0.1:{port}/2")).await;
            assert!(told.contains(&format!("Redis at 127.0.0.1:{port}, database 2")), "{told}");
            assert!(told.contains("`cargo xtask serve redis`") && !told.contains("secret"), "{told}");
        }
        let told = failure("redis+unix:///no/such/folder/redis.sock?pass=secret").await;
        assert!(told.contains("Redis at /no/such/folder/redis.sock") && !told.contains("secret"), "{told}");
    }

    #[tokio::test]
    async fn redis_with_tls_is_refused_with_a_way_out() {
        for scheme in ["rediss", "valkeys"] {
            let told = failure(&format!("{scheme}://ann:secret@localhost")).await;
            assert!(told.contains("without TLS") && told.contains("redis://"), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
    }

    /// Starts a Redis of its own, unless there is none and none is required.
    fn redis(settings: &[&str]) -> Option<Server> {
        let settings = Options::default().with_settings(settings.iter().copied());
        Server::for_test(Kind::Redis, &settings).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_password_that_redis_refuses_is_told_as_that() {
        let Some(server) = redis(&["--requirepass", "open"]) else { return };
        for user in ["", ":secret@", "ann:secret@"] {
            let told = failure(&format!("redis://{user}127.0.0.1:{}/", server.port())).await;
            assert!(told.contains("Correct the user and the password"), "{user}: {told}");
            assert!(!told.contains("secret"), "{user}: {told}");
        }
        open(&named(&format!("redis://:open@127.0.0.1:{}/", server.port()))).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_of_a_redis_cluster_is_refused_with_advice() {
        let Some(cluster) = RedisCluster::for_test(0, &Options::default()).unwrap() else { return };
        let told = failure(&cluster.nodes()[0].url()).await;
        assert!(told.contains("a node of a cluster") && told.contains("The shop knows one server"), "{told}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redis_is_named_with_its_keys_and_without_its_password() {
        let Some(server) = redis(&["--requirepass", "secret"]) else { return };
        let opened = open(&named(&format!("redis://:secret@127.0.0.1:{}/", server.port()))).await.unwrap();
        let place = format!("Redis at 127.0.0.1:{}, keys session-kit:*", server.port());
        assert_eq!((opened.place, opened.steps), (place, vec![]));

        let socket = server.socket().unwrap();
        let url = format!("redis+unix://{}?db=1&pass=secret", socket.display());
        let chosen = Choice { prefix: "shop".parse().unwrap(), ..named(&url) };
        let place = format!("Redis at {}, database 1, keys shop:*", socket.display());
        assert_eq!(open(&chosen).await.unwrap().place, place);
    }
}
