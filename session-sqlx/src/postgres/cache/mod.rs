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

use super::lines::Lines;
use super::{NAME, check_range};
use crate::dialect::Dialect;
use crate::error::StepError;
use crate::migrate::MigrateError;
use crate::table::TableName;
use row::Row;
use statements::{SCHEMA, Statements};

const GET: &str = "get";
const PUT: &str = "put_if_newer";
const REMOVE: &str = "remove";

/// How many expired rows one statement removes.
const SWEEP: i64 = 500;

/// How many of these statements one sweep runs.
const SWEEPS: usize = 20;

/// The least time between two sweeps for expired rows.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A cache in PostgreSQL 12 or later that all nodes share.
///
/// Every entry is a row of one table, under its [`Scope`] and session id, with a time to live. The
/// table is `UNLOGGED`: its rows are not written to the write-ahead log, and puts do not wait for
/// the disk. A crash of the server, or a failover, empties the table, which a cache may lose. The
/// table may be in a different database than the store of record; [`migrate`](Self::migrate)
/// depends on nothing else in its database.
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
/// | opening a connection | 5 s, in a separate task | a call waits for it no longer than for anything else |
/// | removal of expired rows | at most 500 in a statement, 20 statements a second and process | keeps up with 10,000 new entries a second |
/// | a statement whose caller gave up | 1 s, or the timeout if that is longer | then its connection is closed |
/// | attempts of one statement | 5, within the call's time | after a restart each old connection fails once |
/// | [`migrate`](Self::migrate), [`verify`](Self::verify) | 30 s | another process may hold the lock |
///
/// A database user with the least privileges needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on the
/// table.
///
/// # Connections
/// The cache opens its own connections, with the options and hooks of the given pool, so a full
/// pool does not slow the cache. Plan for them in addition to the pool's maximum. They are opened
/// when they are first needed, by tasks that outlive the call: a call that gives up leaves an open
/// connection to the next one, and a late reply does not close the connection. sqlx retries while a
/// server refuses connections, so without a server a call takes all of its time. The cache needs a
/// tokio runtime. Behind PgBouncer the [crate's notes](crate#behind-pgbouncer) apply.
///
/// # Cancellation
/// A dropped call may still reach the server, and leaves the old entry, the new one or none. No
/// transaction stays open.
///
/// # Time
/// The clock of the database measures how long an entry lives, so the clocks of the nodes need not
/// agree. If that clock is set back, entries that would outlive their time to live are refused; if
/// it is set forward, entries expire early. An expired entry counts as absent, and later puts of
/// any node remove it at the latest. Without puts the table does not grow.
///
/// # Refused entries
/// [`get`](SessionCache::get) returns [`Corrupt`](session_core::ErrorKind::Corrupt), and removes
/// the row, if
///
/// - the row cannot be decoded, or was written by a version with another format;
/// - it names a session or a scope that differs from its key;
/// - it would outlive its time to live: a client that extends an entry must not extend a session.
///
/// A reply to another query is refused too; then the row stays, and the connections are replaced.
///
/// # Security
/// Entries contain data and the hashes of secrets, in the clear. A client that can **read** the
/// table reads the data of sessions, but gets no token. A client that can **write** to it can forge
/// sessions: an entry that accepts the client's own token as the session of any user, and
/// tombstones that sign users out. Entries are not authenticated, unlike those of a Redis cache
/// with keys. So grant access to the table only to the service's own database user, as you do for
/// the table of sessions.
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

/// The parts that background tasks share.
#[derive(Debug)]
struct Core {
    lines: Lines,
    statements: Statements,
}

impl PostgresCache {
    const CONNECTIONS: usize = 4;
    const MAX_CONNECTIONS: usize = 32;
    const MAX_TTL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(86_400));
    /// Below the 50 ms that a manager allows for a shared cache.
    const TIMEOUT: Duration = Duration::from_millis(40);
    /// The limit for a statement whose caller gave up.
    const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);
    const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));

    /// Creates a cache in the database of a pool. Opens no connection and changes nothing.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let table = Self::default_table();
        let statements = Statements::new(&table);
        Self {
            core: Arc::new(Core {
                lines: Lines::new(pool, Self::CONNECTIONS, Self::STATEMENT_TIMEOUT),
                statements,
            }),
            table,
            max_ttl: Duration::from_secs(3_600),
            timeout: Self::TIMEOUT,
            swept: Arc::default(),
        }
    }

    /// Creates a cache in a database of its own, and opens the first connection.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) if there is no connection within 5
    /// seconds, [`Other`](session_core::ErrorKind::Other) for an invalid URL.
    pub async fn connect(url: &str) -> Result<Self> {
        let failed = |error: StepError| error.into_error::<Postgres>("connect");
        let options: PgConnectOptions = url.parse().map_err(|error: sqlx::Error| failed(error.into()))?;
        let cache = Self::new(PgPoolOptions::new().connect_lazy_with(options));
        cache.core.lines.open().await.map_err(failed)?;
        Ok(cache)
    }

    /// Returns the default name of the table: `session_cache`.
    #[must_use]
    pub fn default_table() -> TableName {
        TableName::unchecked("session_cache")
    }

    /// Sets the table.
    #[must_use]
    pub fn with_table(mut self, table: TableName) -> Self {
        self.table = table;
        let lines = self.core.lines.clone();
        self.on(lines)
    }

    /// Sets the number of connections, and so how many calls the server processes at once.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for more than 32.
    pub fn with_connections(self, connections: NonZeroUsize) -> Result<Self> {
        let size = connections.get();
        if size > Self::MAX_CONNECTIONS {
            return Err(Error::invalid("configure", "a cache has 1 to 32 connections"));
        }
        let lines =
            Lines::new(self.core.lines.pool().clone(), size, self.timeout.max(Self::STATEMENT_TIMEOUT));
        Ok(self.on(lines))
    }

    fn on(mut self, lines: Lines) -> Self {
        self.core = Arc::new(Core { lines, statements: Statements::new(&self.table) });
        self
    }

    /// Sets the longest time to live of an entry. A longer one is reduced to it.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) outside of the range.
    pub fn with_max_ttl(mut self, ttl: Duration) -> Result<Self> {
        check_range(ttl, Self::MAX_TTL, "the longest time to live is 1 ms to 1 day")?;
        self.max_ttl = ttl;
        Ok(self)
    }

    /// Sets the limit for a call, including the wait for a connection. A call that exceeds it is a
    /// [`Timeout`](session_core::ErrorKind::Timeout).
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) outside of the range.
    pub fn with_timeout(mut self, timeout: Duration) -> Result<Self> {
        check_range(timeout, Self::TIMEOUTS, "the limit of a call is 1 ms to 60 s")?;
        self.timeout = timeout;
        let lines = self.core.lines.with_statement_timeout(self.timeout.max(Self::STATEMENT_TIMEOUT));
        Ok(self.on(lines))
    }

    /// Creates the table if it does not exist, and checks it. Any number of processes may call it
    /// at once.
    ///
    /// Replaces a table of the layout without scopes, and drops its entries.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) if a table of that name exists with other columns; its
    /// rows and columns are not changed.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        SCHEMA.migrate(self.core.lines.pool(), &self.table).await
    }

    /// Checks that everything the cache needs exists, and lists what is missing. Changes nothing.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) with the table, or each missing column and index.
    pub async fn verify(&self) -> Result<(), MigrateError> {
        SCHEMA.verify(self.core.lines.pool(), &self.table).await
    }

    /// Returns the SQL that creates the table, for use with another migration tool.
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

    async fn within_timeout<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StepError>> + Send,
    ) -> Result<T> {
        match timeout(self.timeout, call).await {
            Ok(result) => result.map_err(|error| error.into_error::<Postgres>(operation)),
            Err(_) => Err(Error::timeout(NAME, operation).with_detail("the cache did not answer in time")),
        }
    }

    /// Removes a refused row in the background, unless it has changed by then.
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
            if let Err(error) = core.lines.rows(&core.statements.discard, arguments).await {
                let error = error.into_error::<Postgres>(GET);
                tracing::debug!(backend = NAME, %error, "a refused entry was not removed");
            }
        }));
    }

    /// Removes expired rows in the background, unless a sweep ran a moment ago.
    fn sweep(&self) {
        let mut swept = self.swept.lock();
        if swept.is_some_and(|swept| swept.elapsed() < SWEEP_EVERY) {
            return;
        }
        *swept = Some(Instant::now());
        let core = Arc::clone(&self.core);
        // Ends before the next sweep begins.
        tokio::spawn(timeout(SWEEP_EVERY, async move {
            for _ in 0..SWEEPS {
                match core.swept().await {
                    Ok(count) if count == SWEEP => {}
                    Ok(_) => break,
                    Err(error) => {
                        let error = error.into_error::<Postgres>("sweep");
                        tracing::debug!(backend = NAME, %error, "expired entries were not removed");
                        break;
                    }
                }
            }
        }));
    }
}

impl Core {
    /// Removes a batch of expired rows and returns their number.
    async fn swept(&self) -> Result<i64, StepError> {
        let arguments = || {
            let mut arguments = PgArguments::default();
            arguments.add(SWEEP)?;
            Ok(arguments)
        };
        let rows = self.lines.rows(&self.statements.sweep, arguments).await?;
        Ok(rows.first().map(|row| Postgres::int(row, 0)).transpose()?.flatten().unwrap_or_default())
    }

    /// Returns an error for a reply to another query, and closes the idle connections.
    fn wrong_reply(&self, operation: &'static str) -> StepError {
        self.lines.drop_idle();
        Error::corrupt(NAME, operation, "a reply to another query").into()
    }

    async fn find(&self, scope: Scope, id: SessionId) -> Result<Option<Row>, StepError> {
        let rows = self.lines.rows(&self.statements.get, || with_key(scope, id)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if !has_key(row, scope, id)? {
            return Err(self.wrong_reply(GET));
        }
        Ok(Some(Row::read(row)?))
    }
}

/// Returns the first two arguments of every statement on one entry.
fn with_key(scope: Scope, id: SessionId) -> Result<PgArguments, sqlx::error::BoxDynError> {
    let mut arguments = PgArguments::default();
    arguments.add(Uuid::from_bytes(*scope.as_bytes()))?;
    arguments.add(Uuid::from_bytes(*id.as_bytes()))?;
    Ok(arguments)
}

/// Returns true if a row begins with this scope and id.
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
        let Some(row) = self.within_timeout(GET, self.core.find(scope, id)).await? else { return Ok(None) };
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
                Some(false) => Err(self.core.wrong_reply(PUT)),
            }
        };
        let stored = self.within_timeout(PUT, stored).await?;
        self.sweep();
        Ok(stored)
    }

    async fn remove(&self, scope: Scope, id: SessionId) -> Result<()> {
        let removed = self.core.lines.rows(&self.core.statements.remove, || with_key(scope, id));
        self.within_timeout(REMOVE, removed).await.map(drop)
    }
}
