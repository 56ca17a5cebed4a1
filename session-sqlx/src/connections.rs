//! Connections from the application's pool: borrowed for one call, or held for calls that must not
//! wait for the pool.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Pool};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::dialect::Dialect;
use crate::error::StepError;

/// The limit for the ping of a connection that returns to the pool. After it, the connection is
/// closed.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection of the pool, borrowed for one call.
///
/// It returns to the pool only if the call completed. If the call's future is dropped, the
/// connection may be inside a transaction or have an unread reply, so it is closed and the server
/// rolls back.
#[derive(Debug)]
pub(crate) struct Borrowed<D: Dialect> {
    connection: PoolConnection<D>,
    is_clean: bool,
}

impl<D: Dialect> Borrowed<D> {
    pub(crate) async fn from(pool: &Pool<D>) -> Result<Self, StepError> {
        Ok(Self { connection: pool.acquire().await?, is_clean: D::SYNTAX.survives_cancellation })
    }
}

impl<D: Dialect> Drop for Borrowed<D> {
    fn drop(&mut self) {
        if !self.is_clean {
            // The connection keeps its slot in the pool until it is closed, so that dropped calls
            // do not accumulate connections.
            self.connection.close_on_drop();
        } else if let (false, Ok(runtime)) = (D::SYNTAX.survives_cancellation, Handle::try_current()) {
            // The pool pings the connection first, without a limit. On a network that drops all
            // packets that takes a quarter of an hour, during which the slot in the pool is
            // occupied (sqlx 0.9.0).
            runtime.spawn(timeout(PING_TIMEOUT, self.connection.return_to_pool()));
        }
    }
}

/// A few connections that were taken out of the pool and stay with the store.
///
/// sqlx's pool pings the server each time a connection is returned, which costs as much as a load.
/// Held connections are not pinged: the first call that fails on an old connection drops all idle
/// ones and is repeated on a new one, if it may be repeated.
#[derive(Debug)]
pub(crate) struct Held<D: Dialect> {
    pool: Pool<D>,
    idle: Mutex<Vec<D::Connection>>,
    permits: Semaphore,
    opened: AtomicU64,
}

impl<D: Dialect> Held<D> {
    pub(crate) fn new(pool: Pool<D>, size: usize) -> Self {
        Self { pool, idle: Mutex::default(), permits: Semaphore::new(size), opened: AtomicU64::new(0) }
    }

    /// Returns the number of connections opened so far: more than the size if some were replaced.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Waits for a permit, and opens a connection if none is idle.
    pub(crate) async fn lease(&self) -> Result<Lease<'_, D>, StepError> {
        // The semaphore is never closed.
        let permit = self.permits.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let idle = self.idle.lock().pop();
        let is_old = idle.is_some();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(Lease {
            held: self,
            connection: Some(connection),
            is_clean: D::SYNTAX.survives_cancellation,
            is_old,
            _permit: permit,
        })
    }

    /// Leases a connection that has just answered a ping.
    pub(crate) async fn lease_pinged(&self) -> Result<Lease<'_, D>, StepError> {
        let mut lease = self.lease().await?;
        if lease.is_old && lease.ping().await.is_err() {
            lease.is_clean = false;
            drop(lease);
            self.drop_idle();
            lease = self.lease().await?;
        }
        Ok(lease)
    }

    /// Opens all missing connections.
    pub(crate) async fn fill(&self, size: usize) -> Result<(), StepError> {
        let mut leases = Vec::with_capacity(size);
        for _ in 0..size {
            leases.push(self.lease().await?);
        }
        leases.into_iter().for_each(Lease::give_back);
        Ok(())
    }

    /// Drops the idle connections after one of the same age failed.
    pub(crate) fn drop_idle(&self) {
        let dropped = std::mem::take(&mut *self.idle.lock());
        drop(dropped);
    }

    async fn open(&self) -> Result<D::Connection, StepError> {
        // Through the pool, so that the application's hooks for new connections run on this one
        // too.
        let connection = self.pool.acquire().await?.detach();
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }
}

/// A held connection, leased for one call. It is closed if it is dropped before the call completed.
#[derive(Debug)]
pub(crate) struct Lease<'a, D: Dialect> {
    held: &'a Held<D>,
    connection: Option<D::Connection>,
    is_clean: bool,
    pub(crate) is_old: bool,
    _permit: SemaphorePermit<'a>,
}

impl<D: Dialect> Lease<'_, D> {
    fn give_back(mut self) {
        self.is_clean = true;
    }
}

impl<D: Dialect> Drop for Lease<'_, D> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.is_clean) {
            self.held.idle.lock().push(connection);
        }
    }
}

/// A connection on loan to a call.
pub(crate) trait Loan<D: Dialect>: DerefMut<Target = D::Connection> + Send {
    /// Ends the loan with the call's result. Closes the connection unless it
    /// [is reusable](StepError::keeps_connection) after the error.
    fn settle<T>(self, result: Result<T, StepError>) -> Result<T, StepError>
    where
        Self: Sized;
}

fn is_clean<D: Dialect, T>(result: &Result<T, StepError>) -> bool {
    result.as_ref().err().is_none_or(StepError::keeps_connection::<D>)
}

impl<D: Dialect> Loan<D> for Borrowed<D> {
    fn settle<T>(mut self, result: Result<T, StepError>) -> Result<T, StepError> {
        self.is_clean = is_clean::<D, T>(&result);
        result
    }
}

impl<D: Dialect> Loan<D> for Lease<'_, D> {
    fn settle<T>(mut self, result: Result<T, StepError>) -> Result<T, StepError> {
        self.is_clean = is_clean::<D, T>(&result);
        result
    }
}

impl<D: Dialect> Deref for Borrowed<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        &self.connection
    }
}

impl<D: Dialect> DerefMut for Borrowed<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        &mut self.connection
    }
}

#[expect(clippy::expect_used, reason = "the connection is taken in `drop` only")]
impl<D: Dialect> Deref for Lease<'_, D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.connection.as_ref().expect("not dropped yet")
    }
}

#[expect(clippy::expect_used, reason = "the connection is taken in `drop` only")]
impl<D: Dialect> DerefMut for Lease<'_, D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.connection.as_mut().expect("not dropped yet")
    }
}
