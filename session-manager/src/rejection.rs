//! Why a token opens no session: a refusal, or no answer.

use session_core::rules::Reason;
use session_core::{Deadline, Ended, Error, Expiry, SessionRecord, Timestamp};

/// Why a token does not open a session. All of these are final for this request: asking again gives
/// the same answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A validation rule refused this request. The session goes on.
    #[error("refused by the rule {rule}: {reason}")]
    Denied {
        /// The rule's name.
        rule: &'static str,
        /// What it objects to.
        reason: Reason,
    },
    /// The session was ended.
    #[error("the session ended: {}", .0.reason)]
    Ended(Ended),
    /// The session is past a deadline.
    #[error("the session expired: {}", .0.reason)]
    Expired(Deadline),
    /// The text is not a token. The store was not asked.
    #[error("not a session token")]
    Malformed,
    /// The session goes on, but this short-lived token does not: refresh it.
    #[error("the token expired and must be refreshed")]
    TokenExpired,
    /// There is no such session.
    #[error("unknown session")]
    Unknown,
    /// The user is disabled or gone.
    #[error("the user is not active")]
    UserInactive,
    /// The session goes on, but this is not its secret: forged, or replaced while the request was
    /// under way. A browser may hold the new one already, so do not take its cookie away.
    #[error("not the secret of the session")]
    WrongSecret,
}

/// Why [`validate`](crate::SessionManager::validate) gave no session. The two are never confused:
/// `Rejected` means "sign in again", `Unavailable` means "try again", and must not sign anybody
/// out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateError {
    /// The answer is no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There is no answer: the store failed, or holds something that cannot be understood.
    #[error("the session cannot be validated now")]
    Unavailable(#[source] Error),
}

impl From<Error> for ValidateError {
    fn from(error: Error) -> Self {
        Self::Unavailable(error)
    }
}

/// Rejects a record that is past a deadline.
#[inline]
pub(crate) fn check_deadlines(record: &SessionRecord, now: Timestamp) -> Result<(), Rejection> {
    match record.expiry(now) {
        Expiry::Expired(deadline) => Err(Rejection::Expired(deadline)),
        _ => Ok(()),
    }
}
