//! The store: the statements of each operation, their connections, and the conversion of the
//! results.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use session_core::prelude::*;
use sqlx::{Pool, SqlStr};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::arguments::Arguments;
use crate::builder::SqlStoreBuilder;
use crate::columns;
use crate::connections::{Borrowed, Held, Loan};
use crate::dialect::Dialect;
use crate::error::StepError;
use crate::statements::Statements;

/// The attempts for a transaction that other transactions roll back, and for a statement that an
/// outdated connection cannot run.
const ATTEMPTS: usize = 5;

/// How much the pause grows with each attempt.
const PAUSE: Duration = Duration::from_millis(2);

/// Sessions in an SQL database, on the application's own pool. See the
/// [crate's documentation](crate) for how to use it, and [`PostgresStore`](crate::PostgresStore),
/// [`MysqlStore`](crate::MysqlStore) and [`SqliteStore`](crate::SqliteStore) for the properties of
/// each database.
#[derive(Debug)]
pub struct SqlStore<D: Dialect> {
    pub(crate) pool: Pool<D>,
    pub(crate) replica: Option<Pool<D>>,
    pub(crate) loads: Held<D>,
    pub(crate) ends: Held<D>,
    pub(crate) statements: Statements,
    pub(crate) capabilities: Capabilities,
    /// The single-writer permit of a database where one connection at a time can write. Writers
    /// queue here instead of polling the database.
    pub(crate) writers: Option<Semaphore>,
}

/// A future whose type hides its borrows. The compiler cannot prove that the futures of the inner
/// functions are `Send` where an application spawns them (rust-lang/rust#110338); for boxed futures
/// it can.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The number of connections that a store has taken out of the pool so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldConnections {
    /// For loads. More than the setting means that some connections failed and were replaced.
    pub opened_for_loads: u64,
    /// For ends: sign-outs and revocations.
    pub opened_for_ends: u64,
}

impl<D: Dialect> SqlStore<D> {
    /// Creates a store on a pool, with the default settings. Opens no connection and changes
    /// nothing: see [`migrate`](Self::migrate) and [`verify`](Self::verify).
    #[must_use]
    pub fn new(pool: Pool<D>) -> Self {
        SqlStoreBuilder::new(pool).make()
    }

    /// Returns a builder for a store on a pool.
    #[must_use]
    pub fn builder(pool: Pool<D>) -> SqlStoreBuilder<D> {
        SqlStoreBuilder::new(pool)
    }

    /// Opens the connections that the store holds, so that validation and revocation work even
    /// while the pool is exhausted. Otherwise the first calls that need them open them.
    ///
    /// # Errors
    /// [`Unavailable`](session_core::ErrorKind::Unavailable) if the pool cannot connect.
    pub async fn connect(&self) -> Result<()> {
        let opened: Boxed<'_, _> = Box::pin(async {
            self.loads.fill(self.capabilities.concurrent_loads.get()).await?;
            self.ends.fill(1).await
        });
        opened.await.map_err(|error: StepError| error.into_error::<D>("connect"))
    }

    /// Returns how many held connections were opened so far.
    #[must_use]
    pub fn held_connections(&self) -> HeldConnections {
        HeldConnections { opened_for_loads: self.loads.opened(), opened_for_ends: self.ends.opened() }
    }

    /// Repeats a step that changed nothing, because other transactions rolled it back or its
    /// connection was outdated.
    pub(crate) async fn repeated<T, F>(
        &self,
        operation: &'static str,
        step: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, StepError>> + Send,
    {
        let mut attempt = 1;
        loop {
            match step().await {
                Err(error) if attempt < ATTEMPTS && error.is_retryable::<D>() => {
                    pause(attempt).await;
                    attempt += 1;
                }
                result => return result.map_err(|error| error.into_error::<D>(operation)),
            }
        }
    }

    /// Acquires the single-writer permit, if the database needs one. Acquire the connection first:
    /// a task that holds the permit while it waits for the pool would block writers that already
    /// have a connection, and an end, which does not use the pool.
    pub(crate) async fn writer_permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.writers.as_ref()?.acquire().await.ok()
    }

    /// Runs a statement that writes, and returns the number of rows that it changed.
    async fn write(&self, sql: &SqlStr, arguments: Arguments<D>) -> Result<u64, StepError> {
        let mut connection = Borrowed::from(&self.pool).await?;
        let _permit = self.writer_permit().await;
        let changed = D::execute(&mut connection, sql.clone(), arguments.finish()?).await;
        connection.settle(changed.map_err(StepError::from))
    }

    /// Runs a statement that reads, on the replica if one is set.
    async fn read(&self, sql: &SqlStr, arguments: Arguments<D>) -> Result<Vec<D::Row>, StepError> {
        let mut connection = Borrowed::from(self.replica.as_ref().unwrap_or(&self.pool)).await?;
        let rows = D::rows(&mut connection, sql.clone(), arguments.finish()?).await;
        connection.settle(rows.map_err(StepError::from))
    }

    async fn insert(&self, record: &SessionRecord) -> Result<Vec<Arc<SessionRecord>>, StepError> {
        self.write(&self.statements.insert, Arguments::record(record)).await?;
        Ok(Vec::new())
    }

    async fn insert_limited(
        &self,
        record: &SessionRecord,
        user: &UserId,
        limit: &SessionLimit,
    ) -> Result<Vec<Arc<SessionRecord>>, StepError> {
        let mut connection = Borrowed::from(&self.pool).await?;
        let _permit = self.writer_permit().await;
        let evicted = self.insert_limited_on(&mut connection, record, user, limit).await;
        connection.settle(evicted)
    }

    async fn load_rows(&self, sql: &SqlStr, ids: &[SessionId]) -> Result<Vec<D::Row>, StepError> {
        let mut lease = self.loads.lease().await?;
        if lease.is_old {
            let rows = rows_of::<D>(&mut lease, sql, ids).await;
            match lease.settle(rows) {
                Err(error) if !error.keeps_connection::<D>() => self.loads.drop_idle(),
                result => return result,
            }
            lease = self.loads.lease().await?;
        }
        let rows = rows_of::<D>(&mut lease, sql, ids).await;
        lease.settle(rows)
    }

    async fn load_records(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>, StepError> {
        let rows = match ids {
            [_] => self.load_rows(&self.statements.load_one, ids).await?,
            _ => self.load_rows(self.statements.load_many.get(ids.len()), ids).await?,
        };
        let mut asked = ids.to_vec();
        asked.sort_unstable();
        let read = |row| {
            let record = columns::read::<D>(row)?;
            if asked.binary_search(&record.id).is_ok() {
                return Ok(Arc::new(record));
            }
            let error = Error::corrupt(D::SYNTAX.name, "load", "a row that was not requested");
            Err(StepError::Known(error))
        };
        let records: Result<Vec<_>, StepError> = rows.iter().map(read).collect();
        if matches!(records, Err(StepError::Known(_))) {
            // A connection returned the reply of another call, so the others may do so too.
            self.loads.drop_idle();
        }
        records
    }

    /// Replaces a record. Returns `None` if no row has this id, is active and has the expected
    /// revision.
    async fn replace(
        &self,
        record: &SessionRecord,
        expected: Revision,
    ) -> Result<Option<Revision>, StepError> {
        let next = expected.next();
        let changed = self.write(&self.statements.update, Arguments::update(record, expected)).await?;
        Ok((changed > 0).then_some(next))
    }

    /// Returns the reason why a record was not replaced.
    async fn refusal(&self, id: SessionId) -> Result<Error, StepError> {
        let rows = self.load_rows(&self.statements.current, &[id]).await?;
        let Some(row) = rows.first() else {
            return Ok(Error::not_found(D::SYNTAX.name, "update"));
        };
        if let SessionState::Ended(ended) = columns::read_state::<D>(row, 1)? {
            return Ok(Error::ended(D::SYNTAX.name, "update", ended));
        }
        let revision = D::int(row, 0)?.and_then(|revision| u64::try_from(revision).ok());
        match revision.map(Revision::new) {
            Some(Ok(revision)) => Ok(Error::conflict(D::SYNTAX.name, "update", revision)),
            _ => Ok(Error::corrupt(D::SYNTAX.name, "update", "a revision below 1")),
        }
    }

    async fn page(&self, query: &ListQuery) -> Result<Page, StepError> {
        let Some(sql) = self.statements.list(query) else {
            return Err(Error::unsupported(D::SYNTAX.name, "list").into());
        };
        let rows = self.read(&sql, Arguments::list(query)).await?;
        let found: Result<Vec<_>, _> = rows.iter().map(|row| columns::read::<D>(row).map(Arc::new)).collect();
        Ok(Page::cut(found?, query.limit))
    }

    async fn count(&self, now: Timestamp) -> Result<StoreStats, StepError> {
        let rows = self.read(&self.statements.stats, Arguments::new().time(now).time(now)).await?;
        let mut stats = StoreStats::default();
        for row in &rows {
            let number = |column| {
                Ok::<_, sqlx::Error>(
                    D::int(row, column)?.and_then(|count| u64::try_from(count).ok()).unwrap_or(0),
                )
            };
            let time = |column| Ok::<_, sqlx::Error>(D::int(row, column)?.map(Timestamp::from_millis));
            match D::text(row, 0)? {
                Some(reason) => {
                    let reason = reason.parse().map_err(|error: Error| sqlx::Error::Decode(error.into()))?;
                    stats.ended.insert(reason, number(1)?);
                }
                None => {
                    stats.live = number(2)?;
                    stats.expired = number(1)? - stats.live;
                    stats.users = number(3)?;
                }
            }
            stats.oldest = [stats.oldest, time(4)?].into_iter().flatten().min();
            stats.newest = [stats.newest, time(5)?].into_iter().flatten().max();
        }
        Ok(stats)
    }
}

/// Returns the rows of sessions. A single row is fetched as such, because the driver's stream of
/// rows costs more.
async fn rows_of<D: Dialect>(
    connection: &mut D::Connection,
    sql: &SqlStr,
    ids: &[SessionId],
) -> Result<Vec<D::Row>, StepError> {
    let arguments = Arguments::<D>::ids_or_one(ids).finish()?;
    match ids {
        [_] => Ok(D::first_row(connection, sql.clone(), arguments).await?.into_iter().collect()),
        _ => Ok(D::rows(connection, sql.clone(), arguments).await?),
    }
}

/// Backs off for 2, 4, 6, 8 ms. An immediate retry would take the locks before the other
/// transaction of a deadlock, and deadlock again.
async fn pause(attempt: usize) {
    if Handle::try_current().is_ok() {
        tokio::time::sleep(PAUSE * u32::try_from(attempt).unwrap_or(1)).await;
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<D: Dialect> SessionStore for SqlStore<D> {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn create(
        &self,
        record: Arc<SessionRecord>,
        limit: Option<&SessionLimit>,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        self.capabilities.check_new(&record, limit)?;
        match (limit, &record.user_id) {
            (Some(limit), Some(user)) => {
                self.repeated("create", || self.insert_limited(&record, user, limit)).await
            }
            _ => self.repeated("create", || self.insert(&record)).await,
        }
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("load", ids.len())?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.repeated("load", || self.load_records(ids)).await
    }

    async fn update(&self, record: Arc<SessionRecord>, expected: Revision) -> Result<Revision> {
        self.capabilities.check_active(&record)?;
        match self.repeated("update", || self.replace(&record, expected)).await? {
            Some(revision) => Ok(revision),
            None => Err(self.repeated("update", || self.refusal(record.id)).await?),
        }
    }

    async fn touch(&self, batch: &[Touch], now: Timestamp) -> Result<u64> {
        check_touches(batch)?;
        let batch = Touch::latest_of_each(batch);
        if batch.is_empty() {
            return Ok(0);
        }
        self.repeated("touch", || self.write(&self.statements.touch, Arguments::touches(&batch, now))).await
    }

    async fn end(
        &self,
        scope: &EndScope,
        ended: &Ended,
        created_until: Timestamp,
    ) -> Result<Vec<Arc<SessionRecord>>> {
        if let EndScope::Ids(ids) = scope {
            check_batch("end", ids.len())?;
            if ids.is_empty() {
                return Ok(Vec::new());
            }
        }
        self.end_all(scope, ended, created_until).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page> {
        query.check()?;
        self.repeated("list", || self.page(query)).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Arc<SessionRecord>>> {
        check_batch("expire", limit)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.end_expired(now, limit).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        check_batch("purge", limit)?;
        if limit == 0 {
            return Ok(0);
        }
        self.repeated("purge", || {
            self.write(&self.statements.purge, Arguments::new().time(before).count(limit))
        })
        .await
    }

    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        check_batch("erase", limit)?;
        if limit == 0 {
            return Ok(0);
        }
        self.repeated("erase", || {
            self.write(&self.statements.erase, Arguments::new().user(user).count(limit))
        })
        .await
    }

    async fn stats(&self, now: Timestamp) -> Result<StoreStats> {
        self.repeated("stats", || self.count(now)).await
    }
}
