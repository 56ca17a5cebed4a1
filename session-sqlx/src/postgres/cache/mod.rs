//! The shared cache.

mod entry;
mod row;
mod statements;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::{CacheEntry, CacheHit, Error, Result, Scope, SessionCache, SessionId, async_trait};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{Arguments, PgPool, Postgres};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::NAME;
use super::lines::Lines;
use crate::dialect::Dialect;
use crate::error::Trouble;
use crate::migrate::MigrateError;
use crate::table::TableName;
use row::Row;
use statements::{SCHEMA, Statements};

const GET: &str = "get";
const PUT: &str = "put_if_newer";
const REMOVE: &str = "remove";

/// How many expired rows one statement removes.
const SWEEP: i64 = 500;

/// How many such statements follow each other.
const SWEEPS: usize = 20;

/// How often at most expired rows are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A cache in PostgreSQL 12 or later that all nodes share.
///
/// Every entry is a row of one table, under its [`Scope`] and session id, with a time to live. The
/// table is `UNLOGGED`: nothing of it goes to the write-ahead log, and puts wait for no disk. So a
/// crash of the server, or a failover, empties it, which is a cache's right. It may stand in
/// another database than the store of record; [`migrate`](Self::migrate) needs nothing but itself.
///
/// | setting | default | range |
/// |---|---|---|
/// | [`with_table`](Self::with_table) | `session_cache` | see [`TableName`] |
/// | [`with_connections`](Self::with_connections) | 4 | 1 to 32 |
/// | [`with_max_ttl`](Self::with_max_ttl) | 1 hour | 1 ms to 1 day |
/// | [`with_timeout`](Self::with_timeout) | 40 ms | 1 ms to 1 minute |
///
/// | bound | value | reason |
/// |---|---|---|
/// | opening a connection | 5 s, in a task of its own | a call waits for it no longer than for anything else |
/// | removal of expired rows | at most 500 in a statement, 20 statements a second and process | keeps up with 10,000 new entries a second |
/// | a statement whose caller gave up | 1 s, or the timeout if that is longer | then its connection is closed |
/// | attempts of one statement | 5, within the call's time | after a restart each old connection fails once |
/// | [`migrate`](Self::migrate), [`verify`](Self::verify) | 30 s | another process may be at it |
///
/// A user that may do nothing else needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on the table.
///
/// # Connections
/// The cache opens connections of its own, with the options and hooks of the given pool: what fills the pool does not slow the cache.
/// Plan for them besides the pool's maximum. They are opened when they are first needed, by tasks that outlive the call: one that gives up
/// leaves an open connection to the next, and a late answer closes none. sqlx tries again while a server refuses connections, so without a
/// server a call takes all of its time. It needs a tokio runtime. Behind PgBouncer the [crate's remarks](crate#behind-pgbouncer) hold.
///
/// # Cancellation
/// A call that was dropped may still reach the server, and leaves the old entry, the new one or none. No transaction stays open.
///
/// # Time
/// How long an entry lives is counted by the clock of the database, so that nodes need not agree. If that clock is set back, entries
/// that would live longer than they were given are refused; if it is set forward, they are gone early. What has expired counts as absent,
/// and is removed by later puts of any node, at the latest. Without puts the table does not grow.
///
/// # What is refused
/// [`get`](SessionCache::get) answers [`Corrupt`](session_core::ErrorKind::Corrupt), and removes what is there, if
///
/// - the row cannot be read, or was written by a version with another format;
/// - it names another session or another scope than its key;
/// - it would live longer than it was given: who prolongs an entry must not prolong a session.
///
/// An answer to another question is refused too; the row is left alone then, and the connections are replaced.
///
/// # Security
/// Entries hold data and the hashes of secrets, in the clear. Who can **read** the table reads the data of sessions, but gets no token.
/// Who can **write** to it can forge sessions: an entry that confirms a token of his own as anybody's session, and tombstones that sign
/// people out. Entries are not authenticated, other than those of a Redis cache with keys. So give the table to the service's
/// own database user only, as you do with the table of sessions.
///
/// # Examples
/// ```no_run
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use session_sqlx::PostgresCache;
///
/// let cache = PostgresCache::connect("postgres://app@cache.internal/app").await?;
/// cache.migrate().await?; // or `verify`, if migrations run elsewhere
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PostgresCache {
    core: Arc<Core>,
    table: TableName,
    max_ttl: Duration,
    timeout: Duration,
    swept: Arc<Mutex<Option<Instant>>>,
}

/// What tasks in the background need.
#[derive(Debug)]
struct Core {
    lines: Lines,
    statements: Statements,
}

impl PostgresCache {
    const CONNECTIONS: usize = 4;
    const MAX_CONNECTIONS: usize = 32;
    const MAX_TTL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(86_400));
    /// Below the 50 ms that a manager gives a shared cache.
    const TIMEOUT: Duration = Duration::from_millis(40);
    /// How long a statement may take for which nobody waits any more.
    const PATIENCE: Duration = Duration::from_secs(1);
    const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));

    /// Makes a cache in the database of a pool. Opens nothing and changes nothing.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let table = Self::default_table();
        let statements = Statements::new(&table);
        Self {
            core: Arc::new(Core { lines: Lines::new(pool, Self::CONNECTIONS, Self::PATIENCE), statements }),
            table,
            max_ttl: Duration::from_secs(3_600),
            timeout: Self::TIMEOUT,
            swept: Arc::default(),
        }
    }

    /// Makes a cache in a database of its own, and opens the first connection.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) if there is no connection within 5 seconds,
    /// [`Other`](session_core::ErrorKind::Other) for a URL that is none.
    pub async fn connect(url: &str) -> Result<Self> {
        let failed = |trouble: Trouble| trouble.into_error::<Postgres>("connect");
        let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| failed(error.into()))?;
        let cache = Self::new(PgPoolOptions::new().connect_lazy_with(options));
        cache.core.lines.open().await.map_err(failed)?;
        Ok(cache)
    }

    /// Returns the name of the table unless another is set: `session_cache`.
    #[must_use]
    pub fn default_table() -> TableName {
        TableName::ours("session_cache")
    }

    /// Sets the table.
    #[must_use]
    pub fn with_table(mut self, table: TableName) -> Self {
        self.table = table;
        let lines = self.core.lines.clone();
        self.on(lines)
    }

    /// Sets how many connections are kept, and so how many calls the server works on at once.
    ///
    /// A number above 32 stands for 32.
    #[must_use]
    pub fn with_connections(self, connections: NonZeroUsize) -> Self {
        let size = connections.get().min(Self::MAX_CONNECTIONS);
        let lines = Lines::new(self.core.lines.pool().clone(), size, self.timeout.max(Self::PATIENCE));
        self.on(lines)
    }

    fn on(mut self, lines: Lines) -> Self {
        self.core = Arc::new(Core { lines, statements: Statements::new(&self.table) });
        self
    }

    /// Sets how long an entry may live. What is put for longer is cut to that.
    ///
    /// A value outside of the range stands for its nearer end.
    #[must_use]
    pub fn with_max_ttl(mut self, ttl: Duration) -> Self {
        let (shortest, longest) = Self::MAX_TTL;
        self.max_ttl = ttl.clamp(shortest, longest);
        self
    }

    /// Sets how long a call may take, the wait for a connection included. Then it is a
    /// [`Timeout`](session_core::ErrorKind::Timeout).
    ///
    /// A value outside of the range stands for its nearer end.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let (shortest, longest) = Self::TIMEOUTS;
        self.timeout = timeout.clamp(shortest, longest);
        let lines = self.core.lines.with_patience(self.timeout.max(Self::PATIENCE));
        self.on(lines)
    }

    /// Makes the table if it is not there, and checks it. Any number of processes may call it at once.
    ///
    /// Drops a table of the layout before there were scopes, with its entries, and makes it anew.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) if a table of that name exists that is not ours: nothing is changed then.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        SCHEMA.migrate(self.core.lines.pool(), &self.table).await
    }

    /// Checks that everything the cache needs is there, and says exactly what is not. Changes nothing.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) with the table, or every column and index that is not there.
    pub async fn verify(&self) -> Result<(), MigrateError> {
        SCHEMA.verify(self.core.lines.pool(), &self.table).await
    }

    /// Returns the text that makes the table, for people who apply changes with a tool of their own.
    ///
    /// # Examples
    /// ```
    /// use session_sqlx::PostgresCache;
    ///
    /// let sql = PostgresCache::migration_sql(&PostgresCache::default_table());
    /// assert!(sql.contains(r#"CREATE UNLOGGED TABLE IF NOT EXISTS "session_cache""#));
    /// ```
    #[must_use]
    pub fn migration_sql(table: &TableName) -> String {
        SCHEMA.sql(table)
    }

    async fn in_time<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, Trouble>> + Send,
    ) -> Result<T> {
        match timeout(self.timeout, call).await {
            Ok(result) => result.map_err(|trouble| trouble.into_error::<Postgres>(operation)),
            Err(_) => Err(Error::timeout(NAME, operation).with_detail("the cache did not answer in time")),
        }
    }

    /// Removes what was refused, unless it is something else by then. Nobody waits for that.
    fn discard(&self, scope: Scope, id: SessionId, row: &Row) {
        let (core, body) = (Arc::clone(&self.core), row.body.clone());
        let (expires_at, ttl) = (row.expires_at, row.ttl);
        tokio::spawn(timeout(super::OPENING, async move {
            let arguments = || {
                let mut arguments = with_key(scope, id)?;
                arguments.add(expires_at)?;
                arguments.add(ttl)?;
                arguments.add(&body)?;
                Ok(arguments)
            };
            if let Err(trouble) = core.lines.rows(&core.statements.discard, arguments).await {
                let error = trouble.into_error::<Postgres>(GET);
                tracing::debug!(backend = NAME, %error, "a refused entry was not removed");
            }
        }));
    }

    /// Removes expired rows in the background, unless that was done a moment ago.
    fn sweep(&self) {
        let mut swept = self.swept.lock();
        if swept.is_some_and(|swept| swept.elapsed() < SWEEP_EVERY) {
            return;
        }
        *swept = Some(Instant::now());
        let core = Arc::clone(&self.core);
        // Not longer than until the next one.
        tokio::spawn(timeout(SWEEP_EVERY, async move {
            for _ in 0..SWEEPS {
                match core.swept().await {
                    Ok(count) if count == SWEEP => {}
                    Ok(_) => break,
                    Err(trouble) => {
                        let error = trouble.into_error::<Postgres>("sweep");
                        tracing::debug!(backend = NAME, %error, "expired entries were not removed");
                        break;
                    }
                }
            }
        }));
    }
}

impl Core {
    /// Removes a batch of expired rows and returns how many.
    async fn swept(&self) -> Result<i64, Trouble> {
        let arguments = || {
            let mut arguments = PgArguments::default();
            arguments.add(SWEEP)?;
            Ok(arguments)
        };
        let rows = self.lines.rows(&self.statements.sweep, arguments).await?;
        Ok(rows.first().map(|row| Postgres::int(row, 0)).transpose()?.flatten().unwrap_or_default())
    }

    /// An error for an answer to another question. No connection is used again.
    fn confused(&self, operation: &'static str) -> Trouble {
        self.lines.forget();
        Error::corrupt(NAME, operation, "an answer to another question").into()
    }

    async fn find(&self, scope: Scope, id: SessionId) -> Result<Option<Row>, Trouble> {
        let rows = self.lines.rows(&self.statements.get, || with_key(scope, id)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if !has_key(row, scope, id)? {
            return Err(self.confused(GET));
        }
        Ok(Some(Row::read(row)?))
    }
}

/// The first two arguments of every statement on one entry.
fn with_key(scope: Scope, id: SessionId) -> Result<PgArguments, sqlx::error::BoxDynError> {
    let mut arguments = PgArguments::default();
    arguments.add(Uuid::from_bytes(*scope.as_bytes()))?;
    arguments.add(Uuid::from_bytes(*id.as_bytes()))?;
    Ok(arguments)
}

/// Whether a row begins with this scope and id.
fn has_key(row: &PgRow, scope: Scope, id: SessionId) -> Result<bool, sqlx::Error> {
    let key = (Postgres::uuid(row, 0)?, Postgres::uuid(row, 1)?);
    Ok(key == (Some(*scope.as_bytes()), Some(*id.as_bytes())))
}

#[async_trait]
impl SessionCache for PostgresCache {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn get(&self, scope: Scope, id: SessionId) -> Result<Option<CacheHit>> {
        let Some(row) = self.in_time(GET, self.core.find(scope, id)).await? else { return Ok(None) };
        row.hit(scope, id).map_err(|entry::Unreadable(why)| {
            self.discard(scope, id, &row);
            Error::corrupt(NAME, GET, why)
        })
    }

    async fn put_if_newer(&self, entry: CacheEntry, ttl: Duration) -> Result<bool> {
        // At most a day.
        let ttl = i64::try_from(ttl.min(self.max_ttl).as_millis()).unwrap_or(0);
        if ttl == 0 {
            return Ok(false);
        }
        let body = entry::write(&entry, PUT)?;
        let revision = i64::try_from(entry.revision.get())
            .map_err(|_| Error::invalid(PUT, "a revision is at most 2^63 - 1"))?;
        let arguments = || {
            let mut arguments = with_key(entry.scope, entry.id)?;
            arguments.add(revision)?;
            arguments.add(entry.verified_at.as_millis())?;
            arguments.add(entry.is_tombstone())?;
            arguments.add(ttl)?;
            arguments.add(&body)?;
            Ok(arguments)
        };
        let stored = async {
            let rows = self.core.lines.rows(&self.core.statements.put, arguments).await?;
            match rows.first().map(|row| has_key(row, entry.scope, entry.id)).transpose()? {
                None => Ok(false),
                Some(true) => Ok(true),
                Some(false) => Err(self.core.confused(PUT)),
            }
        };
        let stored = self.in_time(PUT, stored).await?;
        self.sweep();
        Ok(stored)
    }

    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
        let removed = self.core.lines.rows(&self.core.statements.remove, || with_key(scope, id));
        self.in_time(REMOVE, removed).await.map(drop)
    }
}
