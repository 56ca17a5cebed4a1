//! What is known about a user: handing it out, and forgetting it.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};
use session_core::limits::MAX_BATCH;
use session_core::{
    Actor, EndReason, EndScope, Ended, Result, SessionData, SessionId, SessionRecord, StateFilter, Timestamp,
    UserId,
};

use crate::info::SessionInfo;
use crate::manager::{SessionManager, Shared};
use crate::metrics::Op;

/// Everything that is kept about a user, as a JSON document:
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
/// Sessions are newest first, ended ones included; each is a [`SessionInfo`] with the device, the authentications and the data. Data that
/// cannot be read is `null`. There is no secret in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
}

/// A session in a [`UserExport`].
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Sessions whose record no longer tells whose it was.
    pub erased: u64,
}

impl SessionManager {
    /// Collects everything that is kept about a user.
    ///
    /// # Errors
    /// As the store answers. There is no partial export.
    pub async fn export_user(&self, user: &UserId) -> Result<UserExport> {
        let now = self.now();
        let records = self.shared().all_of(user, StateFilter::Any).await?;
        let full = self.shared().load_all(&records).await?;
        let limits = &self.settings().data_limits;
        // A session that was purged since it was listed is not kept any more, and so not exported.
        let kept = records.iter().filter_map(|record| full.get(&record.id));
        let sessions = kept.map(|record| ExportedSession {
            info: SessionInfo::new(record, now),
            device_id: record.device_id.map(|device| device.to_string()),
            last_country: record.last_client.country_code.as_deref().map(str::to_owned),
            credential_version: record.credential_version,
            authentications: record.auth.iter().map(Authentication::of).collect(),
            data: SessionData::decode(&record.data, limits).ok().as_ref().map(json),
        });
        let sessions = sessions.collect();
        Ok(UserExport {
            format: "session-kit.user-export.1",
            user_id: user.clone(),
            exported_at: now,
            sessions,
        })
    }

    /// Forgets a user: ends their sessions as [`UserInactive`](EndReason::UserInactive) and removes from all of their records, history included,
    /// what tells whose they were (user, name, client, device, label, authentications).
    ///
    /// What stays is the id with the time and reason of its end, until the retention is over: it keeps the session ended. A sign-in that is
    /// pending at that moment names its candidate for at most 10 more minutes. Copies of events and logs are the application's.
    ///
    /// # Errors
    /// As the store answers; what was done until then stays done, and calling again does the rest.
    pub async fn erase_user(&self, user: &UserId) -> Result<EraseReport> {
        let (shared, tasks, user) = (Arc::clone(self.shared()), self.workers().tasks(), user.clone());
        self.forget_user(&user);
        self.finish(async move {
            let ended = Ended::new(EndReason::UserInactive, shared.clock.now(), Actor::System);
            let mut operation = shared.backend.operation();
            let ended =
                shared.end_sessions(&mut operation, EndScope::User(user.clone()), ended, &tasks).await?;
            let erased = shared.erase_all(&user).await?;
            Ok(EraseReport { ended: ended.len() as u64, erased })
        })
        .await
    }
}

impl Shared {
    async fn load_all(
        &self,
        listed: &[Arc<SessionRecord>],
    ) -> Result<HashMap<SessionId, Arc<SessionRecord>>> {
        let mut full = HashMap::new();
        for chunk in listed.chunks(MAX_BATCH) {
            let mut ids: Vec<_> = chunk.iter().map(|record| record.id).collect();
            ids.sort_unstable();
            full.extend(self.backend.operation().load_many(&ids).await?);
        }
        Ok(full)
    }

    async fn erase_all(&self, user: &UserId) -> Result<u64> {
        let mut erased = 0;
        loop {
            let erase = self.backend.store().erase(user, MAX_BATCH);
            let batch = self.backend.operation().call(Op::Erase, erase).await?;
            erased += batch;
            if batch < MAX_BATCH as u64 {
                return Ok(erased);
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
