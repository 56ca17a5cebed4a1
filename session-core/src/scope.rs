//! The owner of sessions in a cache or bus that several applications or customers share.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::store::Capabilities;

/// The identity of one tenant of one store of record: 16 bytes, the same on every node that works
/// on the same sessions.
///
/// A session id does not reveal where the session is stored. Two stores can hold different sessions
/// under one id (for example, an [ensured](crate::SessionId::derive) one), and two applications can
/// share one Redis without knowing of each other. So everything that is shared carries a scope: a
/// cache entry, a message of a bus. An entry or a message of another scope is a miss, never an
/// answer.
///
/// A tenant is a store of record of its own: a table, a key prefix or a collection. There are no
/// tenants within a store, so no tenant can list, count, end or sweep sessions of another.
///
/// # Examples
/// ```
/// use session_core::Scope;
///
/// let production = Scope::new("shop-production", Some("public.sessions"))?;
/// let staging = Scope::new("shop-staging", Some("public.sessions"))?;
/// assert_ne!(production, staging);
/// assert_eq!(production.to_string().parse::<Scope>()?, production);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope([u8; 16]);

impl Scope {
    /// The maximum length of a name, in bytes: 64.
    pub const MAX_NAME: usize = 64;

    /// Creates a scope from the application's name for its deployment and the place where the
    /// sessions are stored. The application's name distinguishes two servers of one kind with the
    /// same table name.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) unless the name is 1 to 64 bytes without control
    /// characters.
    pub fn new(name: &str, place: Option<&str>) -> Result<Self> {
        if name.is_empty() || name.len() > Self::MAX_NAME || name.contains(char::is_control) {
            return Err(Error::invalid("scope", "a scope is 1 to 64 bytes without control characters"));
        }
        let mut hash = Sha256::new();
        hash.update(b"session-kit scope 1");
        // The name contains no control character, so no other pair of texts yields the same bytes.
        hash.update(name.as_bytes());
        hash.update([0, u8::from(place.is_some())]);
        hash.update(place.unwrap_or_default().as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Ok(Self(bytes))
    }

    /// Creates a scope from the application's name for its deployment and its store of record: the
    /// backend's name and its [place](Capabilities::place).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_store(name: &str, store: &Capabilities) -> Result<Self> {
        Self::new(name, Some(&format!("{}/{}", store.name, store.place.as_deref().unwrap_or_default())))
    }

    /// Creates a scope from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes to store and to send.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Scope {
    /// Writes 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| Error::invalid("parse", "a scope is 32 lower-case hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_different_name_or_place_is_a_different_scope() {
        let scopes = [
            Scope::new("shop", None).unwrap(),
            Scope::new("shop", Some("")).unwrap(),
            Scope::new("shop", Some("sessions")).unwrap(),
            Scope::new("shopsessions", None).unwrap(),
            Scope::new("Shop", None).unwrap(),
        ];
        for (index, scope) in scopes.iter().enumerate() {
            assert!(!scopes[index + 1..].contains(scope), "{index}");
        }
        assert_eq!(scopes[0], Scope::new("shop", None).unwrap());
    }

    #[test]
    fn a_name_out_of_bounds_is_refused() {
        for name in ["", "a\n", &"x".repeat(65)] {
            assert!(Scope::new(name, None).is_err(), "{name:?}");
        }
        assert!(Scope::new(&"x".repeat(64), None).is_ok());
    }

    #[test]
    fn the_value_is_frozen() {
        let scope = Scope::new("shop", Some("sessions")).unwrap();
        assert_eq!(scope.to_string(), "aa1657e6785a1e0c2127cf7396120c9f");
        for text in ["", "0", &"0".repeat(31), &"0".repeat(33), &"G".repeat(32)] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
    }
}
