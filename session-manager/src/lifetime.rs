//! Changing what a live session was created with: its lifetime, and the credentials that it stands
//! for.
//!
//! All of it is a change of privilege, so the session gets new secrets at once (see `rotate.rs`),
//! and a browser gets a cookie with the new lifetime.
//!
//! | meets | how |
//! |---|---|
//! | the absolute bound | at most 400 days after the session began, whatever is asked for |
//! | refresh tokens | replaced; the new one counts for its own lifetime from now, within the session's |
//! | sessions of another system | changed without new secrets: their token is not ours |
//! | a lost reply | the old secret takes the change back, see `settle.rs` |
//! | the directory | [`keep_credentials`](SessionManager::keep_credentials) names the version that the directory has from now on |
//! | copies | other nodes notice as they notice every change |

use std::time::Duration;

use session_core::limits::MAX_LIFETIME;
use session_core::{Error, Lifetime, Result, SessionRecord, Timestamp};

use crate::manager::SessionManager;
use crate::session::Session;

impl SessionManager {
    /// Gives a live session another lifetime, counted from now: extends it, or shortens it.
    ///
    /// The new tokens wait in the handle: [`Session::take_token`], [`Session::take_refresh_token`].
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) if the session has expired; else as
    /// [`rotate`](Self::rotate).
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn set_lifetime(&self, session: &Session, lifetime: Lifetime) -> Result<()> {
        let refresh = self.settings().refresh.refresh;
        self.renew_with(session, move |record, now| apply(record, lifetime, refresh, now)).await
    }

    /// Keeps a user signed in who asks for it after the sign-in: the session gets the lifetime of
    /// remembered ones, counted from now.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn remember(&self, session: &Session) -> Result<()> {
        let (lifetime, refresh) = (self.settings().expiry.lifetime(true), self.settings().refresh.refresh);
        self.renew_with(session, move |record, now| {
            record.remembered = true;
            apply(record, lifetime, refresh, now)
        })
        .await
    }

    /// Keeps the session in which its user changes their password: from now on it stands for the
    /// credentials of that version. All others of the user end, because they stand for older ones.
    ///
    /// Call it as soon as the directory has the new version: a request of the session that asks the
    /// directory between the two finds other credentials, and ends it.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate); [`Invalid`](session_core::ErrorKind::Invalid) for a version
    /// above 2^63 - 1.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn keep_credentials(&self, session: &Session, version: u64) -> Result<()> {
        let (manager, session) = (self.clone(), session.clone());
        self.finish(async move {
            let (shared, keep) = (manager.shared(), move |record: &mut SessionRecord, _| {
                record.credential_version = Some(version);
                Ok(())
            });
            let kept = shared.renew(&session, &mut shared.backend.operation(), keep).await;
            // Not before: a request beside this one would ask the directory, learn of the new
            // version, and end the session that does not have it yet.
            if let Some(user) = session.user_id() {
                manager.forget_user(&user);
            }
            kept
        })
        .await
    }
}

fn apply(
    record: &mut SessionRecord,
    lifetime: Lifetime,
    refresh_for: Duration,
    now: Timestamp,
) -> Result<()> {
    // A limit may have counted it out already.
    if !record.is_live(now) {
        return Err(Error::not_found("manager", "set lifetime").with_detail("the session has expired"));
    }
    let last = record.created_at.saturating_add(MAX_LIFETIME);
    record.expires_at = now.saturating_add(lifetime.absolute()).min(last);
    record.idle_timeout = lifetime.idle();
    record.last_seen_at = record.last_seen_at.max(now);
    if let Some(refresh) = &mut record.refresh {
        refresh.expires_at = now.saturating_add(refresh_for).min(record.expires_at);
    }
    Ok(())
}
