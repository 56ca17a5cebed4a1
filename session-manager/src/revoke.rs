//! Ending sessions.

use std::sync::Arc;

use session_core::{
    Actor, EndReason, EndScope, Ended, Error, Result, SessionId, SessionRecord, Timestamp, UserId,
};

use crate::backend::Operation;
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
        self.end(EndScope::id(session.id()), EndReason::LoggedOut, by, None).await.map(drop)
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
        let owner = match by {
            Actor::User(user) => Some((id, user.clone())),
            _ => None,
        };
        self.end(EndScope::id(id), revoked(by), by.clone(), owner).await
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
        let (shared, tasks, session) = (Arc::clone(self.shared()), self.workers().tasks(), session.clone());
        self.finish(async move {
            let mut operation = shared.backend.operation();
            let now = shared.clock.now();
            let ended = Ended::new(EndReason::RevokedByUser, now, Actor::User(user));
            let records = shared.end_sessions(&mut operation, scope, ended, &tasks).await?;
            if session.record().secret.is_some() {
                shared.renew(&session, &mut operation, |_| ()).await?;
            }
            Ok(infos(&records, now))
        })
        .await
    }

    /// Ends all sessions of a user, and returns them.
    ///
    /// # Errors
    /// As the store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke_all(&self, user: &UserId, by: &Actor) -> Result<Vec<SessionInfo>> {
        self.end(EndScope::User(user.clone()), revoked(by), by.clone(), None).await
    }

    #[tracing::instrument(name = "session_end", level = "debug", skip_all, fields(%reason))]
    async fn end(
        &self,
        scope: EndScope,
        reason: EndReason,
        by: Actor,
        owner: Option<(SessionId, UserId)>,
    ) -> Result<Vec<SessionInfo>> {
        let (shared, tasks) = (Arc::clone(self.shared()), self.workers().tasks());
        self.finish(async move {
            let now = shared.clock.now();
            let mut operation = shared.backend.operation();
            if let Some((id, user)) = owner {
                check_owner(&mut operation, id, &user).await?;
            }
            let ended = Ended::new(reason, now, by);
            let records = shared.end_sessions(&mut operation, scope, ended, &tasks).await?;
            Ok(infos(&records, now))
        })
        .await
    }
}

fn infos(records: &[Arc<SessionRecord>], now: Timestamp) -> Vec<SessionInfo> {
    records.iter().map(|record| SessionInfo::new(record, now)).collect()
}

/// A session's user never changes, so looking first and ending then cannot go wrong between.
async fn check_owner(operation: &mut Operation<'_>, id: SessionId, user: &UserId) -> Result<()> {
    let record = operation.load(id).await?;
    match record.filter(|record| record.user_id.as_ref() == Some(user)) {
        Some(_) => Ok(()),
        None => Err(Error::not_found("manager", "revoke")),
    }
}

const fn revoked(by: &Actor) -> EndReason {
    match by {
        Actor::User(_) => EndReason::RevokedByUser,
        _ => EndReason::RevokedByAdmin,
    }
}
