//! A database for one test.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use session_servers::{Options, Proxy, Server};
use session_sqlx::{SqlStore, TableName};
use sqlx::pool::PoolOptions;
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr};
use tempfile::TempDir;

use super::LONG_DEADLINE;
use super::target::{CELLS, Target};
use crate::support::fresh_table;

/// A database with an empty, migrated table.
pub(super) struct Lab<D: Target> {
    pub(super) url: String,
    pub(super) table: TableName,
    server: Option<Server>,
    folder: Option<TempDir>,
    database: PhantomData<D>,
}

impl<D: Target> Lab<D> {
    /// Starts a database. Returns `None` if it is not installed; the test is then skipped.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(false, &[]).await
    }

    pub(super) async fn start_with(durable: bool, settings: &[(&str, &str)]) -> Option<Self> {
        let settings = settings.iter().flat_map(|(name, value)| D::setting(name, value));
        let options = Options::default().with_durable(durable).with_settings(settings);
        let (url, server, folder) = match D::KIND {
            Some(kind) => {
                let server = tokio::task::block_in_place(|| Server::for_test(kind, &options)).unwrap()?;
                (server.url(), Some(server), None)
            }
            None => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}?mode=rwc", folder.path().join("sessions.db").display());
                (url, None, Some(folder))
            }
        };
        let lab = Self { url, table: fresh_table(), server, folder, database: PhantomData };
        if lab.server.is_none() {
            lab.raw().await.run("PRAGMA journal_mode = WAL").await;
        }
        lab.migrate().await;
        Some(lab)
    }

    pub(super) async fn migrate(&self) {
        let pool = PoolOptions::<D>::new().max_connections(1).connect(&self.url).await.unwrap();
        SqlStore::builder(pool.clone()).table(self.table.clone()).build().unwrap().migrate().await.unwrap();
        pool.close().await;
    }

    /// Returns the folder of the SQLite file.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.as_ref().unwrap().path()
    }

    /// Runs an action on the server.
    pub(super) fn server<T>(&mut self, act: impl FnOnce(&mut Server) -> session_servers::Result<T>) -> T {
        tokio::task::block_in_place(|| act(self.server.as_mut().unwrap())).unwrap()
    }

    /// Returns a proxy in front of the server.
    pub(super) async fn proxy(&mut self) -> Proxy {
        Proxy::to(self.server(|server| Ok(server.port()))).await.unwrap()
    }

    /// Returns a store on a new pool without connections.
    pub(super) fn store(&self, options: PoolOptions<D>) -> SqlStore<D> {
        self.store_at(&self.url, options)
    }

    /// Returns a store that reaches the same database by another URL.
    pub(super) fn store_at(&self, url: &str, options: PoolOptions<D>) -> SqlStore<D> {
        self.store_on(options.connect_lazy(url).unwrap())
    }

    pub(super) fn store_on(&self, pool: sqlx::Pool<D>) -> SqlStore<D> {
        SqlStore::builder(pool).table(self.table.clone()).build().unwrap()
    }

    /// Returns a connection for the test itself.
    pub(super) async fn raw(&self) -> Raw<D> {
        self.raw_at(&self.url).await
    }

    /// Returns a connection once it is the only one. The server notices closed connections of the
    /// lab with a delay.
    pub(super) async fn raw_alone(&self) -> Raw<D> {
        let mut raw = self.raw().await;
        raw.wait_for(D::CLIENTS, LONG_DEADLINE, |others| others == 0).await;
        raw
    }

    pub(super) async fn raw_at(&self, url: &str) -> Raw<D> {
        let connection = D::Connection::connect(url).await.unwrap();
        Raw { connection, table: self.table.to_string() }
    }
}

/// A connection for statements that the store never sends. In its statements `{t}` is the table.
pub(super) struct Raw<D: Target> {
    connection: D::Connection,
    table: String,
}

impl<D: Target> Raw<D> {
    pub(super) async fn try_run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.replace("{t}", &self.table)).into_sql_str();
        D::script(&mut self.connection, sql).await
    }

    pub(super) async fn run(&mut self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn rows(&mut self, sql: &str) -> Vec<D::Row> {
        let text = AssertSqlSafe(sql.replace("{t}", &self.table)).into_sql_str();
        let rows = D::rows(&mut self.connection, text, D::Arguments::default()).await;
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Returns the first column of the first row.
    pub(super) async fn number(&mut self, sql: &str) -> i64 {
        D::int(&self.rows(sql).await[0], 0).unwrap().unwrap()
    }

    /// Returns the first column of each row.
    pub(super) async fn texts(&mut self, sql: &str) -> Vec<String> {
        let rows = self.rows(sql).await;
        rows.iter().map(|row| D::text(row, 0).unwrap().unwrap().to_owned()).collect()
    }

    /// Waits until a number meets a condition.
    pub(super) async fn wait_for(&mut self, sql: &str, limit: Duration, is_right: impl Fn(i64) -> bool) {
        let end = Instant::now() + limit;
        loop {
            let number = self.number(sql).await;
            if is_right(number) {
                return;
            }
            assert!(Instant::now() < end, "{number} after {limit:?}: {sql}");
            // InnoDB refreshes its list of transactions only if it was not read for 100 ms.
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
    }

    /// Returns the content of each row.
    pub(super) async fn content(&mut self, condition: &str) -> Vec<String> {
        let cells = CELLS.map(|name| format!("COALESCE(HEX({name}), '-')")).join(", ");
        let content = D::CONTENT.replace("{cells}", &cells);
        self.texts(&format!("{content} WHERE {condition} ORDER BY id")).await
    }
}

/// Returns the options of a pool with so many connections.
pub(super) fn pool_of<D: Target>(connections: u32) -> PoolOptions<D> {
    PoolOptions::new().max_connections(connections)
}

/// Runs a statement on each new connection of a pool.
pub(super) fn on_connect<D: Target>(options: PoolOptions<D>, sql: &'static str) -> PoolOptions<D> {
    options.after_connect(move |connection, _| {
        Box::pin(async move { D::script(connection, AssertSqlSafe(sql).into_sql_str()).await })
    })
}
