//! What the driver's errors mean. One function for all databases; the codes of each stand in its dialect.

use session_core::{Error, ErrorKind};

use crate::dialect::Dialect;

/// What an error of a database means for a caller.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A change of the schema that was made before.
    AlreadyDone,
    /// Stored bytes that cannot be read, or a damaged file.
    Corrupt(&'static str),
    /// The key is stored already.
    Duplicate,
    Other,
    /// What the connection prepared does not fit any more. Nothing happened, and on another connection it may.
    Outdated,
    /// The transaction was rolled back because of another one. The same again may succeed.
    RolledBack,
    /// A statement ran into the server's own limit of time.
    Timeout(&'static str),
    /// The database cannot be asked now. The connection is not used again.
    Unavailable(&'static str),
}

/// Why a step did not succeed.
#[derive(Debug)]
pub(crate) enum Trouble {
    Driver(sqlx::Error),
    /// Decided by us, and final.
    Known(Error),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl Trouble {
    /// Whether nothing happened for a reason that may be gone when it is tried again.
    pub(crate) fn is_worth_repeating<D: Dialect>(&self) -> bool {
        let Self::Driver(error) = self else { return false };
        matches!(failure::<D>(error), Failure::RolledBack | Failure::Outdated)
    }

    /// Whether the connection can be used on after it.
    pub(crate) fn spares_connection<D: Dialect>(&self) -> bool {
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
                .with_detail("the table changed since the connections prepared their statements")
                .with_source(error),
            Failure::RolledBack => Error::unavailable(name, operation)
                .with_detail("rolled back because of other transactions, also when repeated")
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
            Failure::Unavailable("the server answers strangely")
        }
        sqlx::Error::WorkerCrashed => Failure::Unavailable("the driver's worker ended"),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. } => Failure::Corrupt("a column holds another type"),
        _ => Failure::Other,
    }
}
