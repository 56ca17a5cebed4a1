//! The source of secrets.

use std::fmt;

use crate::error::{Error, Result};

/// A cryptographically secure random generator.
///
/// # Contract
/// `fill` either fills the whole buffer with unpredictable bytes or fails. There is no fallback: a
/// session without a strong secret is worse than no session.
///
/// # Security
/// Implement this only for tests that need collisions or failures, or for a hardware generator.
pub trait SecureRandom: fmt::Debug + Send + Sync + 'static {
    /// Fills the buffer with unpredictable bytes.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the generator fails; do not use the buffer
    /// then.
    fn fill(&self, buffer: &mut [u8]) -> Result<()>;
}

/// The operating system's generator, through [`getrandom`].
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "used as a value")]
pub struct SystemRandom;

impl SecureRandom for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        getrandom::fill(buffer).map_err(|error| Error::unavailable("random", "fill").with_source(error))
    }
}
