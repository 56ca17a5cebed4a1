//! Tests of the interaction between the parts of the model.

mod data;
mod error;
mod expiry;
mod record;

use std::time::Duration;

use crate::{SessionId, SessionRecord, SystemRandom, Timestamp, UserId};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub(crate) fn after(millis: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_millis(millis))
}

/// Returns a session of "ann" that begins now and lasts an hour.
pub(crate) fn record() -> SessionRecord {
    let user: UserId = "ann".parse().unwrap();
    let id = SessionId::mint(NOW, Some(&user), &SystemRandom).unwrap();
    let mut record = SessionRecord::new(id, NOW, after(3_600_000));
    record.user_id = Some(user);
    record
}
