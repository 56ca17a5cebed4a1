//! Ending sessions.
//!
//! | who asks | may end |
//! |---|---|
//! | a [user](Actor::User) | their own sessions; anything else is `NotFound`, whether or not it exists |
//! | an administrator, the system | every session |
//!
//! | meets | how |
//! |---|---|
//! | an end by another node | nothing is returned, and the copies of this node and of the caches go all the same |
//! | a session that is not live | [`revoke_others`](SessionManager::revoke_others) ends no other session then |
//! | a lost reply | carried through, see `ending.rs` |
//! | refresh tokens | replaced together with the secret |

use std::sync::Arc;

use session_core::{
    Actor, DeviceId, EndReason, EndScope, Ended, Error, Result, SessionId, SessionRecord, UserId, check_batch,
};

use crate::backend::Operation;
use crate::info::SessionInfo;
use crate::manager::{SessionManager, Shared};
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
    /// A [user](Actor::User) can end their own sessions only; administrators and the system can end
    /// every one.
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) if a user names a session that is unknown or
    /// another user's, which look the same; else as the store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke(&self, id: SessionId, by: &Actor) -> Result<Vec<SessionInfo>> {
        self.revoke_many(&[id], by).await
    }

    /// Ends several sessions, at most 500, and returns those that were active until now.
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) if a user names a session that is unknown or
    /// another user's: then none is ended; [`Invalid`](session_core::ErrorKind::Invalid) for more
    /// than 500; else as the store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke_many(&self, ids: &[SessionId], by: &Actor) -> Result<Vec<SessionInfo>> {
        check_batch("revoke", ids.len())?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let owner = match by {
            Actor::User(user) => Some((ids.to_vec(), user.clone())),
            _ => None,
        };
        self.end(EndScope::Ids(ids.to_vec()), revoked(by), by.clone(), owner).await
    }

    /// Ends all sessions of a user on one device, and returns them.
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) if a user names another user; else as the
    /// store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke_device(
        &self,
        user: &UserId,
        device: DeviceId,
        by: &Actor,
    ) -> Result<Vec<SessionInfo>> {
        check_actor(user, by)?;
        self.end(EndScope::Device { user: user.clone(), device }, revoked(by), by.clone(), None).await
    }

    /// Ends all sessions of the session's user but this one, and returns them. This one gets new
    /// secrets, because a party that had to be signed out may hold a copy of them: the new tokens
    /// wait in the handle ([`Session::take_token`], [`Session::take_refresh_token`]).
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for an anonymous session;
    /// [`Ended`](session_core::ErrorKind::Ended) and
    /// [`NotFound`](session_core::ErrorKind::NotFound) if this session is not live: no other session
    /// is ended then; [`Conflict`](session_core::ErrorKind::Conflict) if another request replaced
    /// its secret meanwhile: the others are ended then, and this request must not go on; else as
    /// the store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke_others(&self, session: &Session) -> Result<Vec<SessionInfo>> {
        let user = session
            .user_id()
            .ok_or_else(|| Error::invalid("revoke", "an anonymous session has no others"))?;
        let scope = EndScope::UserExcept { user: user.clone(), keep: session.id() };
        let (shared, session) = (Arc::clone(self.shared()), session.clone());
        self.finish(async move {
            let mut operation = shared.backend.operation();
            let now = shared.clock.now();
            shared.check_live(&mut operation, &session).await?;
            let ended = Ended::new(EndReason::RevokedByUser, now, Actor::User(user));
            let records = shared.end_sessions(&mut operation, scope, ended).await?;
            if session.record().secret.is_some() {
                shared.renew(&session, &mut operation, |_, _| Ok(())).await?;
            }
            Ok(shared.infos(&records, now))
        })
        .await
    }

    /// Ends all sessions of a user, and returns them.
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) if a user names another user; else as the
    /// store answers.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn revoke_all(&self, user: &UserId, by: &Actor) -> Result<Vec<SessionInfo>> {
        check_actor(user, by)?;
        self.end(EndScope::User(user.clone()), revoked(by), by.clone(), None).await
    }

    #[tracing::instrument(name = "session_end", level = "debug", skip_all, fields(%reason))]
    async fn end(
        &self,
        scope: EndScope,
        reason: EndReason,
        by: Actor,
        owner: Option<(Vec<SessionId>, UserId)>,
    ) -> Result<Vec<SessionInfo>> {
        let shared = Arc::clone(self.shared());
        self.finish(async move {
            let now = shared.clock.now();
            let mut operation = shared.backend.operation();
            if let Some((ids, user)) = owner {
                check_owner(&mut operation, ids, &user).await?;
            }
            let ended = Ended::new(reason, now, by);
            let records = shared.end_sessions(&mut operation, scope, ended).await?;
            Ok(shared.infos(&records, now))
        })
        .await
    }
}

impl Shared {
    fn infos(&self, records: &[Arc<SessionRecord>], now: session_core::Timestamp) -> Vec<SessionInfo> {
        records.iter().map(|record| self.info(record, now)).collect()
    }

    /// Checks by the store of record that a session is live.
    async fn check_live(self: &Arc<Self>, operation: &mut Operation<'_>, session: &Session) -> Result<()> {
        let record = operation.load_active(session.id()).await?;
        let record = self.count_known_use(record, operation).await?;
        match record.is_live(self.clock.now()) {
            true => Ok(()),
            false => Err(Error::not_found("manager", "revoke").with_detail("the session has expired")),
        }
    }
}

/// A user may act on their own sessions only.
fn check_actor(user: &UserId, by: &Actor) -> Result<()> {
    match by {
        Actor::User(actor) if actor != user => Err(Error::not_found("manager", "revoke")),
        _ => Ok(()),
    }
}

/// A session's user never changes, so looking first and ending then cannot go wrong between.
async fn check_owner(operation: &mut Operation<'_>, mut ids: Vec<SessionId>, user: &UserId) -> Result<()> {
    ids.sort_unstable();
    ids.dedup();
    let found = operation.load_many(&ids).await?;
    let own = found.values().filter(|record| record.user_id.as_ref() == Some(user)).count();
    if own == ids.len() { Ok(()) } else { Err(Error::not_found("manager", "revoke")) }
}

const fn revoked(by: &Actor) -> EndReason {
    match by {
        Actor::User(_) => EndReason::RevokedByUser,
        _ => EndReason::RevokedByAdmin,
    }
}
