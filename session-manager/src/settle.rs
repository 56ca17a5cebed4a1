//! What becomes of a replaced secret: it settles, or it is taken back.
//!
//! An operation that replaces the secret at once may change other things with it: the lifetime, an
//! authentication, the version of the credentials. If its caller does not learn that it was
//! written, it did not happen: the record keeps what was there before, until the replacement
//! settles.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use session_core::{RefreshState, SecretState, SessionData, SessionRecord, Successor, Timestamp};

use crate::data::DataCodec;

const KEY: &str = "session-kit.undo";

/// What an operation changed besides the secrets, as it was before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Undo {
    expires_at: Timestamp,
    idle_timeout: Option<Duration>,
    remembered: bool,
    credential_version: Option<u64>,
    authenticated_at: Timestamp,
    /// The end of the session token of a pair, and of its refresh token.
    access_until: Option<Timestamp>,
    refresh_until: Option<Timestamp>,
}

impl Undo {
    fn of(record: &SessionRecord) -> Self {
        Self {
            expires_at: record.expires_at,
            idle_timeout: record.idle_timeout,
            remembered: record.remembered,
            credential_version: record.credential_version,
            authenticated_at: record.authenticated_at,
            access_until: record.secret.as_ref().and_then(|secret| secret.expires_at),
            refresh_until: record.refresh.as_ref().map(|refresh| refresh.expires_at),
        }
    }

    fn apply(self, record: &mut SessionRecord) {
        record.expires_at = self.expires_at;
        record.idle_timeout = self.idle_timeout;
        record.remembered = self.remembered;
        record.credential_version = self.credential_version;
        record.authenticated_at = self.authenticated_at;
        if let Some(secret) = &mut record.secret {
            secret.expires_at = self.access_until;
        }
        if let (Some(refresh), Some(until)) = (&mut record.refresh, self.refresh_until) {
            refresh.expires_at = until;
        }
    }
}

/// Whether the data may hold what an operation changed. Most data does not, and is not decoded.
fn may_hold_undo(record: &SessionRecord) -> bool {
    record.data.windows(KEY.len()).any(|part| part == KEY.as_bytes())
}

/// Takes what is remembered of the state before out of a record.
fn take_undo(record: &mut SessionRecord, codec: DataCodec) -> Option<Undo> {
    if !may_hold_undo(record) {
        return None;
    }
    // Data that cannot be read is left alone: the secrets matter more.
    let mut data = codec.decode(&record.data).ok()?;
    let undo = data.get(KEY).ok().flatten();
    data.remove(KEY);
    record.data = codec.encode_with_room(&data).ok()?;
    undo
}

/// Remembers in a changed record what it changed of the stored one, until the change settles.
pub(crate) fn remember_undo(
    next: &mut SessionRecord,
    stored: &SessionRecord,
    codec: DataCodec,
) -> session_core::Result<()> {
    let before = Undo::of(stored);
    take_undo(next, codec);
    if before == Undo::of(next) {
        return Ok(());
    }
    let mut data: SessionData = codec.decode(&next.data)?;
    data.insert(KEY, &before)?;
    next.data = codec.encode_with_room(&data)?;
    Ok(())
}

/// The secrets of both halves of a pair, or the session's only one.
#[inline]
fn secrets(record: &SessionRecord) -> impl Iterator<Item = &SecretState> {
    record.secret.iter().chain(record.refresh.as_ref().map(|refresh| &refresh.secret))
}

/// Whether the current secret, or that of the pair's other half, was not presented since it
/// replaced another one.
#[inline]
pub(crate) fn is_unsettled(record: &SessionRecord) -> bool {
    secrets(record)
        .filter_map(SecretState::successor)
        .any(|successor| matches!(successor, Successor::Unpresented | Successor::Unconfirmed))
}

/// The record after its current secrets were presented, or confirmed by their writer.
pub(crate) fn settled(record: &SessionRecord, now: Timestamp, codec: DataCodec) -> SessionRecord {
    let mut next = record.clone();
    take_undo(&mut next, codec);
    next.secret = record.secret.as_ref().map(|secret| secret.confirmed(now));
    next.refresh = record.refresh.as_ref().map(|refresh| refresh.confirmed(now));
    next
}

/// The record as it was before an unconfirmed replacement.
pub(crate) fn restored(record: &SessionRecord, codec: DataCodec) -> SessionRecord {
    let mut next = record.clone();
    let replaced_at = secrets(record)
        .filter_map(|secret| secret.previous.as_ref())
        .filter(|previous| previous.successor == Successor::Unconfirmed)
        .map(|previous| previous.rotated_at)
        .min();
    next.secret = record.secret.as_ref().map(SecretState::restored);
    next.refresh = record.refresh.as_ref().map(RefreshState::restored);
    let undo = take_undo(&mut next, codec);
    if let Some(replaced_at) = replaced_at {
        // An authentication that was recorded with the replacement has its time.
        next.auth.retain(|event| event.at != replaced_at || event.at == record.created_at);
        if let Some(undo) = undo {
            undo.apply(&mut next);
        }
    }
    next
}
