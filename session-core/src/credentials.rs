//! What a record keeps of the secrets of its session.

use crate::error::{Error, Result};
use crate::limits::MAX_SPENT;
use crate::secret::{RotationSalt, SecretHash};
use crate::time::Timestamp;

/// The first byte of the stored forms. Another layout gets another number.
const LAYOUT: u8 = 1;

/// Bits of the second byte of a stored [`SecretState`]: what follows the hash.
const HAS_EXPIRY: u8 = 1;
const HAS_PREVIOUS: u8 = 2;

/// The stored half of a secret: the current hash, and what is needed to recognise the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
// The hash first, see `SessionRecord`.
#[repr(C)]
pub struct SecretState {
    /// The hash of the secret that counts.
    pub current: SecretHash,
    /// When the secret stops to count, `None` for as long as the session lives. Set for the short-lived half of a pair.
    pub expires_at: Option<Timestamp>,
    /// The secret that it replaced.
    pub previous: Option<PreviousSecret>,
}

impl SecretState {
    /// Returns the state after the secret was replaced by its successor, which its holder can compute from the salt.
    #[must_use]
    pub fn replaced(&self, current: SecretHash, salt: RotationSalt, at: Timestamp) -> Self {
        let previous = PreviousSecret::new(self.current.clone(), salt, at);
        Self { current, expires_at: self.expires_at, previous: Some(previous) }
    }

    /// Makes the state of a new secret.
    #[must_use]
    pub const fn new(current: SecretHash) -> Self {
        Self { current, expires_at: None, previous: None }
    }

    /// Returns the stored form, for backends without a richer one: at most 122 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(122);
        self.write(&mut bytes);
        bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for anything that [`to_bytes`](Self::to_bytes) does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let state = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(state)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let expiry = if self.expires_at.is_some() { HAS_EXPIRY } else { 0 };
        let previous = if self.previous.is_some() { HAS_PREVIOUS } else { 0 };
        bytes.extend([LAYOUT, expiry | previous]);
        bytes.extend(self.current.to_bytes());
        bytes.extend(self.expires_at.iter().flat_map(|at| at.as_millis().to_be_bytes()));
        if let Some(PreviousSecret { hash, salt, rotated_at }) = &self.previous {
            bytes.extend(hash.to_bytes());
            bytes.extend(salt.as_bytes());
            bytes.extend(rotated_at.as_millis().to_be_bytes());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let [layout, flags] = reader.take()?;
        if layout != LAYOUT || flags & !(HAS_EXPIRY | HAS_PREVIOUS) != 0 {
            return Err(malformed());
        }
        let current = reader.hash()?;
        let expires_at = (flags & HAS_EXPIRY != 0).then(|| reader.time()).transpose()?;
        let previous = (flags & HAS_PREVIOUS != 0).then(|| reader.previous()).transpose()?;
        Ok(Self { current, expires_at, previous })
    }
}

/// A replaced secret. Within the grace period after `rotated_at` its holder gets the same successor again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreviousSecret {
    /// Its hash.
    pub hash: SecretHash,
    /// What turns it into its successor.
    pub salt: RotationSalt,
    /// When it was replaced. Never moved.
    pub rotated_at: Timestamp,
}

impl PreviousSecret {
    /// Describes a replaced secret.
    #[must_use]
    pub const fn new(hash: SecretHash, salt: RotationSalt, rotated_at: Timestamp) -> Self {
        Self { hash, salt, rotated_at }
    }
}

/// The refresh token of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshState {
    /// Its hashes.
    pub secret: SecretState,
    /// How often it was refreshed.
    pub generation: u64,
    /// When it ends, independent of the session's own end.
    pub expires_at: Timestamp,
    /// Hashes of earlier generations, newest first, at most [`MAX_SPENT`]: the proof that a
    /// presented secret was once ours.
    pub spent: Vec<SecretHash>,
}

impl RefreshState {
    /// Returns the state after the token was used: the new hash is current, the old one previous, and the one before that spent.
    #[must_use]
    pub fn advanced(&self, current: SecretHash, salt: RotationSalt, at: Timestamp) -> Self {
        let spent = self.secret.previous.iter().map(|previous| &previous.hash).chain(&self.spent);
        Self {
            generation: self.generation.saturating_add(1),
            spent: spent.take(MAX_SPENT).cloned().collect(),
            secret: self.secret.replaced(current, salt, at),
            expires_at: self.expires_at,
        }
    }

    /// Makes the state of a first refresh token.
    #[must_use]
    pub const fn new(current: SecretHash, expires_at: Timestamp) -> Self {
        Self { secret: SecretState::new(current), generation: 0, expires_at, spent: Vec::new() }
    }

    /// Returns the stored form, for backends without a richer one: at most 426 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(138 + self.spent.len() * SecretHash::LEN);
        self.secret.write(&mut bytes);
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.expires_at.as_millis().to_be_bytes());
        bytes.extend(self.spent.iter().flat_map(SecretHash::to_bytes));
        bytes
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for anything that [`to_bytes`](Self::to_bytes) does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let secret = SecretState::read(&mut reader)?;
        let generation = u64::from_be_bytes(reader.take()?);
        let expires_at = reader.time()?;
        let mut spent = Vec::new();
        while !reader.0.is_empty() && spent.len() < MAX_SPENT {
            spent.push(reader.hash()?);
        }
        reader.finish()?;
        Ok(Self { secret, generation, expires_at, spent })
    }
}

/// What is left to read of a stored form.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn hash(&mut self) -> Result<SecretHash> {
        self.take().map(SecretHash::from_bytes)
    }

    fn time(&mut self) -> Result<Timestamp> {
        self.take().map(|bytes| Timestamp::from_millis(i64::from_be_bytes(bytes)))
    }

    fn previous(&mut self) -> Result<PreviousSecret> {
        let hash = self.hash()?;
        let salt = RotationSalt::from_bytes(self.take()?);
        Ok(PreviousSecret::new(hash, salt, self.time()?))
    }

    fn finish(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

fn malformed() -> Error {
    Error::invalid("parse", "not the stored form of a secret")
}

#[cfg(test)]
mod tests;
