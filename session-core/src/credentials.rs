//! The part of a record that describes the session's secrets.

use crate::error::{Error, Result};
use crate::limits::MAX_SPENT;
use crate::secret::{RotationSalt, SecretHash};
use crate::time::Timestamp;

/// The first byte of the stored forms. A different layout needs a different number.
const LAYOUT: u8 = 1;

/// Bits of the second byte of a stored [`SecretState`]: they announce what follows the hash.
const HAS_EXPIRY: u8 = 1;
const HAS_PREVIOUS: u8 = 2;
/// State of a previous secret's successor: presented (the time follows) or unconfirmed. Neither
/// bit: not presented yet.
const IS_PRESENTED: u8 = 4;
const IS_UNCONFIRMED: u8 = 8;

/// The stored half of a secret: the current hash, and what is needed to recognise the previous
/// secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
// The hash comes first, see `SessionRecord`.
#[repr(C)]
pub struct SecretState {
    /// The hash of the current secret.
    pub current: SecretHash,
    /// When the secret expires; `None` means as late as the session. Set for the short-lived half
    /// of a pair.
    pub expires_at: Option<Timestamp>,
    /// The secret that the current one replaced.
    pub previous: Option<PreviousSecret>,
}

impl SecretState {
    /// Returns the state after a replacement by a successor that the holder can compute from the
    /// salt.
    #[must_use]
    pub fn replaced(&self, current: SecretHash, salt: RotationSalt, at: Timestamp) -> Self {
        let previous = PreviousSecret::new(self.current.clone(), salt, at);
        Self { current, expires_at: self.expires_at, previous: Some(previous) }
    }

    /// Returns the state after a replacement by a secret that the holder cannot compute. It stays
    /// unconfirmed until the writer [confirms](Self::confirmed) that it knows of the write.
    #[must_use]
    pub fn replaced_unconfirmed(&self, current: SecretHash, at: Timestamp) -> Self {
        // A placeholder: this successor is not computed from a salt.
        let salt = RotationSalt::from_bytes([0; 32]);
        let previous = PreviousSecret {
            successor: Successor::Unconfirmed,
            ..PreviousSecret::new(self.current.clone(), salt, at)
        };
        Self { current, expires_at: self.expires_at, previous: Some(previous) }
    }

    /// Returns what is known of the current secret as a successor. Returns `None` if there is no
    /// previous secret that is still valid.
    #[must_use]
    pub fn successor(&self) -> Option<Successor> {
        self.previous.as_ref().map(|previous| previous.successor)
    }

    /// Returns the state after the current secret was presented, or confirmed by its writer, at the
    /// given time. The grace period of a computed successor begins; a secret that was replaced by
    /// an unconfirmed one becomes invalid.
    #[must_use]
    pub fn confirmed(&self, at: Timestamp) -> Self {
        let mut state = self.clone();
        match &mut state.previous {
            Some(previous) if previous.successor == Successor::Unpresented => {
                previous.successor = Successor::Presented(at);
            }
            Some(previous) if previous.successor == Successor::Unconfirmed => state.previous = None,
            _ => {}
        }
        state
    }

    /// Returns the state before an unconfirmed replacement; any other state is returned unchanged.
    #[must_use]
    pub fn restored(&self) -> Self {
        match &self.previous {
            Some(previous) if previous.successor == Successor::Unconfirmed => {
                Self { current: previous.hash.clone(), expires_at: self.expires_at, previous: None }
            }
            _ => self.clone(),
        }
    }

    /// Creates the state of a new secret.
    #[must_use]
    pub const fn new(current: SecretHash) -> Self {
        Self { current, expires_at: None, previous: None }
    }

    /// Returns the stored form, for backends without a richer one: at most 130 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(130);
        self.write(&mut bytes);
        bytes
    }

    /// Parses the stored form.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for bytes that [`to_bytes`](Self::to_bytes) does not
    /// write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let state = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(state)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let expiry = if self.expires_at.is_some() { HAS_EXPIRY } else { 0 };
        let previous = match self.successor() {
            None => 0,
            Some(Successor::Unpresented) => HAS_PREVIOUS,
            Some(Successor::Presented(_)) => HAS_PREVIOUS | IS_PRESENTED,
            Some(Successor::Unconfirmed) => HAS_PREVIOUS | IS_UNCONFIRMED,
        };
        bytes.extend([LAYOUT, expiry | previous]);
        bytes.extend(self.current.to_bytes());
        bytes.extend(self.expires_at.iter().flat_map(|at| at.as_millis().to_be_bytes()));
        if let Some(PreviousSecret { hash, salt, rotated_at, successor }) = &self.previous {
            bytes.extend(hash.to_bytes());
            bytes.extend(salt.as_bytes());
            bytes.extend(rotated_at.as_millis().to_be_bytes());
            if let Successor::Presented(at) = successor {
                bytes.extend(at.as_millis().to_be_bytes());
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let [layout, flags] = reader.take()?;
        if layout != LAYOUT {
            return Err(malformed());
        }
        let presented = match flags & !HAS_EXPIRY {
            0 | HAS_PREVIOUS => false,
            state if state == HAS_PREVIOUS | IS_PRESENTED => true,
            state if state == HAS_PREVIOUS | IS_UNCONFIRMED => false,
            _ => return Err(malformed()),
        };
        let current = reader.hash()?;
        let expires_at = (flags & HAS_EXPIRY != 0).then(|| reader.time()).transpose()?;
        let mut previous = (flags & HAS_PREVIOUS != 0).then(|| reader.previous()).transpose()?;
        if let Some(previous) = &mut previous {
            previous.successor = match presented {
                true => Successor::Presented(reader.time()?),
                false if flags & IS_UNCONFIRMED != 0 => Successor::Unconfirmed,
                false => Successor::Unpresented,
            };
        }
        Ok(Self { current, expires_at, previous })
    }
}

/// What is known of a secret that replaced another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Successor {
    /// It was first presented at that time. Until its grace period is over, the holder of the
    /// previous secret receives it again.
    Presented(Timestamp),
    /// It cannot be computed from the previous secret, and the node that wrote it has not confirmed
    /// that it knows of the write. If no client ever received it, the previous secret is still the
    /// valid one.
    Unconfirmed,
    /// It was never presented. The holder of the previous secret receives it, however long ago the
    /// rotation was.
    Unpresented,
}

/// A replaced secret and the state of its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreviousSecret {
    /// The hash of the replaced secret.
    pub hash: SecretHash,
    /// The salt from which the successor is computed.
    pub salt: RotationSalt,
    /// When it was replaced. Never changes.
    pub rotated_at: Timestamp,
    /// What is known of the successor.
    pub successor: Successor,
}

impl PreviousSecret {
    /// Describes a secret that was just replaced and whose successor was not presented yet.
    #[must_use]
    pub const fn new(hash: SecretHash, salt: RotationSalt, rotated_at: Timestamp) -> Self {
        Self { hash, salt, rotated_at, successor: Successor::Unpresented }
    }
}

/// The refresh token of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshState {
    /// The hashes of the token.
    pub secret: SecretState,
    /// The number of refreshes.
    pub generation: u64,
    /// When the token expires, independent of the end of the session.
    pub expires_at: Timestamp,
    /// Hashes of earlier generations, newest first, at most [`MAX_SPENT`]. They prove that a
    /// presented secret was once valid.
    pub spent: Vec<SecretHash>,
}

impl RefreshState {
    /// Returns the state after the token was used: the new hash becomes the current one, the
    /// current one becomes the previous one, and the previous one becomes spent.
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

    /// Returns the state after the token was replaced by one that its holder cannot compute, see
    /// [`SecretState::replaced_unconfirmed`]. The previous token becomes spent.
    #[must_use]
    pub fn replaced_unconfirmed(&self, current: SecretHash, at: Timestamp) -> Self {
        let secret = self.secret.replaced_unconfirmed(current, at);
        let spent = self.secret.previous.iter().map(|previous| &previous.hash).chain(&self.spent);
        Self { secret, spent: spent.take(MAX_SPENT).cloned().collect(), ..self.clone() }
    }

    /// Returns the state after the current token was presented, or confirmed by its writer, see
    /// [`SecretState::confirmed`]. A token that was replaced by an unconfirmed one becomes spent.
    #[must_use]
    pub fn confirmed(&self, at: Timestamp) -> Self {
        let secret = self.secret.confirmed(at);
        let dropped = self.secret.previous.iter().filter(|_| secret.previous.is_none());
        let spent = dropped.map(|previous| &previous.hash).chain(&self.spent);
        Self { spent: spent.take(MAX_SPENT).cloned().collect(), secret, ..self.clone() }
    }

    /// Returns the state before an unconfirmed replacement; any other state is returned unchanged.
    #[must_use]
    pub fn restored(&self) -> Self {
        Self { secret: self.secret.restored(), ..self.clone() }
    }

    /// Creates the state of a first refresh token.
    #[must_use]
    pub const fn new(current: SecretHash, expires_at: Timestamp) -> Self {
        Self { secret: SecretState::new(current), generation: 0, expires_at, spent: Vec::new() }
    }

    /// Returns the stored form, for backends without a richer one: at most 434 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(146 + self.spent.len() * SecretHash::LEN);
        self.secret.write(&mut bytes);
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.expires_at.as_millis().to_be_bytes());
        bytes.extend(self.spent.iter().flat_map(SecretHash::to_bytes));
        bytes
    }

    /// Parses the stored form.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for bytes that [`to_bytes`](Self::to_bytes) does not
    /// write.
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

/// The unread rest of a stored form.
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
