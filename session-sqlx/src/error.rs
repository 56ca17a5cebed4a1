//! The classification of driver errors. One function serves all databases; each dialect has its own
//! codes.

use session_core::{Error, ErrorKind};

use crate::dialect::Dialect;

/// The meaning of a database error for a caller.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A schema change that was already made.
    AlreadyDone,
    /// Stored bytes that cannot be decoded, or a corrupt file.
    Corrupt(&'static str),
    /// The key already exists.
    Duplicate,
    Other,
    /// The connection's prepared statements no longer match the schema. Nothing was changed, and
    /// another connection may succeed.
    Outdated,
    /// The transaction was rolled back because of another one. A retry may succeed.
    RolledBack,
    /// A statement reached the server's own time limit.
    Timeout(&'static str),
    /// The database cannot serve the call now. The connection is not used again.
    Unavailable(&'static str),
}

/// The error of a step.
#[derive(Debug)]
pub(crate) enum StepError {
    Driver(sqlx::Error),
    /// Decided by this crate, and final.
    Known(Error),
}

impl From<sqlx::Error> for StepError {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl StepError {
    /// Returns true if nothing was changed and a retry may succeed.
    pub(crate) fn is_retryable<D: Dialect>(&self) -> bool {
        let Self::Driver(error) = self else { return false };
        matches!(failure::<D>(error), Failure::RolledBack | Failure::Outdated)
    }

    /// Returns true if the connection is still usable after this error.
    pub(crate) fn keeps_connection<D: Dialect>(&self) -> bool {
        match self {
            Self::Driver(error @ sqlx::Error::Database(_)) => !matches!(
                failure::<D>(error),
                Failure::Outdated | Failure::Timeout(_) | Failure::Unavailable(_)
            ),
            Self::Driver(_) => false,
            Self::Known(error) => error.kind() != ErrorKind::Corrupt,
        }
    }

    pub(crate) fn into_error<D: Dialect>(self, operation: &'static str) -> Error {
        let error = match self {
            Self::Driver(error) => error,
            Self::Known(error) => return error,
        };
        let name = D::SYNTAX.name;
        match failure::<D>(&error) {
            Failure::Corrupt(detail) => Error::corrupt(name, operation, detail).with_source(error),
            Failure::Duplicate => Error::already_exists(name, operation),
            Failure::AlreadyDone | Failure::Other => Error::other(name, operation, error),
            Failure::Outdated => Error::unavailable(name, operation)
                .with_detail("the table changed after the connections prepared their statements")
                .with_source(error),
            Failure::RolledBack => Error::unavailable(name, operation)
                .with_detail("rolled back because of other transactions, on each attempt")
                .with_source(error),
            Failure::Timeout(detail) => {
                Error::timeout(name, operation).with_detail(detail).with_source(error)
            }
            Failure::Unavailable(detail) => {
                Error::unavailable(name, operation).with_detail(detail).with_source(error)
            }
        }
    }
}

pub(crate) fn failure<D: Dialect>(error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(error) => D::failure(error.as_ref()),
        sqlx::Error::PoolTimedOut => Failure::Unavailable("the pool has no connection to give"),
        sqlx::Error::PoolClosed => Failure::Unavailable("the pool is closed"),
        sqlx::Error::Io(_) => Failure::Unavailable("the connection failed"),
        sqlx::Error::Tls(_) => Failure::Unavailable("the connection cannot be encrypted"),
        sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => {
            Failure::Unavailable("the server sent an unexpected reply")
        }
        sqlx::Error::WorkerCrashed => Failure::Unavailable("the driver's worker has ended"),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => {
            Failure::Corrupt("a column has an unexpected type or value")
        }
        _ => Failure::Other,
    }
}
