//! Connections of the application's pool: borrowed for one call, or held for the calls that must not wait.

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
use crate::error::Trouble;

/// How long a connection may take for a sign of life on its way back to the pool, before it is closed.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// A connection of the pool for one call.
///
/// It goes back to the pool only if the call came to an end. If the call's future was dropped, the connection may be in the middle
/// of a transaction or of a reply, so it is closed, and the server rolls back.
#[derive(Debug)]
pub(crate) struct Borrowed<D: Dialect> {
    connection: PoolConnection<D>,
    is_clean: bool,
}

impl<D: Dialect> Borrowed<D> {
    pub(crate) async fn from(pool: &Pool<D>) -> Result<Self, Trouble> {
        Ok(Self { connection: pool.acquire().await?, is_clean: D::SYNTAX.survives_cancellation })
    }
}

impl<D: Dialect> Drop for Borrowed<D> {
    fn drop(&mut self) {
        if !self.is_clean {
            // Keeps its place in the pool until it is closed, so that dropped calls do not pile up connections.
            self.connection.close_on_drop();
        } else if let (false, Ok(runtime)) = (D::SYNTAX.survives_cancellation, Handle::try_current()) {
            // The pool first asks for a sign of life, for as long as it takes. On a network that swallows everything that is a
            // quarter of an hour, in which the place in the pool is taken (sqlx 0.9.0).
            runtime.spawn(timeout(SIGN_OF_LIFE, self.connection.return_to_pool()));
        }
    }
}

/// A few connections that were taken out of the pool and stay with the store.
///
/// sqlx's pool asks the server for a sign of life each time that a connection comes back, which costs as much as a load. These are
/// not asked: the first call that fails on an old connection drops all idle ones and is repeated on a new one, if it may be.
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

    /// How many were opened so far: more than the size if some had to be replaced.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Waits for a connection; opens one if none is idle.
    pub(crate) async fn lease(&self) -> Result<Lease<'_, D>, Trouble> {
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

    /// A connection that just showed a sign of life.
    pub(crate) async fn tested(&self) -> Result<Lease<'_, D>, Trouble> {
        let mut lease = self.lease().await?;
        if lease.is_old && lease.ping().await.is_err() {
            lease.is_clean = false;
            drop(lease);
            self.forget();
            lease = self.lease().await?;
        }
        Ok(lease)
    }

    /// Opens all that are missing.
    pub(crate) async fn fill(&self, size: usize) -> Result<(), Trouble> {
        let mut leases = Vec::with_capacity(size);
        for _ in 0..size {
            leases.push(self.lease().await?);
        }
        leases.into_iter().for_each(Lease::give_back);
        Ok(())
    }

    /// Drops the idle ones: they are as old as one that failed.
    pub(crate) fn forget(&self) {
        let dropped = std::mem::take(&mut *self.idle.lock());
        drop(dropped);
    }

    async fn open(&self) -> Result<D::Connection, Trouble> {
        // Through the pool, so that what the application does to each new connection happens to this one.
        let connection = self.pool.acquire().await?.detach();
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }
}

/// A held connection for one call. Dropped before the call came to an end, it is closed.
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

/// A connection on loan.
pub(crate) trait Loan<D: Dialect>: DerefMut<Target = D::Connection> + Send {
    /// Ends the loan with the call's result: after an error that does not spare it, the connection is closed.
    fn settle<T>(self, result: Result<T, Trouble>) -> Result<T, Trouble>
    where
        Self: Sized;
}

fn is_clean<D: Dialect, T>(result: &Result<T, Trouble>) -> bool {
    result.as_ref().err().is_none_or(Trouble::spares_connection::<D>)
}

impl<D: Dialect> Loan<D> for Borrowed<D> {
    fn settle<T>(mut self, result: Result<T, Trouble>) -> Result<T, Trouble> {
        self.is_clean = is_clean::<D, T>(&result);
        result
    }
}

impl<D: Dialect> Loan<D> for Lease<'_, D> {
    fn settle<T>(mut self, result: Result<T, Trouble>) -> Result<T, Trouble> {
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
