//! What a record keeps of the secrets of its session.

use crate::limits::MAX_SPENT;
use crate::secret::{RotationSalt, SecretHash};
use crate::time::Timestamp;

/// The stored half of a secret: the current hash, and what is needed to recognise the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
}
