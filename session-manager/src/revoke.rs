//! Ending sessions.

use std::sync::Arc;

use session_core::{Actor, EndReason, EndScope, Ended, Error, Result, SessionId, UserId};

use crate::info::SessionInfo;
use crate::manager::SessionManager;
use crate::session::Session;

impl SessionManager {
    /// Signs a session out.
    ///
    /// # Errors
    /// As the store answers. The session is out only if this returned `Ok`; calling again is safe.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn logout(&self, session: &Session) -> Result<()> {
        let by = session.user_id().map_or(Actor::System, Actor::User);
        self.end(EndScope::id(session.id()), EndReason::LoggedOut, by).await.map(drop)
    }

    /// Ends a session from elsewhere, and returns it if it was active until now.
    ///
    /// A [user](Actor::User) can end their own sessions only; administrators and the system can end every one.
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) if a user names a session that is unknown or somebody else's, which look the
    /// same; else as the store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke(&self, id: SessionId, by: &Actor) -> Result<Vec<SessionInfo>> {
        if let Actor::User(user) = by {
            self.check_owner(id, user).await?;
        }
        self.end(EndScope::id(id), revoked(by), by.clone()).await
    }

    /// Ends all sessions of the session's user but this one, and returns them. This one gets a new secret, because whoever had to be
    /// thrown out may hold a copy of it: the new token waits in the handle ([`Session::take_token`]).
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for an anonymous session; else as the store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke_others(&self, session: &Session) -> Result<Vec<SessionInfo>> {
        let user = session
            .user_id()
            .ok_or_else(|| Error::invalid("revoke", "an anonymous session has no others"))?;
        let scope = EndScope::UserExcept { user: user.clone(), keep: session.id() };
        let ended = self.end(scope, EndReason::RevokedByUser, Actor::User(user)).await?;
        if session.record().secret.is_some() {
            self.rotate(session).await?;
        }
        Ok(ended)
    }

    /// Ends all sessions of a user, and returns them.
    ///
    /// # Errors
    /// As the store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke_all(&self, user: &UserId, by: &Actor) -> Result<Vec<SessionInfo>> {
        self.end(EndScope::User(user.clone()), revoked(by), by.clone()).await
    }

    /// A session's user never changes, so looking first and ending then cannot go wrong between.
    pub(crate) async fn check_owner(&self, id: SessionId, user: &UserId) -> Result<()> {
        let record = self.backend().operation().load(id).await?;
        match record.filter(|record| record.user_id.as_ref() == Some(user)) {
            Some(_) => Ok(()),
            None => Err(Error::not_found("manager", "revoke")),
        }
    }

    #[tracing::instrument(name = "session_end", level = "debug", skip_all, fields(%reason))]
    async fn end(&self, scope: EndScope, reason: EndReason, by: Actor) -> Result<Vec<SessionInfo>> {
        let (shared, tasks) = (Arc::clone(self.shared()), self.workers().tasks());
        self.finish(async move {
            let now = shared.clock.now();
            let records = shared.end_sessions(scope, Ended::new(reason, now, by), &tasks).await?;
            Ok(records.iter().map(|record| SessionInfo::new(record, now)).collect())
        })
        .await
    }
}

const fn revoked(by: &Actor) -> EndReason {
    match by {
        Actor::User(_) => EndReason::RevokedByUser,
        _ => EndReason::RevokedByAdmin,
    }
}
