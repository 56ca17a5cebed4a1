//! Maps the driver's errors to [`Error`], in one function.

use redis::{ErrorKind as DriverKind, RedisError, ServerErrorKind};
use session_core::Error;

/// The name in logs, metrics and errors.
pub(crate) const NAME: &str = "redis";

/// Why a command or a script failed.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    Driver(RedisError),
    /// An error that this crate decided on. It is returned as it is.
    Known(Error),
    /// No reply within the time of the call.
    Late,
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

impl From<tokio::time::error::Elapsed> for Trouble {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Late
    }
}

/// The meaning of a server or driver error for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Corrupt(&'static str),
    Other,
    Timeout(&'static str),
    Unavailable(&'static str),
}

impl Trouble {
    /// Reports a reply that this crate's scripts never give, or that belongs to another command.
    pub(crate) fn mismatched(operation: &'static str) -> Self {
        Self::Known(Error::corrupt(NAME, operation, "a reply to another command"))
    }

    /// Returns true if the connection must not be used again: it failed, its replies do not match
    /// the commands, or its server is no longer the primary.
    pub(crate) fn condemns_link(&self) -> bool {
        match self {
            Self::Driver(error) => {
                error.is_unrecoverable_error()
                    || matches!(
                        server_kind(error),
                        Some(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
                    )
            }
            Self::Known(_) | Self::Late => false,
        }
    }

    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        let error = match self {
            Self::Known(error) => return error,
            Self::Late => return Error::timeout(NAME, operation).with_detail("no reply in time"),
            Self::Driver(error) => error,
        };
        match failure(&error) {
            Failure::Corrupt(detail) => Error::corrupt(NAME, operation, detail).with_source(error),
            Failure::Other => Error::other(NAME, operation, error),
            Failure::Timeout(detail) => {
                Error::timeout(NAME, operation).with_detail(detail).with_source(error)
            }
            Failure::Unavailable(detail) => {
                Error::unavailable(NAME, operation).with_detail(detail).with_source(error)
            }
        }
    }
}

pub(crate) fn server_kind(error: &RedisError) -> Option<ServerErrorKind> {
    match error.kind() {
        DriverKind::Server(kind) => Some(kind),
        _ => None,
    }
}

/// Codes with which servers report errors. Before Redis 7, an error inside a script carries the
/// code within a longer text.
const CODES: &[(&str, Failure)] = &[
    ("WRONGTYPE", Failure::Corrupt("another type is stored under the key")),
    ("OOM", Failure::Unavailable("the server's memory is full")),
    ("READONLY", Failure::Unavailable("the server is a replica")),
    ("MISCONF", Failure::Unavailable("the server cannot save its data and refuses writes")),
    ("NOREPLICAS", Failure::Unavailable("too few replicas")),
    ("MASTERDOWN", Failure::Unavailable("the replica has lost its primary")),
    ("CLUSTERDOWN", Failure::Unavailable("the cluster is down")),
    ("LOADING", Failure::Unavailable("the server is loading its data")),
    ("BUSY", Failure::Unavailable("the server is busy with another script")),
    ("non local key", Failure::Unavailable("the cluster is moving the slot")),
    ("NOAUTH", Failure::Unavailable("the server asks for a password")),
    ("WRONGPASS", Failure::Unavailable("the password is wrong")),
    ("NOPERM", Failure::Unavailable("the user may not run a command that is needed")),
    ("max number of clients", Failure::Unavailable("the server has too many clients")),
];

fn failure(error: &RedisError) -> Failure {
    match error.kind() {
        _ if error.is_timeout() => Failure::Timeout("no reply in time"),
        DriverKind::Io => Failure::Unavailable("the connection failed"),
        // Errors of the TLS library have this kind.
        DriverKind::Client => Failure::Unavailable("the connection cannot be made"),
        DriverKind::AuthenticationFailed => Failure::Unavailable("the password is wrong"),
        DriverKind::Parse | DriverKind::UnexpectedReturnType => {
            Failure::Unavailable("the server sent an unexpected reply")
        }
        DriverKind::ClusterConnectionNotFound => Failure::Unavailable("no connection to the node"),
        DriverKind::MasterNameNotFoundBySentinel | DriverKind::NoValidReplicasFoundBySentinel => {
            Failure::Unavailable("the sentinels know no primary of that name")
        }
        DriverKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain) => {
            Failure::Unavailable("the cluster is moving the slot")
        }
        _ => coded(error),
    }
}

fn coded(error: &RedisError) -> Failure {
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    let names = |word: &str| code == word || detail.contains(word);
    CODES.iter().find(|(word, _)| names(word)).map_or(Failure::Other, |(_, failure)| *failure)
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;
    use session_core::ErrorKind;

    use super::*;

    fn mapped(code: &str, detail: &str) -> (ErrorKind, String) {
        let error = make_extension_error(code.to_owned(), Some(detail.to_owned()));
        let error = Trouble::Driver(error).into_error("load");
        (error.kind(), error.to_string())
    }

    #[test]
    fn a_code_is_understood_alone_and_inside_of_a_scripts_error() {
        let (kind, text) = mapped("OOM", "command not allowed when used memory > 'maxmemory'.");
        assert_eq!(
            (kind, text.as_str()),
            (ErrorKind::Unavailable, "redis load: unavailable (the server's memory is full)")
        );
        let old = "Error running script (call to f_4): @user_script: 3: -OOM command not allowed";
        assert_eq!(mapped("ERR", old).0, ErrorKind::Unavailable);
        assert_eq!(mapped("WRONGTYPE", "Operation against a key").0, ErrorKind::Corrupt);
        assert_eq!(mapped("ERR", "unknown command").0, ErrorKind::Other);
    }
}
