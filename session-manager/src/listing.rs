//! A user's devices: listing and naming them.

use session_core::{Actor, Cursor, ListQuery, Page, Result, SessionId, StateFilter, UserId};

use crate::info::SessionInfo;
use crate::manager::SessionManager;

/// Which page of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Paging {
    /// Where the page begins, `None` for the first.
    pub after: Option<Cursor>,
    /// How many sessions it holds at most: 1 to 500.
    pub limit: usize,
}

impl Default for Paging {
    /// The first 100.
    fn default() -> Self {
        Self { after: None, limit: 100 }
    }
}

impl Paging {
    /// Continues after a page, from its [`next`](SessionPage::next).
    #[must_use]
    pub const fn with_after(mut self, after: Option<Cursor>) -> Self {
        self.after = after;
        self
    }

    /// Sets the size of the page.
    #[must_use]
    pub const fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// One page of sessions, newest first.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionInfo>,
    /// Where the next page begins, `None` on the last one.
    pub next: Option<Cursor>,
}

impl SessionManager {
    /// Lists the live sessions of a user.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a page size out of bounds; else as the
    /// store answers.
    pub async fn list(&self, user: &UserId, paging: Paging) -> Result<SessionPage> {
        self.page_of(user, StateFilter::Live(self.now()), paging).await
    }

    /// Lists the ended sessions of a user, as far back as the retention goes.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn history(&self, user: &UserId, paging: Paging) -> Result<SessionPage> {
        self.page_of(user, StateFilter::Ended, paging).await
    }

    async fn page_of(&self, user: &UserId, state: StateFilter, paging: Paging) -> Result<SessionPage> {
        let query = ListQuery::default().with_user(user.clone()).with_state(state);
        self.find(query.with_after(paging.after).with_limit(paging.limit)).await
    }

    /// Lists by any of the store's filters, for administrators.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn find(&self, query: ListQuery) -> Result<SessionPage> {
        query.check()?;
        let Page { records, next, .. } = self.backend().operation().list(&query).await?;
        let now = self.now();
        Ok(SessionPage {
            sessions: records.iter().map(|record| self.shared().info(record, now)).collect(),
            next,
        })
    }

    /// Sets or clears the user's own name for a session's device.
    ///
    /// A [user](Actor::User) can rename their own sessions only.
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) for a session that is unknown or another
    /// user's; [`Ended`](session_core::ErrorKind::Ended);
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a label out of bounds (1 to 100
    /// characters); else as the store answers.
    pub async fn rename(&self, id: SessionId, label: Option<&str>, by: &Actor) -> Result<SessionInfo> {
        let label = label.map(str::to_owned);
        let renamed = self.change_by_id(id, by, move |next| {
            let moves = next.label != label;
            next.label.clone_from(&label);
            Ok(moves)
        });
        Ok(self.shared().info(&*renamed.await?, self.now()))
    }
}
