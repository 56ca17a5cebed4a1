//! Long connections: whether the session that a connection was opened with still lives.
//!
//! | meets | how |
//! |---|---|
//! | copies | asked like a request asks: from memory, a cache or the store; so an end is noticed within the same bounds |
//! | an outage | is not an end: the connection goes on until there is an answer |
//! | rotation | the secret is not asked for again: the connection was opened with it |
//! | the directory | a user who is gone or disabled, or has other credentials, is refused as on a request |
//! | idleness | watching is no use of the session; [`Session::refresh_activity`] is one |

use std::time::Duration;

use session_core::Touch;

use crate::manager::SessionManager;
use crate::rejection::{Rejection, ValidateError, check_deadlines};
use crate::session::Session;
use crate::tiers::Found;

/// How often a connection looks, without copies that set another pace.
const PACE: Duration = Duration::from_secs(5);

impl Session {
    /// Checks whether the session still lives, for connections that stay open: a web socket, a
    /// stream of events.
    ///
    /// Cheap: answered from memory where there are [tiers](crate::Tiers). Does not count as use.
    ///
    /// # Errors
    /// [`ValidateError::Rejected`] if it does not; [`ValidateError::Unavailable`] if that is not
    /// known: go on, and ask again.
    pub async fn still_live(&self) -> Result<(), ValidateError> {
        let manager = self.manager();
        let (shared, mut operation) = (manager.shared(), manager.backend().operation());
        let found = shared.find(&mut operation, self.id()).await?;
        if let Some(Found::Active(record, provenance)) = &found
            && provenance.is_cached()
            && record.is_live(manager.now())
            && manager.is_known_good(record)
        {
            return Ok(());
        }
        // A copy may only confirm.
        let found = match found {
            Some(Found::Active(_, provenance)) if provenance.is_cached() => {
                shared.find_in_store(&mut operation, self.id()).await?
            }
            None => shared.find_in_store(&mut operation, self.id()).await?,
            found => found,
        };
        match found.ok_or(Rejection::Unknown)? {
            Found::Ended(ended) => Err(Rejection::Ended(ended).into()),
            Found::Active(record, provenance) => {
                let record = shared.count_known_use(record, &mut operation).await?;
                check_deadlines(&record, manager.now())?;
                manager.check_user(&record, provenance, &mut operation).await
            }
        }
    }

    /// Waits until the session does not live any more, and returns why. For `select!` beside a
    /// connection.
    ///
    /// Looks every 5 s, or every [`l1_max_age`](crate::Tiers::with_l1_max_age) where copies in this
    /// process count for less than that. An outage is not an end: it goes on waiting.
    ///
    /// # Cancellation
    /// Nothing happens.
    pub async fn ended(&self) -> Rejection {
        let pace =
            self.shared().tiers.as_ref().map_or(PACE, |tiers| tiers.l1_max_age().clamp(PACE / 5, PACE));
        loop {
            if let Err(ValidateError::Rejected(rejection)) = self.still_live().await {
                return rejection;
            }
            tokio::time::sleep(pace).await;
        }
    }

    /// Records that the session is in use now, and returns when the store has it. For use that
    /// sends no requests: messages on a web socket, a long upload.
    ///
    /// A request that is validated counts as use by itself. Call this at most once a minute or so:
    /// each call is a write of its own.
    ///
    /// # Errors
    /// [`ValidateError::Rejected`] if the session does not live any more: it stays ended or
    /// expired. [`ValidateError::Unavailable`] if the store did not answer: the use is written with
    /// the next ones.
    pub async fn refresh_activity(&self) -> Result<(), ValidateError> {
        let (shared, record) = (self.shared(), self.record());
        let touch = Touch::new(self.id(), self.manager().now(), record.last_client.clone());
        match shared.backend.operation().touch(std::slice::from_ref(&touch), touch.last_seen_at).await {
            // A use that is as late is known already, unless the session does not live.
            Ok(0) => self.still_live_in_store().await,
            Ok(moved) => {
                shared.metrics.touches_flushed.increment(moved);
                Ok(())
            }
            Err(error) => {
                shared.touches.put_back(vec![touch], &shared.metrics.touches_dropped);
                Err(error.into())
            }
        }
    }

    async fn still_live_in_store(&self) -> Result<(), ValidateError> {
        let manager = self.manager();
        let (shared, mut operation) = (manager.shared(), manager.backend().operation());
        match shared.find_in_store(&mut operation, self.id()).await?.ok_or(Rejection::Unknown)? {
            Found::Ended(ended) => Err(Rejection::Ended(ended).into()),
            Found::Active(record, _) => Ok(check_deadlines(&record, manager.now())?),
        }
    }

    fn manager(&self) -> SessionManager {
        SessionManager::of(&self.lane().core)
    }
}
