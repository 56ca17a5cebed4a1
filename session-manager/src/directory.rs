//! Asking the application whether a user is still who they were.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use session_core::{
    Actor, Clock, EndReason, Ended, Error, Result, SessionRecord, Timestamp, UserDirectory, UserId,
    UserStatus,
};

use crate::backend::Operation;
use crate::manager::SessionManager;
use crate::tiers::Provenance;
use crate::validate::{Rejection, ValidateError};

/// Most users whose status is remembered.
const MAX_USERS: usize = 100_000;

/// The application's directory, asked at most once per user and lag.
pub(crate) struct Directory {
    inner: Arc<dyn UserDirectory>,
    lag: Duration,
    known: Cache<UserId, (Timestamp, Option<UserStatus>)>,
}

impl Directory {
    pub(crate) fn new(inner: Arc<dyn UserDirectory>, lag: Duration) -> Self {
        Self { inner, lag, known: Cache::new(MAX_USERS) }
    }

    /// Returns a user's status, at most as old as the lag.
    async fn status(
        &self,
        user: &UserId,
        clock: &dyn Clock,
        operation: &mut Operation<'_>,
    ) -> Result<Option<UserStatus>> {
        // Counted from the start of the question, so that a slow directory does not lengthen the lag.
        let now = clock.now();
        match self.remembered(user, now) {
            Some(status) => Ok(status),
            None => self.fresh(user, now, operation).await,
        }
    }

    fn remembered(&self, user: &UserId, now: Timestamp) -> Option<Option<UserStatus>> {
        let (asked, status) = self.known.get(user)?;
        (asked <= now && now.since(asked) < self.lag).then_some(status)
    }

    async fn fresh(
        &self,
        user: &UserId,
        now: Timestamp,
        operation: &mut Operation<'_>,
    ) -> Result<Option<UserStatus>> {
        let status = operation.ask(("directory", "lookup"), self.inner.lookup(user)).await?;
        self.known.insert(user.clone(), (now, status));
        Ok(status)
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

/// What the directory says about a session.
enum Standing {
    Good,
    Inactive,
    OtherCredentials,
}

impl Standing {
    fn of(record: &SessionRecord, status: Option<UserStatus>) -> Self {
        match status {
            None | Some(UserStatus { active: false, .. }) => Self::Inactive,
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
    pub(crate) fn is_known_good(&self, record: &SessionRecord, now: Timestamp) -> bool {
        let (Some(directory), Some(user)) = (&self.shared().directory, &record.user_id) else { return true };
        let status = directory.remembered(user, now);
        status.is_some_and(|status| matches!(Standing::of(record, status), Standing::Good))
    }

    /// Refuses sessions of users who are gone or disabled, and ends those that were signed in under other credentials.
    pub(crate) async fn check_user(
        &self,
        record: &SessionRecord,
        provenance: Provenance,
        operation: &mut Operation<'_>,
    ) -> Result<(), ValidateError> {
        let (Some(directory), Some(user)) = (&self.shared().directory, &record.user_id) else {
            return Ok(());
        };
        let status = directory.status(user, &*self.shared().clock, operation).await?;
        match Standing::of(record, status) {
            Standing::Good => Ok(()),
            Standing::Inactive => Err(Rejection::UserInactive.into()),
            Standing::OtherCredentials => {
                let ended = Ended::new(EndReason::CredentialChanged, self.now(), Actor::System);
                // The refusal does not depend on it. A copy may be older than the credentials, so it ends nothing.
                if !provenance.is_cached() {
                    self.end_in_background(record.id, ended.clone());
                }
                Err(Rejection::Ended(ended).into())
            }
        }
    }

    /// A sign-in asks the directory itself, not what is remembered of it: a user who was disabled or changed their password while it
    /// was under way does not get a session.
    pub(crate) async fn check_sign_in(
        &self,
        record: &SessionRecord,
        operation: &mut Operation<'_>,
    ) -> Result<()> {
        let (Some(directory), Some(user)) = (&self.shared().directory, &record.user_id) else {
            return Ok(());
        };
        let status = directory.fresh(user, self.now(), operation).await?;
        match Standing::of(record, status) {
            Standing::Good => Ok(()),
            Standing::Inactive => Err(Error::invalid("create", "the user is not active")),
            Standing::OtherCredentials => {
                Err(Error::invalid("create", "the user's credentials changed meanwhile"))
            }
        }
    }

    /// Forgets what is remembered of a user's status, so that this process asks again at the next request. Call it where a password is
    /// changed or a user disabled; other processes notice within the lag.
    pub fn forget_user(&self, user: &UserId) {
        if let Some(directory) = &self.shared().directory {
            directory.known.remove(user);
        }
    }
}
