//! The mapping of the driver's errors, in one function.

use mongodb::error::{
    Error as DriverError, ErrorKind as DriverKind, TRANSIENT_TRANSACTION_ERROR,
    UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};
use session_core::Error;

use crate::document::Unreadable;

/// The backend's name in logs, metrics and errors.
pub(crate) const NAME: &str = "mongodb";

/// `DuplicateKey`: the collection has a document with this key.
const DUPLICATE_KEY: i32 = 11000;

/// The reason why a step failed.
#[derive(Debug)]
pub(crate) enum Trouble {
    Driver(DriverError),
    /// An error that this crate has decided on; final.
    Known(Error),
    /// A document that is not a valid session.
    Corrupt(Unreadable),
    /// A concurrent sign-in changed the same document; worth another attempt.
    Overtaken,
}

impl From<DriverError> for Trouble {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Self {
        Self::Corrupt(unreadable)
    }
}

/// The meaning of an error of the server or the driver for the caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failure {
    Duplicate,
    Invalid(&'static str),
    Other,
    Timeout(&'static str),
    Unavailable(&'static str),
    Unsupported(&'static str),
}

impl Trouble {
    /// Returns the error for a document that was not requested.
    pub(crate) fn unrequested(operation: &'static str) -> Self {
        Self::Known(Error::corrupt(NAME, operation, "the server returned a document that was not requested"))
    }

    pub(crate) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Driver(error) if failure(error) == Failure::Duplicate)
    }

    /// Returns true if a sign-in had no effect and may succeed when it is retried.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Driver(error) => error.contains_label(TRANSIENT_TRANSACTION_ERROR),
            Self::Overtaken => true,
            Self::Known(_) | Self::Corrupt(_) => false,
        }
    }

    /// Returns true if the outcome of a commit is unknown until the commit is sent again.
    pub(crate) fn is_unknown_commit(&self) -> bool {
        matches!(self, Self::Driver(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT))
    }

    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        let error = match self {
            Self::Known(error) => return error,
            Self::Corrupt(Unreadable(why)) => return Error::corrupt(NAME, operation, why),
            Self::Overtaken => {
                return Error::unavailable(NAME, operation)
                    .with_detail("other sign-ins conflicted with every attempt");
            }
            Self::Driver(error) => error,
        };
        match failure(&error) {
            // The source is omitted, because it quotes the key.
            Failure::Duplicate => Error::already_exists(NAME, operation),
            Failure::Invalid(detail) => Error::invalid(operation, detail).with_source(error),
            Failure::Other => Error::other(NAME, operation, error),
            Failure::Timeout(detail) => {
                Error::timeout(NAME, operation).with_detail(detail).with_source(error)
            }
            Failure::Unavailable(detail) => {
                Error::unavailable(NAME, operation).with_detail(detail).with_source(error)
            }
            Failure::Unsupported(detail) => {
                Error::unsupported(NAME, operation).with_detail(detail).with_source(error)
            }
        }
    }
}

fn failure(error: &DriverError) -> Failure {
    match error.kind.as_ref() {
        DriverKind::Io(_) | DriverKind::ConnectionPoolCleared { .. } => {
            Failure::Unavailable("the connection failed")
        }
        DriverKind::InvalidResponse { .. } => Failure::Unavailable("the server sent an invalid response"),
        DriverKind::ServerSelection { .. } => Failure::Unavailable("no primary can be reached"),
        DriverKind::DnsResolve { .. } => Failure::Unavailable("the name of the server cannot be resolved"),
        DriverKind::Authentication { .. } => Failure::Unavailable("the server does not accept the user"),
        DriverKind::InvalidTlsConfig { .. } => Failure::Unavailable("the connection cannot be encrypted"),
        DriverKind::Shutdown => Failure::Unavailable("the client was shut down"),
        DriverKind::IncompatibleServer { .. } | DriverKind::SessionsNotSupported => {
            Failure::Unsupported("the server lacks a required feature")
        }
        DriverKind::Command(error) => coded(error.code),
        DriverKind::Write(WriteFailure::WriteError(error)) => coded(error.code),
        DriverKind::Write(WriteFailure::WriteConcernError(error)) => unconfirmed(error.code),
        _ => Failure::Other,
    }
}

/// Returns the error for a write that the primary has applied, but that too few members may have.
pub(crate) fn unconfirmed_write(operation: &'static str, code: i32) -> Error {
    match unconfirmed(code) {
        Failure::Timeout(detail) => Error::timeout(NAME, operation).with_detail(detail),
        _ => Error::unavailable(NAME, operation).with_detail("the write is not confirmed"),
    }
}

fn unconfirmed(code: i32) -> Failure {
    match coded(code) {
        Failure::Other => Failure::Unavailable("the write is not confirmed"),
        failure => failure,
    }
}

/// Maps those of
/// [the server's codes](https://www.mongodb.com/docs/manual/reference/error-codes/) that are more
/// specific than "failed".
fn coded(code: i32) -> Failure {
    match code {
        DUPLICATE_KEY => Failure::Duplicate,
        // NotWritablePrimary, PrimarySteppedDown, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary
        10107 | 189 | 13435 | 13436 => Failure::Unavailable("the server is not the primary any more"),
        // ShutdownInProgress, InterruptedAtShutdown, InterruptedDueToReplStateChange
        91 | 11600 | 11602 => Failure::Unavailable("the server is shutting down or changing its role"),
        // HostUnreachable, HostNotFound, SocketException, NetworkTimeout
        6 | 7 | 9001 | 89 => Failure::Unavailable("a member of the deployment cannot be reached"),
        // MaxTimeMSExpired, ExceededTimeLimit, LockTimeout
        50 | 262 | 24 => Failure::Timeout("the operation exceeded the server's time limit"),
        // WriteConcernFailed, which is also WriteConcernTimeout
        64 => Failure::Timeout("not enough members confirmed the write in time"),
        // UnsatisfiableWriteConcern
        100 => Failure::Unavailable("the deployment has too few members for the write concern"),
        // FailedToSatisfyReadPreference, ReadConcernMajorityNotAvailableYet
        133 | 134 => Failure::Unavailable("there is no majority to read from"),
        // AuthenticationFailed, Unauthorized, ReauthenticationRequired
        18 | 13 | 391 => Failure::Unavailable("the user lacks a required permission"),
        // WriteConflict, NoSuchTransaction, TransactionTooOld
        112 | 251 | 225 => Failure::Unavailable("the write conflicted with other writes"),
        // OutOfDiskSpace
        14031 => Failure::Unavailable("the server's disk is full"),
        // BSONObjectTooLarge
        10334 => Failure::Invalid("the session is larger than a document may be"),
        // CommandNotFound, CommandNotSupported, UnrecognizedPipelineStage
        59 | 115 | 40324 => Failure::Unsupported("the server lacks a required feature"),
        _ => Failure::Other,
    }
}

#[cfg(test)]
mod tests {
    use session_core::ErrorKind;

    use super::*;

    #[test]
    fn unconfirmed_write_is_a_transient_error() {
        assert_eq!(unconfirmed_write("end", 64).kind(), ErrorKind::Timeout);
        for code in [100, 91, 10107, 79, -1] {
            assert_eq!(unconfirmed_write("end", code).kind(), ErrorKind::Unavailable, "{code}");
        }
    }

    #[test]
    fn step_down_is_unavailable_and_unknown_code_is_other() {
        for code in [91, 189, 10107, 11600, 11602, 13435, 13436] {
            assert!(matches!(coded(code), Failure::Unavailable(_)), "{code}");
        }
        assert_eq!(coded(2), Failure::Other);
        assert_eq!(coded(DUPLICATE_KEY), Failure::Duplicate);
    }
}
