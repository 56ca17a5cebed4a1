//! What may be shown of a session.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use session_core::{
    AssuranceLevel, DeviceKind, EndReason, SessionId, SessionKind, SessionRecord, SessionStatus, Timestamp,
    UserId,
};

/// A session as its owner or an operator may see it: no secret, no data. Times are milliseconds
/// since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionInfo {
    /// The public id.
    pub id: SessionId,
    /// The user.
    pub user_id: Option<UserId>,
    /// The user's name.
    pub username: Option<String>,
    /// What it is for.
    pub kind: SessionKind,
    /// Active, expired, revoked or logged out.
    pub status: SessionStatus,
    /// When it began.
    pub created_at: Timestamp,
    /// When the user last authenticated.
    pub authenticated_at: Timestamp,
    /// When it was last used, within a minute.
    pub last_seen_at: Timestamp,
    /// When it ends unless it is used: the earlier of both deadlines.
    pub expires_at: Timestamp,
    /// Whether the user asked to be remembered.
    pub remembered: bool,
    /// How sure it is who the user is.
    pub assurance: AssuranceLevel,
    /// The user's own name for the device.
    pub label: Option<String>,
    /// The client at sign-in.
    pub client: ClientView,
    /// How it ended, if it did.
    pub ended: Option<EndView>,
}

/// The client of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClientView {
    /// The address at sign-in.
    pub ip: Option<IpAddr>,
    /// The address of the last use.
    pub last_ip: Option<IpAddr>,
    /// The user agent. Untrusted text: encode it for where it is shown.
    pub user_agent: Option<String>,
    /// The kind of device.
    pub device_kind: Option<DeviceKind>,
    /// The browser's name.
    pub browser: Option<String>,
    /// The operating system's name.
    pub os: Option<String>,
    /// The country's two-letter code.
    pub country_code: Option<String>,
    /// The city.
    pub city: Option<String>,
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndView {
    /// Why.
    pub reason: EndReason,
    /// When.
    pub at: Timestamp,
    /// By whom: `system`, `user:<id>` or `admin:<name>`.
    pub by: String,
}

impl SessionInfo {
    pub(crate) fn new(record: &SessionRecord, now: Timestamp, step_up_lifetime: Option<Duration>) -> Self {
        Self {
            id: record.id,
            user_id: record.user_id.clone(),
            username: record.username.clone(),
            kind: record.kind,
            status: record.status(now),
            created_at: record.created_at,
            authenticated_at: record.authenticated_at,
            last_seen_at: record.last_seen_at,
            expires_at: record.expiry(now).deadline().at,
            remembered: record.remembered,
            assurance: record.assurance_at(now, step_up_lifetime),
            label: record.label.clone(),
            client: ClientView::new(record),
            ended: record.ended().map(|ended| EndView {
                reason: ended.reason,
                at: ended.at,
                by: ended.by.to_string(),
            }),
        }
    }
}

impl ClientView {
    fn new(record: &SessionRecord) -> Self {
        let client = &record.client;
        Self {
            ip: client.ip,
            last_ip: record.last_client.ip,
            user_agent: client.user_agent.clone(),
            device_kind: client.device.kind,
            browser: client.device.browser.clone(),
            os: client.device.os.clone(),
            country_code: client.geo.country_code.clone(),
            city: client.geo.city.clone(),
        }
    }
}
