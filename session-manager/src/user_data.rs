//! What is known about a user: handing it out, and forgetting it.
//!
//! Both work in batches: an export is read page by page, an erasure goes on for at most a minute.
//! So a user with a hundred thousand sessions needs no more memory than one with five hundred.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use session_core::limits::MAX_BATCH;
use session_core::{
    Actor, Cursor, EndReason, EndScope, Ended, Error, ErrorKind, ListQuery, Result, SessionData, SessionId,
    SessionRecord, Timestamp, UserId,
};
use tokio::time::Instant;

use crate::backend::Operation;
use crate::info::SessionInfo;
use crate::listing::Paging;
use crate::manager::{SessionManager, Shared};
use crate::metrics::Op;

/// A page of everything that is kept about a user, as a JSON document:
///
/// ```json
/// {
///   "format": "session-kit.user-export.1",
///   "userId": "ann",
///   "exportedAt": 1767225600000,
///   "sessions": [
///     { "id": "...", "status": "active", "createdAt": 1767225600000, "client": { "ip": "192.0.2.7" }, "...": "...",
///       "deviceId": null, "authentications": [{ "method": "password", "at": 1767225600000 }], "data": { "cart": ["apple"] } }
///   ]
/// }
/// ```
///
/// Sessions are newest first, ended ones included; each is a [`SessionInfo`] with the device, the
/// authentications and the data. Data that cannot be read is `null`. There is no secret in it.
/// `next` names where the next page begins; the last one has none.
///
/// # Security
/// `Debug` shows the number of sessions and nothing of them.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UserExport {
    /// The version of the document.
    pub format: &'static str,
    /// The user.
    pub user_id: UserId,
    /// When it was made.
    pub exported_at: Timestamp,
    /// The sessions.
    pub sessions: Vec<ExportedSession>,
    /// Where the next page begins, `None` on the last one.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "cursor_text")]
    pub next: Option<Cursor>,
}

fn cursor_text<S: Serializer>(cursor: &Option<Cursor>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&cursor.map(|cursor| cursor.to_string()).unwrap_or_default())
}

impl fmt::Debug for UserExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserExport")
            .field("user_id", &self.user_id)
            .field("sessions", &self.sessions.len())
            .finish_non_exhaustive()
    }
}

/// A session in a [`UserExport`].
///
/// # Security
/// `Debug` shows the id and nothing else.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ExportedSession {
    /// What is shown of every session.
    #[serde(flatten)]
    pub info: SessionInfo,
    /// The device.
    pub device_id: Option<String>,
    /// The country of the last use.
    pub last_country: Option<String>,
    /// The version of the user's credentials at sign-in.
    pub credential_version: Option<u64>,
    /// How and when the user authenticated.
    pub authentications: Vec<Authentication>,
    /// The application's data.
    pub data: Option<Map<String, Value>>,
}

impl fmt::Debug for ExportedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportedSession").field("id", &self.info.id).finish_non_exhaustive()
    }
}

/// One authentication in a [`UserExport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Authentication {
    /// How.
    pub method: String,
    /// When.
    pub at: Timestamp,
}

/// What [`erase_user`](SessionManager::erase_user) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EraseReport {
    /// Sessions that were active until then.
    pub ended: u64,
    /// Sessions whose record no longer identifies its user.
    pub erased: u64,
}

impl SessionManager {
    /// Collects what is kept about a user, one page of sessions at a time. Ask for the next page
    /// with [`with_after`](Paging::with_after) and the page's `next`, until there is none.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a page size out of bounds (1 to 500); else
    /// as the store answers, within its deadline: there is no partial page.
    pub async fn export_user(&self, user: &UserId, paging: Paging) -> Result<UserExport> {
        let (now, shared) = (self.now(), self.shared());
        let query =
            ListQuery::default().with_user(user.clone()).with_after(paging.after).with_limit(paging.limit);
        query.check()?;
        let mut operation = self.backend().operation();
        let listed = operation.list(&query).await?;
        let mut ids: Vec<_> = listed.records.iter().map(|record| record.id).collect();
        ids.sort_unstable();
        let full = match operation.load_many(&ids).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => load_readable(&mut operation, &ids).await?,
            loaded => loaded?.into_iter().map(|(id, record)| (id, Some(record))).collect(),
        };
        // A session that was purged since it was listed is not kept any more, and so not exported.
        let kept = listed.records.iter().filter_map(|listed| Some((listed, full.get(&listed.id)?)));
        let sessions = kept.map(|(listed, full)| match full {
            Some(record) => shared.exported(record, now),
            // What the list shows, without the data: it cannot be read.
            None => ExportedSession { data: None, ..shared.exported(listed, now) },
        });
        let sessions = sessions.collect();
        Ok(UserExport {
            format: "session-kit.user-export.1",
            user_id: user.clone(),
            exported_at: now,
            sessions,
            next: listed.next,
        })
    }

    /// Forgets a user: ends their sessions as [`UserInactive`](EndReason::UserInactive) and removes
    /// from all of their records, history included, what identifies the user (user, name, client,
    /// device, label, authentications).
    ///
    /// What stays is the id with the time and reason of its end, until the retention is over: it
    /// keeps the session ended. A sign-in that is pending at that moment names its candidate for at
    /// most 10 more minutes. Copies of events and logs are the application's.
    ///
    /// # Errors
    /// [`Timeout`](session_core::ErrorKind::Timeout) if it is not done within a minute; else as the
    /// store answers. What was done until then stays done, and calling again does the rest.
    ///
    /// # Cancellation
    /// Runs to its end even if the future is dropped.
    pub async fn erase_user(&self, user: &UserId) -> Result<EraseReport> {
        let (shared, user) = (Arc::clone(self.shared()), user.clone());
        self.forget_user(&user);
        self.finish(async move {
            let ended = Ended::new(EndReason::UserInactive, shared.clock.now(), Actor::System);
            let mut operation = shared.backend.operation();
            let ended = shared.end_sessions(&mut operation, EndScope::User(user.clone()), ended).await?;
            let erased = shared.erase_all(&user).await?;
            Ok(EraseReport { ended: ended.len() as u64, erased })
        })
        .await
    }
}

/// Loads sessions one by one: one that cannot be read is `None`, and does not cost the others.
async fn load_readable(
    operation: &mut Operation<'_>,
    ids: &[SessionId],
) -> Result<HashMap<SessionId, Option<Arc<SessionRecord>>>> {
    let mut readable = HashMap::with_capacity(ids.len());
    for id in ids {
        match operation.load(*id).await {
            Ok(None) => {}
            Ok(found) => drop(readable.insert(*id, found)),
            Err(error) if error.kind() == ErrorKind::Corrupt => drop(readable.insert(*id, None)),
            Err(error) => return Err(error),
        }
    }
    Ok(readable)
}

/// Most time of one erasure.
const ERASE_LIMIT: Duration = Duration::from_secs(60);

impl Shared {
    fn exported(&self, record: &SessionRecord, now: Timestamp) -> ExportedSession {
        ExportedSession {
            info: self.info(record, now),
            device_id: record.device_id.map(|device| device.to_string()),
            last_country: record.last_client.country_code.as_deref().map(str::to_owned),
            credential_version: record.credential_version,
            authentications: record.auth.iter().map(Authentication::of).collect(),
            data: self.settings.codec().decode(&record.data).ok().as_ref().map(json),
        }
    }

    async fn erase_all(&self, user: &UserId) -> Result<u64> {
        let (mut erased, until) = (0, Instant::now() + ERASE_LIMIT);
        loop {
            let erase = self.backend.store().erase(user, MAX_BATCH);
            let batch = self.backend.operation().call(Op::Erase, erase).await?;
            erased += batch;
            if batch < MAX_BATCH as u64 {
                return Ok(erased);
            }
            if Instant::now() >= until {
                return Err(Error::timeout("manager", "erase"));
            }
        }
    }
}

impl Authentication {
    fn of(event: &session_core::AuthEvent) -> Self {
        Self { method: event.method.to_string(), at: event.at }
    }
}

fn json(data: &SessionData) -> Map<String, Value> {
    data.keys().filter_map(|key| Some((key.to_owned(), data.value(key)?.clone()))).collect()
}
