//! A few connections that stay open, separate from the application's pool.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use session_core::Error;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{PgConnection, PgPool, Postgres, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{NAME, OPENING};
use crate::dialect::Dialect;
use crate::error::StepError;

/// The attempts for a call that other transactions rolled back, or whose connection had died while
/// it was idle.
const ATTEMPTS: usize = 5;

/// Connections that have the settings and hooks of a pool, but do not come from it: a caller does
/// not wait for what the application does with its pool.
///
/// Separate tasks open the connections and run the statements. A cache call has a few milliseconds,
/// which may never be enough to open a connection and prepare a statement. If the call gives up,
/// its task continues and the next call uses the connection. A late reply does not close the
/// connection either.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    statement_timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    idle: Mutex<Vec<PgConnection>>,
    permits: Arc<Semaphore>,
}

impl Lines {
    /// A statement that takes longer than `statement_timeout` closes its connection.
    pub(super) fn new(pool: PgPool, size: usize, statement_timeout: Duration) -> Self {
        let (idle, permits) = (Mutex::default(), Arc::new(Semaphore::new(size)));
        Self { shared: Arc::new(Shared { pool, idle, permits }), statement_timeout }
    }

    /// Returns the same connections with another statement timeout.
    pub(super) fn with_statement_timeout(&self, statement_timeout: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), statement_timeout }
    }

    /// Returns the pool whose settings the connections have.
    pub(super) fn pool(&self) -> &PgPool {
        &self.shared.pool
    }

    /// Opens a connection, if none is idle.
    pub(super) async fn open(&self) -> Result<(), StepError> {
        self.lease().await.map(Line::give_back)
    }

    /// Waits for a permit and for a connection.
    async fn lease(&self) -> Result<Line, StepError> {
        for attempt in 0..ATTEMPTS {
            let permits = Arc::clone(&self.shared.permits);
            // The semaphore is never closed.
            let permit = permits.acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
            if let Some(connection) = self.shared.idle.lock().pop() {
                let (shared, is_old) = (Arc::clone(&self.shared), attempt == 0);
                return Ok(Line { shared, connection, is_old, _permit: permit });
            }
            let opening = tokio::spawn(Arc::clone(&self.shared).open(permit));
            opening.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
        }
        // Other calls took each new connection first.
        Err(sqlx::Error::PoolTimedOut.into())
    }

    /// Runs a prepared statement that may run twice, and returns its rows. `arguments` is called
    /// once the statement has a connection.
    ///
    /// Dropping the future gives up the result; a statement that has begun still completes.
    pub(super) async fn rows(
        &self,
        sql: &SqlStr,
        arguments: impl Fn() -> Result<PgArguments, BoxDynError> + Send + Sync,
    ) -> Result<Vec<PgRow>, StepError> {
        let mut attempt = 1;
        loop {
            let line = self.lease().await?;
            let is_old = line.is_old;
            let arguments = arguments().map_err(sqlx::Error::Encode)?;
            let running = tokio::spawn(timeout(self.statement_timeout, line.rows(sql.clone(), arguments)));
            let result = match running.await.map_err(|_| sqlx::Error::WorkerCrashed)? {
                Ok(result) => result,
                Err(_) => Err(Error::timeout(NAME, "wait").with_detail("the server does not answer").into()),
            };
            let Err(error) = result else { return result };
            let was_stale = is_old && !error.keeps_connection::<Postgres>();
            if was_stale {
                self.drop_idle();
            }
            if attempt == ATTEMPTS || !(was_stale || error.is_retryable::<Postgres>()) {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// Closes the idle connections after one of the same age failed.
    pub(super) fn drop_idle(&self) {
        let dropped = std::mem::take(&mut *self.shared.idle.lock());
        drop(dropped);
    }
}

impl Shared {
    async fn open(self: Arc<Self>, permit: OwnedSemaphorePermit) -> Result<(), StepError> {
        let connection = private(&self.pool).acquire().await?.detach();
        self.idle.lock().push(connection);
        drop(permit);
        Ok(())
    }
}

/// Returns a pool for one connection with the settings of `pool`. It is made when it is needed,
/// because the password of `pool` may change.
pub(super) fn private(pool: &PgPool) -> PgPool {
    let options = pool.options().clone().max_connections(1).min_connections(0).acquire_timeout(OPENING);
    options.idle_timeout(None).max_lifetime(None).connect_lazy_with((*pool.connect_options()).clone())
}

/// A leased connection. It is closed if it is dropped before the call completed.
#[derive(Debug)]
struct Line {
    shared: Arc<Shared>,
    connection: PgConnection,
    /// Whether it was idle before, so it may have died unnoticed.
    is_old: bool,
    _permit: OwnedSemaphorePermit,
}

impl Line {
    fn give_back(self) {
        self.shared.idle.lock().push(self.connection);
    }

    async fn rows(mut self, sql: SqlStr, arguments: PgArguments) -> Result<Vec<PgRow>, StepError> {
        let result = Postgres::rows(&mut self.connection, sql, arguments).await.map_err(StepError::from);
        if result.as_ref().err().is_none_or(StepError::keeps_connection::<Postgres>) {
            self.give_back();
        }
        result
    }
}
