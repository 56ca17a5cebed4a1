//! Databases and stores for tests.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, thread};

use session_core::DeviceId;
use session_sqlx::{Dialect, MysqlStore, PostgresStore, SqlStore, SqliteStore, TableName};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{
    AssertSqlSafe, Connection, Database, MySql, MySqlPool, PgPool, Pool, Postgres, SqlSafeStr, SqlStr,
    Sqlite, SqlitePool,
};

/// Connections of a test's pool. More than most tests have tasks, so that their calls run
/// concurrently.
const POOL: u32 = 8;

/// The name of a table for one test, because tests share a server.
pub(crate) fn fresh_table() -> TableName {
    let id = DeviceId::mint(&session_core::SystemRandom).unwrap();
    format!("t_{}", id.to_string().replace('-', "")).parse().unwrap()
}

pub(crate) async fn migrated<D: Dialect>(pool: Pool<D>) -> SqlStore<D> {
    let store = SqlStore::builder(pool).table(fresh_table()).build().unwrap();
    store.migrate().await.unwrap();
    store
}

pub(crate) async fn postgres(url: &str) -> PostgresStore {
    migrated(PgPoolOptions::new().max_connections(POOL).connect(url).await.unwrap()).await
}

pub(crate) async fn mysql(url: &str) -> MysqlStore {
    migrated(MySqlPoolOptions::new().max_connections(POOL).connect(url).await.unwrap()).await
}

/// A database in a file that is deleted when the runtime ends.
pub(crate) async fn sqlite_file() -> SqliteStore {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("sessions.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    tokio::spawn(async move {
        let _kept = folder;
        std::future::pending::<()>().await;
    });
    migrated(SqlitePoolOptions::new().max_connections(POOL).connect_with(options).await.unwrap()).await
}

pub(crate) async fn sqlite_memory() -> SqliteStore {
    migrated(SqlitePoolOptions::new().max_connections(POOL).connect("sqlite::memory:").await.unwrap()).await
}

/// Returns the URL of a server, by the name that the conformance suites give it. Without a URL this
/// prints one line, `skipped ...`; if `SESSION_TEST_REQUIRE` names the server, the test fails
/// instead.
pub(crate) fn server_url(name: &str) -> Option<String> {
    let variable = format!("SESSION_TEST_{}_URL", name.to_uppercase());
    if let Some(url) = env::var(&variable).ok().filter(|url| !url.is_empty()) {
        return Some(url);
    }
    let required = env::var("SESSION_TEST_REQUIRE").unwrap_or_default();
    let is_required =
        required.split(',').map(str::trim).any(|required| required == name || required == "all");
    assert!(!is_required, "SESSION_TEST_REQUIRE asks for `{name}`, but {variable} is not set");
    println!("skipped {}: {variable} is not set", thread::current().name().unwrap_or("a test"));
    None
}

type OptionsOf<D> = <<D as Database>::Connection as Connection>::Options;

/// The differences between the databases in tests that run on all of them.
pub(crate) trait Tested: Dialect {
    /// Selects every column and index of all tables, one text per row.
    const CATALOGUE: &str;

    /// Creates an empty database. Returns false if there is no server.
    async fn create(name: &str) -> bool;

    async fn remove(name: &str);

    fn options(name: &str) -> OptionsOf<Self>;

    /// Returns a pool that can access a second schema, and the name of that schema.
    async fn with_schema(name: &str) -> (Pool<Self>, String);

    fn drop_index(table: &str, index: &str) -> String {
        let _ = table;
        format!("DROP INDEX {index}")
    }
}

/// A database for one test. It is removed on drop.
#[derive(Debug)]
pub(crate) struct EmptyDatabase<D: Tested> {
    pub(crate) name: String,
    pub(crate) pool: Pool<D>,
}

impl<D: Tested> EmptyDatabase<D> {
    pub(crate) async fn new() -> Option<Self> {
        let name = fresh_table().to_string();
        if !D::create(&name).await {
            return None;
        }
        let pool = connect(&name).await;
        Some(Self { name, pool })
    }

    /// Returns a store whose schema was not migrated.
    pub(crate) fn store(&self, table: &str) -> SqlStore<D> {
        store_on(&self.pool, table)
    }

    /// Runs a script on a new connection, because SQLite looks for a column to rename in the schema
    /// that a connection has cached.
    pub(crate) async fn script(&self, text: &str) {
        let mut connection = D::Connection::connect_with(&D::options(&self.name)).await.unwrap();
        D::script(&mut connection, sql(text)).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        connection.close().await.unwrap();
    }

    /// Returns every column and index.
    pub(crate) async fn catalogue(&self) -> Vec<String> {
        texts(&self.pool, D::CATALOGUE).await
    }
}

impl<D: Tested> Drop for EmptyDatabase<D> {
    fn drop(&mut self) {
        let name = self.name.clone();
        // A failed test drops this too, and cannot wait for a future.
        let removed = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(D::remove(&name));
        });
        if removed.join().is_err() {
            eprintln!("the database {} was not removed", self.name);
        }
    }
}

pub(crate) async fn connect<D: Tested>(name: &str) -> Pool<D> {
    PoolOptions::new().max_connections(POOL).connect_with(D::options(name)).await.unwrap()
}

pub(crate) fn store_on<D: Dialect>(pool: &Pool<D>, table: &str) -> SqlStore<D> {
    SqlStore::builder(pool.clone()).table(table.parse().unwrap()).build().unwrap()
}

pub(crate) async fn script<D: Dialect>(pool: &Pool<D>, text: &str) -> Result<(), sqlx::Error> {
    D::script(&mut *pool.acquire().await?, sql(text)).await
}

/// Returns the first column of a query.
pub(crate) async fn texts<D: Dialect>(pool: &Pool<D>, text: &str) -> Vec<String> {
    let mut connection = pool.acquire().await.unwrap();
    let rows = D::rows(&mut *connection, sql(text), D::Arguments::default()).await.unwrap();
    rows.iter().map(|row| D::text(row, 0).unwrap().unwrap_or_default().to_owned()).collect()
}

pub(crate) fn sql(text: &str) -> SqlStr {
    AssertSqlSafe(text.to_owned()).into_sql_str()
}

/// Runs functions that take an [`EmptyDatabase`] as tests, on each database.
macro_rules! on_each_database {
    ($($test:ident),+ $(,)?) => {
        $crate::support::on_each_database!(on postgres Postgres: $($test),+);
        $crate::support::on_each_database!(on mysql MySql: $($test),+);
        $crate::support::on_each_database!(on sqlite Sqlite: $($test),+);
    };
    (on $module:ident $database:ident: $($test:ident),+ $(,)?) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $test() {
                    if let Some(database) = $crate::support::EmptyDatabase::<sqlx::$database>::new().await {
                        Box::pin(super::$test(database)).await;
                    }
                }
            )+
        }
    };
}
pub(crate) use on_each_database;

impl Tested for Postgres {
    const CATALOGUE: &str =
        "SELECT format('%s.%s.%s %s %s %s %s %s', table_schema, table_name, column_name, data_type,
            character_maximum_length, is_nullable, collation_name, generation_expression)
        FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname <> 'pg_catalog' ORDER BY 1";

    async fn create(name: &str) -> bool {
        let Some(url) = server_url("postgres") else { return false };
        script(&PgPool::connect(&url).await.unwrap(), &format!("CREATE DATABASE {name}")).await.unwrap();
        true
    }

    async fn remove(name: &str) {
        let server = PgPool::connect(&server_url("postgres").unwrap()).await.unwrap();
        script(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }

    fn options(name: &str) -> PgConnectOptions {
        server_url("postgres").unwrap().parse::<PgConnectOptions>().unwrap().database(name)
    }

    async fn with_schema(name: &str) -> (PgPool, String) {
        let pool = connect(name).await;
        script(&pool, "CREATE SCHEMA auth").await.unwrap();
        (pool, "auth".to_owned())
    }
}

impl Tested for MySql {
    const CATALOGUE: &str =
        "SELECT CONCAT_WS(' ', table_name, column_name, column_type, is_nullable, collation_name,
            generation_expression)
        FROM information_schema.columns WHERE table_schema = DATABASE()
        UNION ALL SELECT CONCAT_WS(' ', table_name, index_name, seq_in_index, column_name, non_unique)
        FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY 1";

    async fn create(name: &str) -> bool {
        let Some(url) = server_url("mysql") else { return false };
        script(&MySqlPool::connect(&url).await.unwrap(), &format!("CREATE DATABASE {name}")).await.unwrap();
        true
    }

    async fn remove(name: &str) {
        let server = MySqlPool::connect(&server_url("mysql").unwrap()).await.unwrap();
        let text = format!("DROP DATABASE {name}; DROP DATABASE IF EXISTS {name}_auth");
        script(&server, &text).await.unwrap();
    }

    fn options(name: &str) -> MySqlConnectOptions {
        server_url("mysql").unwrap().parse::<MySqlConnectOptions>().unwrap().database(name)
    }

    async fn with_schema(name: &str) -> (MySqlPool, String) {
        let (pool, schema) = (connect(name).await, format!("{name}_auth"));
        script(&pool, &format!("CREATE DATABASE {schema}")).await.unwrap();
        (pool, schema)
    }

    fn drop_index(table: &str, index: &str) -> String {
        format!("DROP INDEX {index} ON {table}")
    }
}

impl Tested for Sqlite {
    const CATALOGUE: &str = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY sql";

    async fn create(name: &str) -> bool {
        fs::create_dir(folder(name)).unwrap();
        true
    }

    async fn remove(name: &str) {
        fs::remove_dir_all(folder(name)).unwrap();
    }

    fn options(name: &str) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new().filename(folder(name).join("sessions.db"));
        // Eight processes write at once, one after the other.
        options.create_if_missing(true).busy_timeout(Duration::from_secs(30))
    }

    async fn with_schema(name: &str) -> (SqlitePool, String) {
        let attach = format!("ATTACH '{}' AS auth", folder(name).join("auth.db").display());
        let options = PoolOptions::new().max_connections(POOL).after_connect(move |connection, _| {
            let attach = sql(&attach);
            Box::pin(async move { Sqlite::script(connection, attach).await })
        });
        (options.connect_with(Self::options(name)).await.unwrap(), "auth".to_owned())
    }
}

/// Returns the folder of a SQLite database.
fn folder(name: &str) -> PathBuf {
    env::temp_dir().join(name)
}
