//! A few connections that are kept open, apart from the application's pool.

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
use crate::error::Trouble;

/// How often a call is made that others rolled back, or that met connections which had died in the meantime.
const ATTEMPTS: usize = 5;

/// Connections to the database of a pool, with its settings and hooks, but not out of it: what the application does with its pool
/// keeps nobody waiting here.
///
/// They are opened by tasks of their own, and so is what runs on them. The caller of a cache has a few milliseconds, which may never be
/// enough to open a connection and to prepare a statement; what he began is there for the next. And a reply that comes too late for
/// him costs no connection.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    idle: Mutex<Vec<PgConnection>>,
    permits: Arc<Semaphore>,
}

impl Lines {
    /// A statement that takes longer than `patience` closes its connection.
    pub(super) fn new(pool: PgPool, size: usize, patience: Duration) -> Self {
        let (idle, permits) = (Mutex::default(), Arc::new(Semaphore::new(size)));
        Self { shared: Arc::new(Shared { pool, idle, permits }), patience }
    }

    /// The same connections with another limit.
    pub(super) fn with_patience(&self, patience: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), patience }
    }

    /// Whose settings are used.
    pub(super) fn pool(&self) -> &PgPool {
        &self.shared.pool
    }

    /// Opens one, if none is open.
    pub(super) async fn open(&self) -> Result<(), Trouble> {
        self.lease().await.map(Line::give_back)
    }

    /// Waits for its turn and for a connection.
    async fn lease(&self) -> Result<Line, Trouble> {
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
        // Others were quicker each time.
        Err(sqlx::Error::PoolTimedOut.into())
    }

    /// Runs a prepared statement that may run twice, and returns its rows. The arguments are asked for when it is its turn.
    ///
    /// Whoever drops this gives up the answer, not what was begun.
    pub(super) async fn rows(
        &self,
        sql: &SqlStr,
        arguments: impl Fn() -> Result<PgArguments, BoxDynError> + Send + Sync,
    ) -> Result<Vec<PgRow>, Trouble> {
        let mut attempt = 1;
        loop {
            let line = self.lease().await?;
            let is_old = line.is_old;
            let arguments = arguments().map_err(sqlx::Error::Encode)?;
            let running = tokio::spawn(timeout(self.patience, line.rows(sql.clone(), arguments)));
            let result = match running.await.map_err(|_| sqlx::Error::WorkerCrashed)? {
                Ok(result) => result,
                Err(_) => Err(Error::timeout(NAME, "wait").with_detail("the server does not answer").into()),
            };
            let Err(trouble) = result else { return result };
            let is_outlived = is_old && !trouble.spares_connection::<Postgres>();
            if is_outlived {
                self.forget();
            }
            if attempt == ATTEMPTS || !(is_outlived || trouble.is_worth_repeating::<Postgres>()) {
                return Err(trouble);
            }
            attempt += 1;
        }
    }

    /// Closes what is idle: it is as old as one that failed.
    pub(super) fn forget(&self) {
        let dropped = std::mem::take(&mut *self.shared.idle.lock());
        drop(dropped);
    }
}

impl Shared {
    async fn open(self: Arc<Self>, permit: OwnedSemaphorePermit) -> Result<(), Trouble> {
        let connection = private(&self.pool).acquire().await?.detach();
        self.idle.lock().push(connection);
        drop(permit);
        Ok(())
    }
}

/// One connection like those of a pool. It is made when it is needed, because the pool's password may change.
pub(super) fn private(pool: &PgPool) -> PgPool {
    let options = pool.options().clone().max_connections(1).min_connections(0).acquire_timeout(OPENING);
    options.idle_timeout(None).max_lifetime(None).connect_lazy_with((*pool.connect_options()).clone())
}

/// A connection on loan. Dropped before the call came to its end, it is closed.
#[derive(Debug)]
struct Line {
    shared: Arc<Shared>,
    connection: PgConnection,
    /// It may have died while nobody looked.
    is_old: bool,
    _permit: OwnedSemaphorePermit,
}

impl Line {
    fn give_back(self) {
        self.shared.idle.lock().push(self.connection);
    }

    async fn rows(mut self, sql: SqlStr, arguments: PgArguments) -> Result<Vec<PgRow>, Trouble> {
        let result = Postgres::rows(&mut self.connection, sql, arguments).await.map_err(Trouble::from);
        if result.as_ref().err().is_none_or(Trouble::spares_connection::<Postgres>) {
            self.give_back();
        }
        result
    }
}
