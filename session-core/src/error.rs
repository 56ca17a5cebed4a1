//! The one error type of the contract.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::end::Ended;
use crate::record::{Revision, SessionRecord};

/// The result of every fallible operation in the family.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn StdError + Send + Sync + 'static>;

/// What a caller can decide on.
///
/// The kinds answer different questions, and the difference between [`NotFound`](Self::NotFound) and
/// [`Unavailable`](Self::Unavailable) is the one that the family exists for: the first says that there is no such
/// session, the second that nobody can tell right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The id to be created is already stored. Nothing was written.
    AlreadyExists,
    /// The record changed since it was read; [`Error::current_revision`] names its revision. Nothing was written.
    Conflict,
    /// What is stored cannot be understood. The row was left as it is.
    Corrupt,
    /// The session was ended; [`Error::ended_session`] says why. Nothing was written.
    Ended,
    /// The request itself is wrong. Refused before any I/O.
    Invalid,
    /// The user's session limit is reached; [`Error::live_sessions`] lists what counts. Nothing was written.
    LimitExceeded,
    /// There is no such session.
    NotFound,
    /// Anything else that a backend reports; never transient.
    Other,
    /// The deadline passed. The operation may or may not have happened.
    Timeout,
    /// The backend cannot be asked now. The operation may or may not have happened.
    Unavailable,
    /// The backend or the decorator cannot do this at all.
    Unsupported,
}

impl ErrorKind {
    /// Returns the stable snake_case name, for logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Ended => "ended",
            Self::Invalid => "invalid",
            Self::LimitExceeded => "limit_exceeded",
            Self::NotFound => "not_found",
            Self::Other => "other",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Why an operation failed: a [kind](ErrorKind) to decide on, where it happened, and the driver's own error as source.
///
/// Cloning is cheap, so that one failure can be told to all who waited for it.
///
/// # Security
/// No error of the family carries a token, an id or session data in its message: details are `&'static str`, so that
/// nothing of a request can get into them. What a *driver* puts into its own error is reachable through
/// [`source`](StdError::source) only, and `Display` does not print it.
///
/// # Examples
/// ```
/// use session_core::{Error, ErrorKind};
///
/// let error = Error::unavailable("postgres", "load").with_detail("connection refused");
/// assert_eq!(error.kind(), ErrorKind::Unavailable);
/// assert!(error.is_transient());
/// assert_eq!(error.to_string(), "postgres load: unavailable (connection refused)");
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    backend: &'static str,
    operation: &'static str,
    detail: Option<&'static str>,
    evidence: Evidence,
    source: Option<Source>,
}

/// What the decision of a kind rests on.
#[derive(Debug, Clone)]
enum Evidence {
    None,
    Revision(Revision),
    Ended(Ended),
    Sessions(Vec<Arc<SessionRecord>>),
}

impl Error {
    /// Makes an error of a kind, naming the backend (`"postgres"`) and the operation (`"update"`).
    #[must_use]
    pub fn new(kind: ErrorKind, backend: &'static str, operation: &'static str) -> Self {
        Self(Box::new(Inner {
            kind,
            backend,
            operation,
            detail: None,
            evidence: Evidence::None,
            source: None,
        }))
    }

    /// [`ErrorKind::AlreadyExists`].
    #[must_use]
    pub fn already_exists(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::AlreadyExists, backend, operation)
    }

    /// [`ErrorKind::Conflict`], with the revision that is stored now.
    #[must_use]
    pub fn conflict(backend: &'static str, operation: &'static str, current: Revision) -> Self {
        Self::new(ErrorKind::Conflict, backend, operation).with_evidence(Evidence::Revision(current))
    }

    /// [`ErrorKind::Corrupt`], with what does not fit.
    #[must_use]
    pub fn corrupt(backend: &'static str, operation: &'static str, detail: &'static str) -> Self {
        Self::new(ErrorKind::Corrupt, backend, operation).with_detail(detail)
    }

    /// [`ErrorKind::Ended`], with the stored end.
    #[must_use]
    pub fn ended(backend: &'static str, operation: &'static str, ended: Ended) -> Self {
        Self::new(ErrorKind::Ended, backend, operation).with_evidence(Evidence::Ended(ended))
    }

    /// [`ErrorKind::Invalid`], with what is wrong about the request.
    #[must_use]
    pub fn invalid(operation: &'static str, detail: &'static str) -> Self {
        Self::new(ErrorKind::Invalid, "session", operation).with_detail(detail)
    }

    /// [`ErrorKind::LimitExceeded`], with the live sessions that fill the limit, without secrets and data.
    #[must_use]
    pub fn limit_exceeded(
        backend: &'static str,
        operation: &'static str,
        live: Vec<Arc<SessionRecord>>,
    ) -> Self {
        Self::new(ErrorKind::LimitExceeded, backend, operation).with_evidence(Evidence::Sessions(live))
    }

    /// [`ErrorKind::NotFound`].
    #[must_use]
    pub fn not_found(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::NotFound, backend, operation)
    }

    /// [`ErrorKind::Other`], with the driver's error.
    #[must_use]
    pub fn other(
        backend: &'static str,
        operation: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(ErrorKind::Other, backend, operation).with_source(source)
    }

    /// [`ErrorKind::Timeout`].
    #[must_use]
    pub fn timeout(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::Timeout, backend, operation)
    }

    /// [`ErrorKind::Unavailable`].
    #[must_use]
    pub fn unavailable(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::Unavailable, backend, operation)
    }

    /// [`ErrorKind::Unsupported`].
    #[must_use]
    pub fn unsupported(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::Unsupported, backend, operation)
    }

    /// Adds a fixed explanation to the message.
    #[must_use]
    pub fn with_detail(mut self, detail: &'static str) -> Self {
        self.0.detail = Some(detail);
        self
    }

    /// Adds the underlying error, reachable through [`source`](StdError::source).
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    fn with_evidence(mut self, evidence: Evidence) -> Self {
        self.0.evidence = evidence;
        self
    }

    /// Returns what to decide on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the name of the backend that failed.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.0.backend
    }

    /// Returns the name of the operation that failed.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Returns true if the same call may succeed later: [`Timeout`](ErrorKind::Timeout) and
    /// [`Unavailable`](ErrorKind::Unavailable). Neither says whether the operation happened.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Timeout | ErrorKind::Unavailable)
    }

    /// Returns the stored revision that a [`Conflict`](ErrorKind::Conflict) met.
    #[must_use]
    pub fn current_revision(&self) -> Option<Revision> {
        match self.0.evidence {
            Evidence::Revision(revision) => Some(revision),
            _ => None,
        }
    }

    /// Returns why and when the session ended, for [`Ended`](ErrorKind::Ended).
    #[must_use]
    pub fn ended_session(&self) -> Option<&Ended> {
        match &self.0.evidence {
            Evidence::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// Returns the sessions that fill the limit, for [`LimitExceeded`](ErrorKind::LimitExceeded); else nothing.
    #[must_use]
    pub fn live_sessions(&self) -> &[Arc<SessionRecord>] {
        match &self.0.evidence {
            Evidence::Sessions(live) => live,
            _ => &[],
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { backend, operation, kind, .. } = &*self.0;
        write!(f, "{backend} {operation}: {}", kind.as_str().replace('_', " "))?;
        self.0.detail.map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("backend", &self.0.backend)
            .field("operation", &self.0.operation)
            .field("detail", &self.0.detail)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
