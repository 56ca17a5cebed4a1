//! The keys that authenticate entries.

use std::fmt;
use std::num::NonZeroU32;

use hmac::{Hmac, KeyInit, Mac};
use session_core::{Error, Result};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Authenticated bytes begin with this label, so that a MAC made with the same key for another
/// purpose is not valid for an entry.
const LABEL: &[u8] = b"session-redis cache entry 1";

/// The length of a MAC.
pub(super) const MAC: usize = 32;

/// The name of a MAC key, stored with each entry that it authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacKeyId(NonZeroU32);

impl MacKeyId {
    /// Names a key. Zero is not a name: stored entries use it for "not authenticated".
    #[must_use]
    pub const fn new(id: NonZeroU32) -> Self {
        Self(id)
    }
}

/// The keys of [`RedisCache::with_mac_keys`](crate::RedisCache::with_mac_keys): one that
/// authenticates new entries, and any number of keys that are still accepted.
///
/// Use a key for one cache only. Caches that share a key and a prefix, such as production's and a
/// copy of it for tests, accept each other's entries.
///
/// # Rotation without misses
/// 1. Give every node the old key, and the new one as [`with_previous`](Self::with_previous).
/// 2. Give every node the new key, and the old one as previous.
/// 3. Remove the old key when no entry of it lives any more (at most the cache's longest time to
///    live). From then on its entries are refused.
///
/// # Examples
/// ```
/// use std::num::NonZeroU32;
/// use session_redis::{MacKeyId, MacKeys};
///
/// let (one, two) = (MacKeyId::new(NonZeroU32::MIN), MacKeyId::new(NonZeroU32::new(2).unwrap()));
/// let keys = MacKeys::new(two, &[2; 32])?.with_previous(one, &[1; 32])?;
/// # Ok::<(), session_core::Error>(())
/// ```
pub struct MacKeys {
    /// The first key is the active one.
    keys: Vec<(MacKeyId, Zeroizing<Vec<u8>>)>,
    /// All names, in their stored form.
    names: Vec<u8>,
}

impl MacKeys {
    /// The length of the shortest key, in bytes: that of the MAC ([RFC 2104 section
    /// 3](https://www.rfc-editor.org/rfc/rfc2104#section-3)).
    pub const MIN_KEY: usize = 32;

    /// Creates a key ring with its active key.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a key shorter than 32 bytes.
    pub fn new(active: MacKeyId, key: &[u8]) -> Result<Self> {
        Self { keys: Vec::new(), names: Vec::new() }.with_previous(active, key)
    }

    /// Adds a key that is accepted but does not authenticate new entries.
    ///
    /// # Errors
    /// [`Invalid`](session_core::ErrorKind::Invalid) for a key shorter than 32 bytes, or a name
    /// that is already used.
    pub fn with_previous(mut self, id: MacKeyId, key: &[u8]) -> Result<Self> {
        if key.len() < Self::MIN_KEY {
            return Err(Error::invalid("mac key", "a MAC key is at least 32 bytes"));
        }
        if self.keys.iter().any(|(name, _)| *name == id) {
            return Err(Error::invalid("mac key", "a MAC key's name stands for one key"));
        }
        self.keys.push((id, Zeroizing::new(key.to_vec())));
        self.names.extend(id.0.get().to_be_bytes());
        Ok(self)
    }

    /// Returns the names of all keys, 4 bytes each.
    pub(super) fn names(&self) -> &[u8] {
        &self.names
    }

    /// Returns the name of the active key.
    pub(super) fn active(&self) -> u32 {
        self.keys.first().map_or(0, |(name, _)| name.0.get())
    }

    /// Authenticates a value that is stored under a key of the server, with the active key.
    pub(super) fn sign(&self, name: &str, content: &[u8]) -> [u8; MAC] {
        let key = self.keys.first().map_or(&[][..], |(_, key)| key.as_slice());
        mac(key, name, content).finalize().into_bytes().into()
    }

    /// Returns true if one of the keys authenticated the value. The time does not depend on how
    /// much of the MAC is correct.
    pub(super) fn verify(&self, id: u32, name: &str, content: &[u8], tag: &[u8]) -> bool {
        let key = self.keys.iter().find(|(name, _)| name.0.get() == id);
        key.is_some_and(|(_, key)| mac(key, name, content).verify_slice(tag).is_ok())
    }
}

#[allow(clippy::expect_used, reason = "HMAC accepts keys of every length, RFC 2104 section 2")]
fn mac(key: &[u8], name: &str, content: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC accepts keys of every length");
    mac.update(LABEL);
    // The length keeps a byte of the name from counting as one of the content. Lengths fit into 64
    // bits.
    mac.update(&u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
    mac.update(name.as_bytes());
    mac.update(content);
    mac
}

impl fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.keys.iter().map(|(name, _)| name).collect();
        f.debug_struct("MacKeys").field("keys", &names).finish()
    }
}
