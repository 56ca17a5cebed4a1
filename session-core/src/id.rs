//! Public identifiers: sessions, users, devices, and the shard shared by a user's sessions.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use uuid::{Uuid, Variant};

use crate::error::{Error, Result};
use crate::limits::MAX_USER_ID;
use crate::random::SecureRandom;
use crate::time::Timestamp;

/// The public identifier of a session: a time-ordered UUID of version 7 ([RFC 9562 section
/// 5.7](https://www.rfc-editor.org/rfc/rfc9562#section-5.7)).
///
/// It is safe in logs, lists and URLs, because it grants no access: only the secret half of the
/// [`SessionToken`](crate::SessionToken) does. It never changes during a session's life and is the
/// primary key on every backend.
///
/// The last 10 bits are the user's [`Shard`], so that all sessions of one user can be kept in one
/// place. 64 bits are random. The only accepted text form is lower-case and hyphenated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

impl SessionId {
    /// Creates a new id for a session that begins now.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the generator fails,
    /// [`Invalid`](crate::ErrorKind::Invalid) if the time does not fit into 48 bits of milliseconds
    /// (1970 to 10889).
    pub fn mint(now: Timestamp, user: Option<&UserId>, random: &dyn SecureRandom) -> Result<Self> {
        let millis = u64::try_from(now.as_millis()).ok().filter(|millis| *millis < 1 << 48);
        let millis = millis.ok_or_else(|| Error::invalid("mint", "time is outside of 1970..=10889"))?;
        let mut bytes = [0; 16];
        random.fill(&mut bytes[6..])?;
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Ok(Self(bytes).with_shard_of(user))
    }

    /// Computes the id of a session whose identity comes from another system: a UUID of version 8
    /// ([RFC 9562 section 5.8](https://www.rfc-editor.org/rfc/rfc9562#section-5.8)) from the
    /// SHA-256 of a purpose and a verified external name, with the user's shard. The same arguments
    /// always give the same id, and different ones never do.
    #[must_use]
    pub fn derive(purpose: &str, external: &[u8], user: Option<&UserId>) -> Self {
        let mut hash = Sha256::new();
        for part in [purpose.as_bytes(), user.map(UserId::as_str).unwrap_or_default().as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(external);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes).with_shard_of(user)
    }

    fn with_shard_of(mut self, user: Option<&UserId>) -> Self {
        if let Some(user) = user {
            let [high, low] = user.shard().0.to_be_bytes();
            self.0[14] = (self.0[14] & 0xfc) | high;
            self.0[15] = low;
        }
        self
    }

    /// Creates an id from the bytes that a store or a client holds. Never mints an id: a lookup of
    /// an id that was never created finds nothing.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) unless the bytes are a UUID of version 7 or 8 in the
    /// RFC 9562 variant.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self> {
        let uuid = Uuid::from_bytes(bytes);
        match (uuid.get_variant(), uuid.get_version_num()) {
            (Variant::RFC4122, 7 | 8) => Ok(Self(bytes)),
            _ => Err(Error::invalid("parse", "a session id is a UUID of version 7 or 8")),
        }
    }

    /// Returns the 16 bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the shard; equal to the shard of the session's user, if it has one.
    #[must_use]
    pub fn shard(&self) -> Shard {
        Shard(u16::from_be_bytes([self.0[14] & 0x03, self.0[15]]))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_bytes(self.0).hyphenated(), f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_bytes(parse_uuid(text)?)
    }
}

/// Accepts only one spelling: 36 characters, hyphenated, lower case.
pub(crate) fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let malformed = || Error::invalid("parse", "expected a lower-case hyphenated UUID");
    let uuid = Uuid::try_parse(text).map_err(|_| malformed())?;
    let mut buffer = Uuid::encode_buffer();
    if uuid.hyphenated().encode_lower(&mut buffer) == text { Ok(uuid.into_bytes()) } else { Err(malformed()) }
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

serde_as_text!(SessionId);
serde_as_text!(DeviceId);
serde_as_text!(UserId);

/// One of 1,024 groups of users.
///
/// A session id and the id of its user yield the same shard. So a backend that partitions by shard
/// (with a hash tag on Redis Cluster, a partition key elsewhere) keeps all sessions of a user
/// together and can change them atomically.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// The number of shards.
    pub const COUNT: u16 = 1024;

    /// Returns every shard in numerical order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator {
        (0..Self::COUNT).map(Self)
    }

    /// Returns the number of the shard, below [`COUNT`](Self::COUNT).
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0
    }
}

/// The application's identifier of a user: 1 to 255 bytes of text without NUL, compared byte by
/// byte.
///
/// Numbers convert with `From`, text with `TryFrom` or `parse`.
///
/// # Examples
/// ```
/// use session_core::UserId;
///
/// let numbered = UserId::from(42_u64);
/// let named: UserId = "42".parse()?;
/// assert_eq!(numbered, named);
/// assert!("".parse::<UserId>().is_err());
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the shard of all sessions of this user: the first 10 bits of the SHA-256 of the id.
    #[must_use]
    pub fn shard(&self) -> Shard {
        let digest = Sha256::digest(self.0.as_bytes());
        Shard(u16::from_be_bytes([digest[0], digest[1]]) >> 6)
    }
}

/// Refuses text that some backend cannot keep: empty or long text, and NUL, which PostgreSQL's text
/// type cannot hold.
fn check_user_id(text: &str) -> Result<&str> {
    match text {
        "" => Err(Error::invalid("parse", "a user id is at least 1 byte")),
        _ if text.len() > MAX_USER_ID => Err(Error::invalid("parse", "a user id is at most 255 bytes")),
        _ if text.contains('\0') => Err(Error::invalid("parse", "a user id contains no NUL")),
        _ => Ok(text),
    }
}

impl TryFrom<&str> for UserId {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        check_user_id(text).map(|text| Self(text.into()))
    }
}

impl TryFrom<String> for UserId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::try_from(text.as_str())
    }
}

impl FromStr for UserId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::try_from(text)
    }
}

macro_rules! user_id_from_number {
    ($($number:ty),*) => {$(
        impl From<$number> for UserId {
            fn from(number: $number) -> Self {
                Self(number.to_string().into())
            }
        }
    )*};
}

user_id_from_number!(i32, i64, u32, u64, u128);

impl Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A browser or app installation, identified by its long-lived device cookie: a random UUID of
/// version 4.
///
/// It identifies but does not authenticate: it groups a user's sessions by device and distinguishes
/// a new device from a known one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; 16]);

impl DeviceId {
    /// Creates a new id.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the generator fails.
    pub fn mint(random: &dyn SecureRandom) -> Result<Self> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Ok(Self(bytes))
    }

    /// Creates an id from the bytes that a store or a client holds.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the 16 bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_bytes(self.0).hyphenated(), f)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeviceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse_uuid(text).map(Self)
    }
}

#[cfg(test)]
mod tests;
