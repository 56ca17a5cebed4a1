//! Asking the application whether a user is still who they were.
//!
//! What is remembered may only confirm. Before a request is refused, and before a session is ended,
//! the directory is asked afresh: another node may have changed the password, and the session may
//! be newer than what is remembered here.
//!
//! | the directory's answer, asked afresh | answer | write |
//! |---|---|---|
//! | active, same credential version | live | none |
//! | active, another version | ended, `CredentialChanged` | the session is ended, if the store's record, read once more, has another version still |
//! | not active | refused, `UserInactive` | none: the session goes on when the user is enabled again |
//! | unknown | ended, `UserInactive` | all sessions of the user that exist by now are ended: a user of the same name who registers later is another one |
//! | nothing (a failure) | unavailable | none |
//!
//! | meets | how |
//! |---|---|
//! | several nodes | each remembers for itself, for at most the lag; an older answer never replaces a newer one |
//! | copies | a session is judged again by the store's record before it is ended |
//! | sign-in, `ensure`, refresh | a sign-in and the first `ensure` ask afresh; a session without a version gets the one that the answer names |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use session_core::{
    Actor, EndReason, EndScope, Ended, Error, Result, SessionRecord, UserDirectory, UserId, UserStatus,
};

use crate::backend::Operation;
use crate::manager::SessionManager;
use crate::rejection::{Rejection, ValidateError};
use crate::tiers::Provenance;

/// Most users whose status is remembered.
const MAX_USERS: usize = 100_000;

/// The application's directory, asked at most once per user and lag.
pub(crate) struct Directory {
    inner: Arc<dyn UserDirectory>,
    lag: Duration,
    /// What was answered, and when it was asked for, by the monotonic clock: a wall clock that is
    /// set neither prolongs an answer nor discards it.
    known: Cache<UserId, (Duration, Option<UserStatus>)>,
    /// Counts calls of `forget`.
    forgotten: AtomicU64,
}

impl Directory {
    pub(crate) fn new(inner: Arc<dyn UserDirectory>, lag: Duration) -> Self {
        Self { inner, lag, known: Cache::new(MAX_USERS), forgotten: AtomicU64::new(0) }
    }

    fn remembered(&self, user: &UserId, now: Duration) -> Option<Option<UserStatus>> {
        let (asked, status) = self.known.get(user)?;
        (now.saturating_sub(asked) < self.lag).then_some(status)
    }

    async fn fresh(
        &self,
        user: &UserId,
        now: Duration,
        operation: &mut Operation<'_>,
    ) -> Result<Option<UserStatus>> {
        // Counted from the start of the question, so that a slow directory does not lengthen the
        // lag.
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let status = operation.ask(("directory", "lookup"), self.inner.lookup(user)).await?;
        let is_newer = |(asked, _): &(Duration, Option<UserStatus>)| *asked <= now;
        if self.known.get(user).as_ref().is_none_or(is_newer) {
            self.known.insert(user.clone(), (now, status));
        }
        // A user that was forgotten meanwhile may have changed after the directory answered.
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.known.remove(user);
        }
        Ok(status)
    }

    fn forget(&self, user: &UserId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.known.remove(user);
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("inner", &self.inner)
            .field("lag", &self.lag)
            .finish_non_exhaustive()
    }
}

/// The directory's answer about a session.
enum Standing {
    Good,
    Inactive,
    OtherCredentials,
    Unknown,
}

impl Standing {
    fn of(record: &SessionRecord, status: Option<UserStatus>) -> Self {
        match status {
            None => Self::Unknown,
            Some(UserStatus { active: false, .. }) => Self::Inactive,
            Some(user)
                if record.credential_version.is_some_and(|version| version != user.credential_version) =>
            {
                Self::OtherCredentials
            }
            Some(_) => Self::Good,
        }
    }
}

impl SessionManager {
    /// Whether the user is known to be good without asking.
    #[inline]
    pub(crate) fn is_known_good(&self, record: &SessionRecord) -> bool {
        let (Some(directory), Some(user)) = (&self.shared().directory, &record.user_id) else { return true };
        let status = directory.remembered(user, self.shared().clock.monotonic());
        status.is_some_and(|status| matches!(Standing::of(record, status), Standing::Good))
    }

    /// Refuses sessions of users who are gone or disabled, and ends those that were signed in under
    /// other credentials.
    pub(crate) async fn check_user(
        &self,
        record: &SessionRecord,
        provenance: Provenance,
        operation: &mut Operation<'_>,
    ) -> Result<(), ValidateError> {
        let (Some(directory), Some(user)) = (&self.shared().directory, &record.user_id) else {
            return Ok(());
        };
        if self.is_known_good(record) {
            return Ok(());
        }
        let asked = self.shared().clock.monotonic();
        let status = directory.fresh(user, asked, operation).await?;
        match Standing::of(record, status) {
            Standing::Good => Ok(()),
            Standing::Inactive => Err(Rejection::UserInactive.into()),
            // A copy may be older than the credentials, so it ends nothing: the record of the store
            // is judged again.
            _ if provenance.is_cached() => Err(Rejection::UserInactive.into()),
            Standing::OtherCredentials => self.check_again(record, status, operation).await,
            Standing::Unknown => {
                let ended = Ended::new(EndReason::UserInactive, self.now(), Actor::System);
                self.end_user_in_background(user.clone(), ended.clone());
                Err(Rejection::Ended(ended).into())
            }
        }
    }

    /// Ends a session that stands for other credentials. It is read once more before: it may have
    /// been [kept](Self::keep_credentials) while the directory was asked.
    async fn check_again(
        &self,
        record: &SessionRecord,
        status: Option<UserStatus>,
        operation: &mut Operation<'_>,
    ) -> Result<(), ValidateError> {
        let stored = operation.load(record.id).await?.ok_or(Rejection::Unknown)?;
        if let Some(ended) = stored.ended() {
            return Err(Rejection::Ended(ended.clone()).into());
        }
        if let Standing::Good = Standing::of(&stored, status) {
            return Ok(());
        }
        let ended = Ended::new(EndReason::CredentialChanged, self.now(), Actor::System);
        // The refusal does not depend on it.
        self.end_in_background(record.id, ended.clone());
        Err(Rejection::Ended(ended).into())
    }

    /// Ends all sessions of a user whom the directory does not know.
    fn end_user_in_background(&self, user: UserId, ended: Ended) {
        let shared = Arc::clone(self.shared());
        self.workers().spawn(async move {
            let mut operation = shared.backend.operation();
            // A failure is carried through like every other.
            let _ = shared.end_sessions(&mut operation, EndScope::User(user), ended).await;
        });
    }

    /// A sign-in asks the directory itself, not what is remembered of it: a user who was disabled
    /// or changed their password while it was under way does not get a session. Returns the version
    /// of the credentials that the session is signed in under.
    pub(crate) async fn check_sign_in(
        &self,
        record: &SessionRecord,
        operation: &mut Operation<'_>,
    ) -> Result<Option<u64>> {
        let (Some(directory), Some(user)) = (&self.shared().directory, &record.user_id) else {
            return Ok(record.credential_version);
        };
        let status = directory.fresh(user, self.shared().clock.monotonic(), operation).await?;
        match Standing::of(record, status) {
            Standing::Good => {
                Ok(record.credential_version.or(status.map(|status| status.credential_version)))
            }
            Standing::Inactive | Standing::Unknown => Err(Error::invalid("create", "the user is not active")),
            Standing::OtherCredentials => {
                Err(Error::invalid("create", "the user's credentials changed meanwhile"))
            }
        }
    }

    /// Forgets what is remembered of a user's status, so that this process asks again at the next
    /// request. Call it where a password is changed or a user disabled; other processes notice
    /// within the lag.
    pub fn forget_user(&self, user: &UserId) {
        if let Some(directory) = &self.shared().directory {
            directory.forget(user);
        }
    }
}
