//! A table with data as after months of use.

use std::fmt::Write;

use session_conformance::fixtures::NOW;
use session_core::{DeviceId, SessionId, SystemRandom, Timestamp, UserId};

use super::explain::Explained;
use crate::support::EmptyDatabase;

pub(super) const ROWS: i64 = 100_000;
const USERS: i64 = 20_000;
const DAY: i64 = 24 * 3_600_000;
/// Rows of one `INSERT`.
const CHUNK: i64 = 2_000;

/// The values that the statements ask for.
pub(super) struct Sample {
    /// Has a few sessions.
    pub(super) user: UserId,
    /// Has 5,000, of which 5 are active.
    pub(super) heavy: UserId,
    pub(super) device: DeviceId,
    /// Live sessions.
    pub(super) ids: Vec<SessionId>,
}

/// Returns the time a number of days ago.
pub(super) fn days_ago(days: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - days * DAY)
}

/// Fills a table with 100,000 sessions of 20,000 users from 90 days. One in five is active, and a
/// hundred are past their deadline.
pub(super) async fn fill<D: Explained>(database: &EmptyDatabase<D>, table: &str) -> Sample {
    let heavy = UserId::try_from("heavy").unwrap();
    let device = DeviceId::mint(&SystemRandom).unwrap();
    let mut sample = Sample { user: UserId::try_from("user-7").unwrap(), heavy, device, ids: Vec::new() };
    for first in (0..ROWS).step_by(usize::try_from(CHUNK).unwrap()) {
        let rows: Vec<_> = (first..first + CHUNK).map(|row| session::<D>(row, &mut sample)).collect();
        let text = format!(
            "INSERT INTO {table} (id, revision, user_id, username, kind, ended_reason, ended_at, ended_by, created_at, \
             authenticated_at, last_seen_at, expires_at, idle_timeout, remembered, ip_address, user_agent, device_id, data) \
             VALUES {}",
            rows.join(",")
        );
        database.script(&text).await;
    }
    sample
}

fn session<D: Explained>(row: i64, sample: &mut Sample) -> String {
    let is_heavy = row % 20 == 0;
    let user = if is_heavy {
        sample.heavy.clone()
    } else {
        UserId::try_from(format!("user-{}", row * 7_919 % USERS)).unwrap()
    };
    let created = days_ago(90).as_millis() + row * (90 * DAY / ROWS);
    let id = SessionId::mint(Timestamp::from_millis(created), Some(&user), &SystemRandom).unwrap();
    // Most active sessions were created in the last fifth of the time.
    let is_recent = row > ROWS * 4 / 5;
    let is_active =
        if is_heavy { row % 20_000 == 0 } else { row * 31 % 100 < if is_recent { 74 } else { 8 } };
    let is_late = row % 211 == 0;
    let lasts = if is_late { DAY } else { 120 * DAY };
    let (reason, ended_at, by) = if is_active {
        sample.ids.extend((!is_late).then_some(id));
        ("NULL", "NULL".to_owned(), "NULL")
    } else {
        let ended = created + row * 37 % (9 * DAY);
        ("'logged_out'", ended.min(NOW.as_millis()).to_string(), "'system'")
    };
    let mut text = String::new();
    let id = D::binary(id.as_bytes());
    let device = D::binary(sample.device.as_bytes());
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    write!(
        text,
        "({id}, 1, '{user}', '{user}@example.com', 'web', {reason}, {ended_at}, {by}, {created}, {created}, {created}, \
         {}, NULL, FALSE, '192.0.2.{}', '{agent}', {device}, {})",
        created + lasts,
        row % 256,
        D::NO_DATA,
    )
    .unwrap();
    text
}
