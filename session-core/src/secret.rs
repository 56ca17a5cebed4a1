//! The stored form of a secret: its hash, with or without a pepper.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::random::SecureRandom;
use crate::token::Secret;

type HmacSha256 = Hmac<Sha256>;

/// The purpose of a secret. A hash for one purpose never matches for another, so a refresh token
/// cannot be presented as a session token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretPurpose {
    /// The refresh half of a pair.
    Refresh,
    /// The session token itself.
    Session,
}

/// The identifier of a pepper key, stored with each hash that uses the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PepperId(NonZeroU32);

impl PepperId {
    /// Creates an identifier. Zero is excluded: it stands for "no pepper" in stored hashes.
    #[must_use]
    pub const fn new(id: NonZeroU32) -> Self {
        Self(id)
    }
}

/// The stored form of a secret: SHA-256, or HMAC-SHA-256 with a pepper key.
///
/// Both cover the purpose, the secret's format, the session id and the secret, so a hash that is
/// moved to another row matches nothing. Equality takes constant time; `Debug` prints the key's
/// identifier only.
#[derive(Clone)]
pub struct SecretHash {
    key: Option<PepperId>,
    digest: [u8; 32],
}

impl SecretHash {
    /// The length of the stored form: 4 bytes of key identifier, 32 bytes of digest.
    pub const LEN: usize = 36;

    /// Returns the stored form.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let key = self.key.map_or(0, |key| key.0.get());
        bytes[..4].copy_from_slice(&key.to_be_bytes());
        bytes[4..].copy_from_slice(&self.digest);
        bytes
    }

    /// Parses the stored form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [a, b, c, d, digest @ ..] = bytes;
        Self { key: NonZeroU32::new(u32::from_be_bytes([a, b, c, d])).map(PepperId), digest }
    }

    /// Returns the key of the hash, `None` for plain SHA-256.
    #[must_use]
    pub fn key(&self) -> Option<PepperId> {
        self.key
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && bool::from(self.digest.ct_eq(&other.digest))
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "SecretHash(pepper {}, ***)", key.0),
            None => f.write_str("SecretHash(***)"),
        }
    }
}

/// The result of comparing a presented secret with a stored hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretMatch {
    /// The secret matches, and the hash uses the current key.
    Match,
    /// The secret matches. The hash uses an older key or none and should be replaced on the next
    /// write.
    MatchOutdated,
    /// The secret does not match, or the key of the hash is retired.
    Mismatch,
    /// The key of the hash is not in the ring, so the secret cannot be compared. A node that does
    /// not have the new key yet must answer "unavailable", not "signed out".
    UnknownKey,
}

/// A set of pepper keys: one that hashes, any number that still verify, and the identifiers of
/// retired keys.
///
/// A pepper is a key that the database does not hold. With a pepper, a stolen dump cannot be used
/// to test guesses, and a forged row grants no access.
///
/// # Rotation without downtime
/// 1. Give every node a ring with the old key active and the new one as
///    [`with_previous`](Self::with_previous).
/// 2. Give every node a ring with the new key active and the old one as previous. Sessions migrate
///    to the new key as they are used.
/// 3. When the old key is no longer needed, replace it by [`with_retired`](Self::with_retired).
///    Sessions that still use it are signed out.
///
/// # From no pepper to a pepper
/// Hashes from before the first pepper match, and migrate as their sessions are used. Until the
/// migration ends, a party that can write to the database can still forge a row that grants access.
/// [`with_plain_retired`](Self::with_plain_retired) ends the migration and signs out the sessions
/// that were not used in the meantime.
/// # Examples
/// ```
/// use std::num::NonZeroU32;
/// use session_core::{PepperId, PepperRing, SecretHasher};
///
/// let (one, two) = (PepperId::new(NonZeroU32::MIN), PepperId::new(NonZeroU32::new(2).unwrap()));
/// let ring = PepperRing::new(two, &[2; 32])?.with_previous(one, &[1; 32])?;
/// let hasher = SecretHasher::peppered(ring);
/// # Ok::<(), session_core::Error>(())
/// ```
pub struct PepperRing {
    /// The first key is the active one.
    keys: Vec<(PepperId, Zeroizing<Vec<u8>>)>,
    retired: BTreeSet<PepperId>,
    /// Whether hashes without a key match nothing.
    plain_retired: bool,
}

impl PepperRing {
    /// The minimum length of a key, in bytes: the length of the digest ([RFC 2104 section
    /// 3](https://www.rfc-editor.org/rfc/rfc2104#section-3)).
    pub const MIN_KEY: usize = 32;

    /// Creates a ring with the active key, which hashes.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a key shorter than 32 bytes.
    pub fn new(active: PepperId, key: &[u8]) -> Result<Self> {
        Self { keys: Vec::new(), retired: BTreeSet::new(), plain_retired: false }.with_previous(active, key)
    }

    /// Adds a key that only verifies.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a key shorter than 32 bytes or an identifier that
    /// is in use.
    pub fn with_previous(mut self, id: PepperId, key: &[u8]) -> Result<Self> {
        if key.len() < Self::MIN_KEY {
            return Err(Error::invalid("pepper", "a pepper key is at least 32 bytes"));
        }
        if self.find(id).is_some() || self.retired.contains(&id) {
            return Err(Error::invalid("pepper", "a pepper key's identifier is already in use"));
        }
        self.keys.push((id, Zeroizing::new(key.to_vec())));
        Ok(self)
    }

    /// Marks a key as retired: hashes that use it match nothing any more.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if a key with that identifier is in the ring.
    pub fn with_retired(mut self, id: PepperId) -> Result<Self> {
        if self.find(id).is_some() {
            return Err(Error::invalid("pepper", "a retired key cannot be in the ring"));
        }
        self.retired.insert(id);
        Ok(self)
    }

    /// Ends the migration from hashes without a pepper: they match nothing any more.
    #[must_use]
    pub const fn with_plain_retired(mut self) -> Self {
        self.plain_retired = true;
        self
    }

    fn find(&self, id: PepperId) -> Option<&[u8]> {
        self.keys.iter().find(|(name, _)| *name == id).map(|(_, key)| key.as_slice())
    }
}

impl fmt::Debug for PepperRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.keys.iter().map(|(name, _)| name).collect();
        f.debug_struct("PepperRing")
            .field("keys", &names)
            .field("retired", &self.retired)
            .field("plain_retired", &self.plain_retired)
            .finish()
    }
}

/// Hashes secrets and verifies presented ones.
#[derive(Debug, Default)]
pub struct SecretHasher {
    ring: Option<PepperRing>,
}

impl SecretHasher {
    /// Hashes with SHA-256. That suffices for secrets of 122 bits and more: they cannot be guessed,
    /// with or without a dump.
    #[must_use]
    pub const fn plain() -> Self {
        Self { ring: None }
    }

    /// Hashes with HMAC-SHA-256 under the ring's active key. Plain hashes that were stored earlier
    /// still match, and migrate, until [`PepperRing::with_plain_retired`] ends that.
    #[must_use]
    pub const fn peppered(ring: PepperRing) -> Self {
        Self { ring: Some(ring) }
    }

    fn active(&self) -> Option<(PepperId, &[u8])> {
        let (id, key) = self.ring.as_ref()?.keys.first()?;
        Some((*id, key.as_slice()))
    }

    /// Returns the hash to store for a secret.
    #[must_use]
    pub fn hash(&self, purpose: SecretPurpose, id: SessionId, secret: &Secret) -> SecretHash {
        let message = Message::new(purpose, id, secret);
        match self.active() {
            Some((key_id, key)) => SecretHash { key: Some(key_id), digest: message.keyed(key) },
            None => SecretHash { key: None, digest: message.plain() },
        }
    }

    /// Compares a presented secret with a stored hash, in constant time.
    #[must_use]
    pub fn verify(
        &self,
        purpose: SecretPurpose,
        id: SessionId,
        secret: &Secret,
        stored: &SecretHash,
    ) -> SecretMatch {
        let message = Message::new(purpose, id, secret);
        let digest = match stored.key {
            None if self.ring.as_ref().is_some_and(|ring| ring.plain_retired) => {
                return SecretMatch::Mismatch;
            }
            None => message.plain(),
            Some(key) => match self.ring.as_ref().and_then(|ring| ring.find(key)) {
                Some(key) => message.keyed(key),
                None if self.is_retired(key) => return SecretMatch::Mismatch,
                None => return SecretMatch::UnknownKey,
            },
        };
        let current = stored.key == self.active().map(|(id, _)| id);
        match (bool::from(digest.ct_eq(&stored.digest)), current) {
            (true, true) => SecretMatch::Match,
            (true, false) => SecretMatch::MatchOutdated,
            (false, _) => SecretMatch::Mismatch,
        }
    }

    fn is_retired(&self, key: PepperId) -> bool {
        self.ring.as_ref().is_some_and(|ring| ring.retired.contains(&key))
    }
}

/// The hashed message, `tag (1) | session id (16) | secret (16..=32)`: at most 49 bytes, one block
/// of SHA-256.
struct Message<'a> {
    tag: u8,
    id: SessionId,
    secret: &'a Secret,
}

impl<'a> Message<'a> {
    fn new(purpose: SecretPurpose, id: SessionId, secret: &'a Secret) -> Self {
        let purpose = match purpose {
            SecretPurpose::Session => 0x10,
            SecretPurpose::Refresh => 0x20,
        };
        let format = match secret.format() {
            crate::SecretFormat::Urlsafe256 => 1,
            crate::SecretFormat::Hex160 => 2,
            crate::SecretFormat::Uuid => 3,
        };
        Self { tag: purpose | format, id, secret }
    }

    fn plain(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([self.tag]);
        hash.update(self.id.as_bytes());
        hash.update(self.secret.bytes());
        hash.finalize().into()
    }

    fn keyed(&self, key: &[u8]) -> [u8; 32] {
        let mut mac = keyed_mac(key);
        mac.update(&[self.tag]);
        mac.update(self.id.as_bytes());
        mac.update(self.secret.bytes());
        mac.finalize().into_bytes().into()
    }
}

#[allow(clippy::expect_used, reason = "HMAC accepts keys of every length, RFC 2104 section 2")]
fn keyed_mac(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC accepts keys of every length")
}

/// The random value from which, with the previous secret, the current secret is computed.
#[derive(Clone, PartialEq, Eq)]
pub struct RotationSalt([u8; 32]);

impl RotationSalt {
    /// Creates a new salt.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the generator fails.
    pub fn mint(random: &dyn SecureRandom) -> Result<Self> {
        let mut bytes = [0; 32];
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Creates a salt from its stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Computes the successor of a secret: `HMAC-SHA-256(key = salt, message = old secret)`.
    ///
    /// The old secret and the salt always give the same successor, so parallel requests converge.
    /// Neither the database (which has the salt) nor the client (which has the old secret) can
    /// compute it alone.
    #[must_use]
    pub fn successor(&self, old: &Secret) -> Secret {
        let mut mac = keyed_mac(&self.0);
        mac.update(old.bytes());
        let material = Zeroizing::new(mac.finalize().into_bytes().into());
        Secret::from_material(&material, old.format())
    }

    /// Computes the session secret that is issued together with the [successor](Self::successor) of
    /// a refresh secret. A one-byte prefix of the message makes the two differ.
    #[must_use]
    pub fn companion(&self, old: &Secret) -> Secret {
        let mut mac = keyed_mac(&self.0);
        mac.update(&[1]);
        mac.update(old.bytes());
        let material = Zeroizing::new(mac.finalize().into_bytes().into());
        Secret::from_material(&material, old.format())
    }
}

impl fmt::Debug for RotationSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotationSalt(***)")
    }
}

#[cfg(test)]
mod tests;
