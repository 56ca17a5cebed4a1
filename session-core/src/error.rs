//! The one error type of the contract.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::end::Ended;
use crate::record::{Revision, SessionRecord};

/// The result of every fallible operation in the family.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn StdError + Send + Sync + 'static>;

/// The kind of an error, for decisions of the caller.
///
/// The difference between [`NotFound`](Self::NotFound) and [`Unavailable`](Self::Unavailable) is
/// the reason for this type: the first means that there is no such session, the second that this
/// cannot be determined right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A session with the new id is already stored. Nothing was written.
    AlreadyExists,
    /// The record changed since it was read; [`Error::current_revision`] returns its revision.
    /// Nothing was written.
    Conflict,
    /// The stored value cannot be decoded. The row was left unchanged.
    Corrupt,
    /// The session was ended; [`Error::ended_session`] returns why. Nothing was written.
    Ended,
    /// The request itself is invalid. Refused before any I/O.
    Invalid,
    /// The user's session limit is reached; [`Error::live_sessions`] returns the sessions that
    /// count. Nothing was written.
    LimitExceeded,
    /// There is no such session.
    NotFound,
    /// Any other failure of a backend; never transient.
    Other,
    /// The deadline passed. The operation may or may not have taken effect.
    Timeout,
    /// The backend cannot be reached now. The operation may or may not have taken effect.
    Unavailable,
    /// The backend or the decorator does not support the operation.
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

/// A failed operation: its [kind](ErrorKind), where it failed, and the driver's own error as
/// source.
///
/// Cloning is cheap, so that one failure can be returned to all tasks that waited for it.
///
/// # Security
/// No error of session-kit carries a token, an id or session data in its message: details are
/// `&'static str`, so nothing of a request can get into them. The contents of a *driver's* error
/// are reachable through [`source`](StdError::source) only, and `Display` does not print them.
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

/// The facts behind an error's kind.
#[derive(Debug, Clone)]
enum Evidence {
    None,
    Revision(Revision),
    Ended(Ended),
    Sessions(Vec<Arc<SessionRecord>>),
}

impl Error {
    /// Creates an error of a kind, with the backend (`"postgres"`) and the operation (`"update"`).
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

    /// Creates an [`ErrorKind::AlreadyExists`].
    #[must_use]
    pub fn already_exists(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::AlreadyExists, backend, operation)
    }

    /// Creates an [`ErrorKind::Conflict`] with the stored revision.
    #[must_use]
    pub fn conflict(backend: &'static str, operation: &'static str, current: Revision) -> Self {
        Self::new(ErrorKind::Conflict, backend, operation).with_evidence(Evidence::Revision(current))
    }

    /// Creates an [`ErrorKind::Corrupt`] with the reason.
    #[must_use]
    pub fn corrupt(backend: &'static str, operation: &'static str, detail: &'static str) -> Self {
        Self::new(ErrorKind::Corrupt, backend, operation).with_detail(detail)
    }

    /// Creates an [`ErrorKind::Ended`] with the stored end.
    #[must_use]
    pub fn ended(backend: &'static str, operation: &'static str, ended: Ended) -> Self {
        Self::new(ErrorKind::Ended, backend, operation).with_evidence(Evidence::Ended(ended))
    }

    /// Creates an [`ErrorKind::Invalid`] with the reason.
    #[must_use]
    pub fn invalid(operation: &'static str, detail: &'static str) -> Self {
        Self::new(ErrorKind::Invalid, "session", operation).with_detail(detail)
    }

    /// Creates an [`ErrorKind::LimitExceeded`] with the live sessions that fill the limit, without
    /// secrets and data.
    #[must_use]
    pub fn limit_exceeded(
        backend: &'static str,
        operation: &'static str,
        live: Vec<Arc<SessionRecord>>,
    ) -> Self {
        Self::new(ErrorKind::LimitExceeded, backend, operation).with_evidence(Evidence::Sessions(live))
    }

    /// Creates an [`ErrorKind::NotFound`].
    #[must_use]
    pub fn not_found(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::NotFound, backend, operation)
    }

    /// Creates an [`ErrorKind::Other`] with the driver's error.
    #[must_use]
    pub fn other(
        backend: &'static str,
        operation: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(ErrorKind::Other, backend, operation).with_source(source)
    }

    /// Creates an [`ErrorKind::Timeout`].
    #[must_use]
    pub fn timeout(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::Timeout, backend, operation)
    }

    /// Creates an [`ErrorKind::Unavailable`].
    #[must_use]
    pub fn unavailable(backend: &'static str, operation: &'static str) -> Self {
        Self::new(ErrorKind::Unavailable, backend, operation)
    }

    /// Creates an [`ErrorKind::Unsupported`].
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

    /// Returns the kind.
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

    /// Returns true if the same call may succeed later: for [`Timeout`](ErrorKind::Timeout) and
    /// [`Unavailable`](ErrorKind::Unavailable). Neither reveals whether the operation took effect.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Timeout | ErrorKind::Unavailable)
    }

    /// Returns the stored revision of a [`Conflict`](ErrorKind::Conflict).
    #[must_use]
    pub fn current_revision(&self) -> Option<Revision> {
        match self.0.evidence {
            Evidence::Revision(revision) => Some(revision),
            _ => None,
        }
    }

    /// Returns the end of the session, for [`Ended`](ErrorKind::Ended).
    #[must_use]
    pub fn ended_session(&self) -> Option<&Ended> {
        match &self.0.evidence {
            Evidence::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// Returns the sessions that fill the limit, for [`LimitExceeded`](ErrorKind::LimitExceeded);
    /// otherwise an empty slice.
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
