//! The bytes of an entry.
//!
//! Fields that are checked before the rest is parsed have fixed positions at the beginning
//! (`scripts/cache_entry.lua` reads the same table):
//!
//! | bytes, from 0 | what |
//! |---|---|
//! | 0, 1 | format 2; `R`ecord or `T`ombstone |
//! | 2, 10 | revision, time of verification; 8 bytes like all numbers but the key's name |
//! | 18 | the time to live that the entry was given, in milliseconds |
//! | 26, 42 | scope, session id; 16 bytes each |
//! | 58 | name of the key that authenticates the entry, 4 bytes; 0 for none |
//! | 62 | the record as in `record.rs`, or the end |
//! | then | the MAC, if there is a key, over the name of the entry's key and all bytes before the MAC |
//!
//! All numbers are big-endian.

use std::sync::Arc;

use session_core::{
    CacheBody, CacheEntry, Error, Result, Revision, Scope, SessionId, SessionRecord, SessionState, Timestamp,
};

use super::keys::{MAC, MacKeys};
use crate::error::NAME;
use crate::record::{self, Part, Unreadable};

/// The format that is written. Entries in another format are misses.
const FORMAT: u8 = 2;

/// Length of the fields at fixed positions.
const HEAD: usize = 62;

const RECORD: u8 = b'R';
const TOMBSTONE: u8 = b'T';

/// A stored entry.
#[derive(Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) entry: CacheEntry,
    /// In milliseconds.
    pub(super) ttl: u64,
}

/// Why a value is not the requested entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The entry belongs to another session or scope.
    Another,
    Unreadable(Unreadable),
}

impl Refusal {
    pub(super) fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::Another => Unreadable("an entry of another session or scope"),
            Self::Unreadable(unreadable) => unreadable,
        }
        .into_error(NAME, operation)
    }
}

impl<U: Into<Unreadable>> From<U> for Refusal {
    fn from(unreadable: U) -> Self {
        Self::Unreadable(unreadable.into())
    }
}

/// Serializes an entry that is stored under a key for `ttl` milliseconds.
///
/// # Errors
/// `Invalid` for an entry that no reader would accept, `Unsupported` for a record of a later
/// version.
pub(super) fn write(
    entry: &CacheEntry,
    ttl: u64,
    key: &str,
    keys: Option<&MacKeys>,
    operation: &'static str,
) -> Result<Vec<u8>> {
    let (kind, body) = match &entry.body {
        CacheBody::Record(record) => {
            if !is_consistent(record, entry.id, entry.revision) {
                return Err(Error::invalid(operation, "the entry contradicts its record"));
            }
            record.check()?;
            (RECORD, record::write(record, record.revision)?)
        }
        CacheBody::Tombstone(ended) => (TOMBSTONE, record::write_end(ended)),
        _ => {
            return Err(Error::unsupported(NAME, operation).with_detail("an entry of a later version"));
        }
    };
    let mut bytes = Vec::with_capacity(HEAD + body.len() + MAC);
    bytes.extend([FORMAT, kind]);
    bytes.extend(entry.revision.get().to_be_bytes());
    bytes.extend(entry.verified_at.as_millis().to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(entry.scope.as_bytes());
    bytes.extend(entry.id.as_bytes());
    bytes.extend(keys.map_or(0, MacKeys::active).to_be_bytes());
    bytes.extend(body);
    if let Some(keys) = keys {
        let mac = keys.sign(key, &bytes);
        bytes.extend(mac);
    }
    Ok(bytes)
}

/// Parses the value under the key of a scope and an id. With MAC keys, one of them must have
/// authenticated it. Without MAC keys, no value is authenticated.
pub(super) fn read(
    bytes: &[u8],
    key: &str,
    (scope, id): (Scope, SessionId),
    keys: Option<&MacKeys>,
) -> Result<Stored, Refusal> {
    let head = bytes.first_chunk::<HEAD>().ok_or(Unreadable("the stored entry is too short"))?;
    if head[0] != FORMAT {
        return Err(Unreadable("the stored entry has another format").into());
    }
    if &head[26..42] != scope.as_bytes() || &head[42..58] != id.as_bytes() {
        return Err(Refusal::Another);
    }
    let body = &authenticated(bytes, u32::from_be_bytes(array(head, 58)), key, keys)?[HEAD..];
    let revision = Revision::new(u64::from_be_bytes(array(head, 2))).map_err(Unreadable::from)?;
    let verified_at = Timestamp::from_millis(i64::from_be_bytes(array(head, 10)));
    let entry = match head[1] {
        RECORD => {
            let record = record::read(body, Part::Whole)?;
            if !is_consistent(&record, id, revision) {
                return Err(Unreadable("the stored entry contradicts its record").into());
            }
            CacheEntry::of(scope, Arc::new(record), verified_at)
        }
        TOMBSTONE => {
            let mut record = SessionRecord::new(id, verified_at, verified_at).with_revision(revision);
            record.state = SessionState::Ended(record::read_end(body)?);
            CacheEntry::of(scope, Arc::new(record), verified_at)
        }
        _ => return Err(Unreadable("the stored entry is of an unknown kind").into()),
    };
    Ok(Stored { entry, ttl: u64::from_be_bytes(array(head, 18)) })
}

/// Checks the MAC, if there is one, and returns the bytes before it.
fn authenticated<'b>(
    bytes: &'b [u8],
    name: u32,
    key: &str,
    keys: Option<&MacKeys>,
) -> Result<&'b [u8], Unreadable> {
    if name == 0 {
        return if keys.is_none() {
            Ok(bytes)
        } else {
            Err(Unreadable("the stored entry is not authenticated"))
        };
    }
    let end = bytes.len().checked_sub(MAC).filter(|end| *end >= HEAD);
    let (content, mac) = bytes.split_at(end.ok_or(Unreadable("the stored entry is cut off"))?);
    match keys {
        Some(keys) if !keys.verify(name, key, content, mac) => {
            Err(Unreadable("the stored entry is not authentic, or of a key that is not known"))
        }
        _ => Ok(content),
    }
}

/// Returns true if an entry and its record agree.
fn is_consistent(record: &SessionRecord, id: SessionId, revision: Revision) -> bool {
    record.id == id && record.revision == revision && record.ended().is_none()
}

/// Returns the bytes at a position. Callers name positions inside the head.
fn array<const N: usize>(head: &[u8; HEAD], from: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&head[from..from + N]);
    array
}
