//! The bearer token of a client, and the secret in it.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, Result};
use crate::id::{SessionId, parse_uuid};
use crate::random::SecureRandom;

/// The text format of a token's secret half.
///
/// Every format is accepted at all times, each in exactly one spelling, so a deployment can change
/// its format without signing users out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SecretFormat {
    /// 40 lower-case hexadecimal characters, 160 bits of entropy.
    Hex160,
    /// 43 characters of unpadded base64url, 256 bits of entropy. The default.
    #[default]
    Urlsafe256,
    /// A hyphenated lower-case UUID of version 4, 36 characters, 122 bits of entropy: just below
    /// the 128 bits that [OWASP ASVS
    /// 7.2.3](https://owasp.org/www-project-application-security-verification-standard/) requires.
    /// Only for systems that cannot carry any other format.
    Uuid,
}

impl SecretFormat {
    const ALL: [Self; 3] = [Self::Urlsafe256, Self::Hex160, Self::Uuid];

    /// Returns the entropy in bits.
    #[must_use]
    pub const fn entropy_bits(self) -> u32 {
        match self {
            Self::Hex160 => 160,
            Self::Urlsafe256 => 256,
            Self::Uuid => 122,
        }
    }

    /// Returns the length of the secret's text. The length identifies the format.
    #[must_use]
    pub const fn text_len(self) -> usize {
        match self {
            Self::Hex160 => 40,
            Self::Urlsafe256 => 43,
            Self::Uuid => 36,
        }
    }

    const fn byte_len(self) -> usize {
        match self {
            Self::Hex160 => 20,
            Self::Urlsafe256 => 32,
            Self::Uuid => 16,
        }
    }
}

const _: () = assert!(SecretFormat::Urlsafe256.byte_len() <= Secret::MAX_BYTES);

/// The unpredictable half of a token. Wiped from memory on drop; never printed, stored or compared
/// by value.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret {
    bytes: [u8; Secret::MAX_BYTES],
    #[zeroize(skip)]
    format: SecretFormat,
}

impl Secret {
    const MAX_BYTES: usize = 32;

    /// Creates a new secret.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the generator fails. There is no weaker
    /// fallback.
    pub fn mint(format: SecretFormat, random: &dyn SecureRandom) -> Result<Self> {
        let mut bytes = Zeroizing::new([0; Self::MAX_BYTES]);
        random.fill(&mut bytes[..format.byte_len()])?;
        Ok(Self::from_material(&bytes, format))
    }

    /// Truncates 32 bytes of key material to the format.
    pub(crate) fn from_material(material: &[u8; Self::MAX_BYTES], format: SecretFormat) -> Self {
        let mut bytes = [0; Self::MAX_BYTES];
        bytes[..format.byte_len()].copy_from_slice(&material[..format.byte_len()]);
        if format == SecretFormat::Uuid {
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
        }
        Self { bytes, format }
    }

    /// Returns the text format.
    #[must_use]
    pub fn format(&self) -> SecretFormat {
        self.format
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.format.byte_len()]
    }

    fn parse(text: &str) -> Result<Self> {
        let format = SecretFormat::ALL.into_iter().find(|format| format.text_len() == text.len());
        let format = format.ok_or_else(malformed)?;
        let mut secret = Self { bytes: [0; Self::MAX_BYTES], format };
        let target = &mut secret.bytes[..format.byte_len()];
        match format {
            // The encodings refuse other alphabets, padding and non-zero spare bits, so each secret
            // has exactly one spelling.
            SecretFormat::Urlsafe256 => {
                BASE64URL_NOPAD.decode_mut(text.as_bytes(), target).map_err(|_| malformed())?
            }
            SecretFormat::Hex160 => HEXLOWER.decode_mut(text.as_bytes(), target).map_err(|_| malformed())?,
            SecretFormat::Uuid => {
                let bytes = parse_uuid(text)?;
                if bytes[6] >> 4 != 4 || bytes[8] >> 6 != 0b10 {
                    return Err(malformed());
                }
                target.copy_from_slice(&bytes);
                bytes.len()
            }
        };
        Ok(secret)
    }

    fn write(&self, text: &mut String) {
        match self.format {
            SecretFormat::Urlsafe256 => BASE64URL_NOPAD.encode_append(self.bytes(), text),
            SecretFormat::Hex160 => HEXLOWER.encode_append(self.bytes(), text),
            SecretFormat::Uuid => {
                let mut buffer = Zeroizing::new([0; 36]);
                let bytes: &[u8; 16] = self.bytes.first_chunk().unwrap_or(&[0; 16]);
                text.push_str(
                    uuid::Uuid::from_bytes_ref(bytes).hyphenated().encode_lower(buffer.as_mut_slice()),
                );
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Returns the only error for malformed tokens, so that the answer does not reveal how close a
/// guess was.
fn malformed() -> Error {
    Error::invalid("parse", "not a session token")
}

/// The bearer secret of one session: `<id>.<secret>`, by default 22 + 1 + 43 characters.
///
/// Possession of the token grants the session. It parses without I/O and without allocating,
/// accepts exactly one spelling, and is wiped from memory on drop.
///
/// # Security
/// There is no `Display`, no `Serialize`, no `Clone` and no `==`; `Debug` prints the public id
/// only. Only [`expose`](Self::expose) returns the text, a name that is easy to find in a review.
/// Comparison with the stored hash takes constant time, see
/// [`SecretHasher::verify`](crate::SecretHasher::verify).
///
/// # Examples
/// ```
/// use session_core::{SecretFormat, SessionId, SessionToken, SystemRandom, Timestamp};
///
/// let id = SessionId::mint(Timestamp::from_millis(1_767_225_600_000), None, &SystemRandom)?;
/// let token = SessionToken::mint(id, SecretFormat::default(), &SystemRandom)?;
/// let text = token.expose();
/// assert_eq!(text.len(), 66);
/// assert_eq!(SessionToken::parse(&text)?.id(), id);
/// assert_eq!(format!("{token:?}"), format!("SessionToken({id}.***)"));
/// assert!(SessionToken::parse(&format!("{} ", *text)).is_err());
/// # Ok::<(), session_core::Error>(())
/// ```
pub struct SessionToken {
    id: SessionId,
    secret: Secret,
}

impl SessionToken {
    /// The length of the id part, in characters.
    const ID_LEN: usize = 22;

    /// The length of the longest token, in characters. Longer text is refused without being parsed.
    pub const MAX_LEN: usize = Self::ID_LEN + 1 + SecretFormat::Urlsafe256.text_len();

    /// Creates a token with a new secret for a session.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the generator fails.
    pub fn mint(id: SessionId, format: SecretFormat, random: &dyn SecureRandom) -> Result<Self> {
        Ok(Self { id, secret: Secret::mint(format, random)? })
    }

    /// Combines an id and a secret, for the successor in a rotation.
    #[must_use]
    pub fn from_parts(id: SessionId, secret: Secret) -> Self {
        Self { id, secret }
    }

    /// Parses a token in its only spelling. No I/O, no allocation.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for any other text.
    pub fn parse(text: &str) -> Result<Self> {
        let (id, secret) = text.split_at_checked(Self::ID_LEN).ok_or_else(malformed)?;
        let secret = Secret::parse(secret.strip_prefix('.').ok_or_else(malformed)?)?;
        let mut bytes = [0; 16];
        BASE64URL_NOPAD.decode_mut(id.as_bytes(), &mut bytes).map_err(|_| malformed())?;
        let id = SessionId::from_bytes(bytes).map_err(|_| malformed())?;
        Ok(Self { id, secret })
    }

    /// Returns the public id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Returns the secret, for hashing.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Returns the token's text. Send it to the owner of the session only. The text is wiped on
    /// drop.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::MAX_LEN));
        BASE64URL_NOPAD.encode_append(self.id.as_bytes(), &mut text);
        text.push('.');
        self.secret.write(&mut text);
        text
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionToken({}.***)", self.id)
    }
}

/// The bearer secret that renews a session: `r.<id>.<secret>`.
///
/// A separate type with a separate spelling, so that it cannot be presented in place of a
/// [`SessionToken`]. In all other respects, including security, it is like a session token.
pub struct RefreshToken(SessionToken);

impl RefreshToken {
    const PREFIX: &'static str = "r.";

    /// Creates a token with a new secret for a session.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the generator fails.
    pub fn mint(id: SessionId, format: SecretFormat, random: &dyn SecureRandom) -> Result<Self> {
        SessionToken::mint(id, format, random).map(Self)
    }

    /// Combines an id and a secret, for the successor in a rotation.
    #[must_use]
    pub fn from_parts(id: SessionId, secret: Secret) -> Self {
        Self(SessionToken::from_parts(id, secret))
    }

    /// Parses a token in its only spelling. No I/O, no allocation.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for any other text.
    pub fn parse(text: &str) -> Result<Self> {
        text.strip_prefix(Self::PREFIX).ok_or_else(malformed).and_then(SessionToken::parse).map(Self)
    }

    /// Returns the public id.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// Returns the secret, for hashing.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0.secret
    }

    /// Returns the token's text. Send it to the owner of the session only. The text is wiped on
    /// drop.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(Self::PREFIX.len() + SessionToken::MAX_LEN));
        text.push_str(Self::PREFIX);
        text.push_str(&self.0.expose());
        text
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshToken({}.***)", self.0.id)
    }
}

#[cfg(test)]
mod tests;
