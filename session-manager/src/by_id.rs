//! Sessions by their id: for administrators, and for sinks of events, which have no token.
//!
//! | meets | how |
//! |---|---|
//! | the session's own requests | the compare-and-set is repeated on the newer record; a save that changed the same key meanwhile is a conflict for that save |
//! | an end | nothing is changed: `Ended` |
//! | a sign-in that takes the session's place | the same, once the sign-in has read the data; before that the change is carried over |
//! | tenants | an id of another tenant is unknown |
//! | history | an ended session is found until its retention is over |

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use session_core::{Actor, Error, Result, SessionData, SessionId, SessionRecord};

use crate::data::{check_key, is_reserved};
use crate::info::SessionInfo;
use crate::manager::SessionManager;
use crate::replace::Superseding;
use crate::writers::fresh_mark;

impl SessionManager {
    /// Returns one session by its id: live, expired or ended. `None` if there is none, or no more.
    ///
    /// # Errors
    /// As the store answers.
    pub async fn by_id(&self, id: SessionId) -> Result<Option<SessionInfo>> {
        let record = self.backend().operation().load(id).await?;
        Ok(record.map(|record| self.shared().info(&record, self.now())))
    }

    /// Changes another session by its id: its user name and its data.
    ///
    /// `change` runs again if the session was changed meanwhile, so it must work on what the
    /// [`SessionEdit`] shows and not on what was read before. It may be called several times.
    ///
    /// # Examples
    /// ```
    /// # use session_core::Actor;
    /// # use session_manager::{NewSession, SessionManager};
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let manager = SessionManager::builder(session_memory::MemoryStore::default()).build()?;
    /// # let id = manager.create(NewSession::for_user("ann".parse()?)).await?.session.id();
    /// manager
    ///     .edit(id, &Actor::System, |session| {
    ///         session.set_username(Some("Ann B."));
    ///         session.insert("plan", "pro")
    ///     })
    ///     .await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](session_core::ErrorKind::NotFound) for a session that is unknown, or that a
    /// [user](Actor::User) does not own; [`Ended`](session_core::ErrorKind::Ended);
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a name or data out of bounds; what
    /// `change` returns; else as the store answers.
    ///
    /// # Cancellation
    /// The old session or the new one is stored, whole.
    pub async fn edit(
        &self,
        id: SessionId,
        by: &Actor,
        mut change: impl FnMut(&mut SessionEdit) -> Result<()> + Send + 'static,
    ) -> Result<SessionInfo> {
        let (codec, lasts) = (self.settings().codec(), Superseding::lasts(self.settings()));
        let clock = Arc::clone(&self.shared().clock);
        let edited = self.change_by_id(id, by, move |next| {
            let mut data = codec.decode(&next.data)?;
            Superseding::check(&data, clock.now(), lasts, "edit")?;
            Superseding::remove(&mut data);
            let mut edit = SessionEdit { username: next.username.take(), before: data.clone(), data };
            let name = edit.username.clone();
            change(&mut edit)?;
            let moves = edit.username != name || edit.data != edit.before;
            next.username = edit.username;
            if edit.data != edit.before {
                // Not a save of a handle, so no handle takes it for its own.
                edit.data.note_save(fresh_mark());
                next.data = codec.encode(&edit.data)?;
            }
            Ok(moves)
        });
        Ok(self.shared().info(&*edited.await?, self.now()))
    }

    /// Changes the record of a session that its actor may change. `change` returns whether anything
    /// moved.
    pub(crate) async fn change_by_id(
        &self,
        id: SessionId,
        by: &Actor,
        mut change: impl FnMut(&mut SessionRecord) -> Result<bool> + Send + 'static,
    ) -> Result<Arc<SessionRecord>> {
        let mut operation = self.backend().operation();
        let not_found = || Error::not_found("manager", "edit");
        let current = operation.load(id).await?.ok_or_else(not_found)?;
        if matches!(by, Actor::User(user) if current.user_id.as_ref() != Some(user)) {
            return Err(not_found());
        }
        if let Some(ended) = current.ended() {
            return Err(Error::ended("manager", "edit", ended.clone()));
        }
        let changed = self.shared().modify(&mut operation, current, move |current| {
            let mut next = current.clone();
            if !change(&mut next)? {
                return Ok(None);
            }
            next.check()?;
            Ok(Some(next))
        });
        changed.await
    }
}

/// A session as [`edit`](SessionManager::edit) may change it.
pub struct SessionEdit {
    username: Option<String>,
    before: SessionData,
    data: SessionData,
}

impl SessionEdit {
    /// Returns the user's name.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Sets or clears the user's name, 1 to 255 bytes.
    pub fn set_username(&mut self, username: Option<&str>) {
        self.username = username.map(str::to_owned);
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`Corrupt`](session_core::ErrorKind::Corrupt) if the value is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.data.get(key)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) if the value is not JSON, or the key belongs
    /// to the library.
    pub fn insert<T: Serialize + ?Sized>(&mut self, key: impl Into<String>, value: &T) -> Result<()> {
        let key = key.into();
        check_key("edit", &key)?;
        self.data.insert(key, value)
    }

    /// Removes a key. Returns true if it was there. Keys of the library stay.
    pub fn remove(&mut self, key: &str) -> bool {
        !is_reserved(key) && self.data.remove(key)
    }
}

impl fmt::Debug for SessionEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionEdit").field("keys", &self.data.len()).finish_non_exhaustive()
    }
}
