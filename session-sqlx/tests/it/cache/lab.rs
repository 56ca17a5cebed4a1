//! A cache on the shared server or on a server of its own, and direct access to its table.

use std::time::Duration;

use session_conformance::assert_kind;
use session_conformance::fixtures::{SCOPE, logged_out};
use session_core::{
    CacheEntry, Error, ErrorKind, Revision, SessionCache, SessionId, SessionRecord, Timestamp,
};
use session_servers::{Kind, Options, Proxy, Server};
use session_sqlx::{PostgresCache, TableName};
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, PgPool, Row};

use crate::support::{fresh_table, server_url, sql};

/// Longer than any test takes.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// The timeout in tests that do not measure time, because processors are shared.
pub(super) const LONG_TIMEOUT: Duration = Duration::from_secs(30);

/// The limit of [`eventually`].
const EVENTUALLY: Duration = Duration::from_secs(20);

/// A cache in a table of its own.
pub(super) async fn fresh_cache(url: &str) -> PostgresCache {
    let cache = PostgresCache::connect(url)
        .await
        .unwrap()
        .with_table(fresh_table())
        .with_timeout(LONG_TIMEOUT)
        .unwrap();
    cache.migrate().await.unwrap();
    cache
}

#[derive(Debug)]
pub(super) struct Lab {
    pub(super) url: String,
    pub(super) table: TableName,
    server: Option<Server>,
}

impl Lab {
    /// Uses the shared server.
    pub(super) async fn shared() -> Option<Self> {
        let url = server_url("postgres")?;
        Some(Self::at(url, None).await)
    }

    /// Starts a server.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    pub(super) async fn start_with(settings: &[&str]) -> Option<Self> {
        let settings = settings.iter().flat_map(|setting| ["-c", setting]);
        let options = Options::default().with_settings(settings);
        let server = tokio::task::block_in_place(|| Server::for_test(Kind::Postgres, &options)).unwrap()?;
        Some(Self::at(server.url(), Some(server)).await)
    }

    async fn at(url: String, server: Option<Server>) -> Self {
        let lab = Self { url, table: fresh_table(), server };
        lab.cache().migrate().await.unwrap();
        lab
    }

    pub(super) fn server(&mut self, step: impl FnOnce(&mut Server) -> session_servers::Result<()>) {
        tokio::task::block_in_place(|| step(self.server.as_mut().unwrap())).unwrap();
    }

    /// Returns a proxy in front of the server.
    pub(super) async fn proxy(&self) -> Proxy {
        Proxy::to(self.server.as_ref().unwrap().port()).await.unwrap()
    }

    pub(super) fn cache(&self) -> PostgresCache {
        self.cache_at(&self.url)
    }

    pub(super) fn cache_at(&self, url: &str) -> PostgresCache {
        self.cache_on(PgPool::connect_lazy(url).unwrap())
    }

    pub(super) fn cache_on(&self, pool: PgPool) -> PostgresCache {
        PostgresCache::new(pool).with_table(self.table.clone()).with_timeout(LONG_TIMEOUT).unwrap()
    }

    /// Runs statements, with `{t}` as the table.
    pub(super) async fn run(&self, text: &str) -> Vec<PgRow> {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let text = text.replace("{t}", &self.table.to_string());
        let rows = sqlx::raw_sql(sql(&text)).fetch_all(&mut connection).await;
        rows.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Returns the number that a query selects.
    pub(super) async fn number(&self, text: &str) -> i64 {
        self.run(text).await[0].get(0)
    }

    pub(super) async fn exists(&self, id: SessionId) -> bool {
        self.number(&format!("SELECT COUNT(*) FROM {{t}} WHERE id = '{id}'")).await == 1
    }

    /// Changes the row of a session.
    pub(super) async fn forge(&self, id: SessionId, change: &str) {
        self.run(&format!("UPDATE {{t}} SET {change} WHERE id = '{id}'")).await;
    }

    /// Asserts that the cache refuses the stored entry and removes it.
    pub(super) async fn assert_refused(&self, cache: &PostgresCache, id: SessionId) -> Error {
        assert!(self.exists(id).await, "there is no entry");
        let error = assert_kind(cache.get(SCOPE, id).await, ErrorKind::Corrupt);
        eventually("the refused entry is removed", async || !self.exists(id).await).await;
        assert_eq!(cache.get(SCOPE, id).await.unwrap(), None);
        error
    }

    /// Returns the number of connections to the server besides this one.
    pub(super) async fn clients(&self) -> i64 {
        self.number(CLIENTS).await
    }

    /// Returns a connection once it is the only one. The server notices closed connections of the
    /// lab with a delay.
    pub(super) async fn alone(&self) -> PgConnection {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        eventually("no other client is connected", async || clients(&mut connection).await == 0).await;
        connection
    }

    /// Returns the number of open transactions that are idle.
    pub(super) async fn left_open(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'").await
    }
}

const CLIENTS: &str = "SELECT COUNT(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// Returns the number of connections to a server besides this one.
pub(super) async fn clients(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(CLIENTS).fetch_one(connection).await.unwrap()
}

pub(super) fn entry(record: &SessionRecord, revision: u64, verified_at: Timestamp) -> CacheEntry {
    let record = record.clone().with_revision(Revision::new(revision).unwrap());
    CacheEntry::of(SCOPE, record.into(), verified_at)
}

pub(super) fn tombstone(record: &SessionRecord, revision: u64, verified_at: Timestamp) -> CacheEntry {
    let record = record.clone().into_ended(logged_out(5)).with_revision(Revision::new(revision).unwrap());
    CacheEntry::of(SCOPE, record.into(), verified_at)
}

pub(super) async fn put(cache: &PostgresCache, entry: &CacheEntry) -> session_core::Result<bool> {
    cache.put_if_newer(entry.clone(), LONG).await
}

pub(super) async fn given(cache: &PostgresCache, entry: &CacheEntry) {
    assert!(put(cache, entry).await.unwrap(), "{entry:?} was not stored");
}

pub(super) async fn assert_holds(cache: &PostgresCache, entry: &CacheEntry) {
    assert_eq!(cache.get(entry.scope, entry.id).await.unwrap().map(|hit| hit.entry).as_ref(), Some(entry));
}

/// Waits for a condition that another process fulfils.
pub(super) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(EVENTUALLY, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
