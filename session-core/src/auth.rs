//! How a user authenticated, and the assurance level that follows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::end::wire_names;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// A way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthMethod {
    /// A code or link sent by e-mail.
    Email,
    /// Another service vouched for the user (OpenID Connect, SAML).
    Federated,
    /// Anything else, under the application's own name. Counts as a knowledge factor.
    Other(String),
    /// A synced passkey with user verification: two factors in one.
    Passkey,
    /// A password.
    Password,
    /// A one-time recovery code.
    RecoveryCode,
    /// A hardware-bound WebAuthn authenticator.
    SecurityKey,
    /// A code sent by text message.
    Sms,
    /// A time-based one-time password.
    Totp,
}

impl AuthMethod {
    /// Returns the stable name; for an application's own method, that name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Email => "email",
            Self::Federated => "federated",
            Self::Other(name) => name,
            Self::Passkey => "passkey",
            Self::Password => "password",
            Self::RecoveryCode => "recovery_code",
            Self::SecurityKey => "security_key",
            Self::Sms => "sms",
            Self::Totp => "totp",
        }
    }

    /// Returns true if the stored name parses as this method. An application's own name is 1 to 64
    /// bytes without NUL and differs from the built-in names.
    pub(crate) fn is_storable(&self) -> bool {
        self.as_str().parse::<Self>().is_ok_and(|read| read == *self)
    }

    /// Returns true for a factor that the user has, false for one that the user knows.
    fn is_possession(&self) -> bool {
        matches!(self, Self::SecurityKey | Self::Sms | Self::Totp | Self::Passkey)
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuthMethod {
    type Err = Error;

    /// Parses a name; an unknown name is the application's own.
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "email" => Self::Email,
            "federated" => Self::Federated,
            "passkey" => Self::Passkey,
            "password" => Self::Password,
            "recovery_code" => Self::RecoveryCode,
            "security_key" => Self::SecurityKey,
            "sms" => Self::Sms,
            "totp" => Self::Totp,
            "" => return Err(Error::invalid("parse", "an authentication method has a name")),
            _ if text.len() > 64 || text.contains('\0') => {
                return Err(Error::invalid(
                    "parse",
                    "an authentication method's name is at most 64 bytes without NUL",
                ));
            }
            _ => Self::Other(text.to_owned()),
        })
    }
}

impl Serialize for AuthMethod {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AuthMethod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One successful authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuthEvent {
    /// The method.
    pub method: AuthMethod,
    /// The time.
    pub at: Timestamp,
}

impl AuthEvent {
    /// Describes an authentication.
    #[must_use]
    pub const fn new(method: AuthMethod, at: Timestamp) -> Self {
        Self { method, at }
    }
}

/// Authentication assurance, after [NIST SP 800-63B-4](https://pages.nist.gov/800-63-4/sp800-63b.html) section 2.
///
/// Always derived from the recorded methods, never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AssuranceLevel {
    /// No authentication.
    None,
    /// One factor.
    Aal1,
    /// Two different factors, or one authenticator that holds two.
    Aal2,
    /// A hardware-bound, phishing-resistant authenticator and another factor.
    Aal3,
}

wire_names!(AssuranceLevel {
    None => "none",
    Aal1 => "aal1",
    Aal2 => "aal2",
    Aal3 => "aal3",
});

impl AssuranceLevel {
    /// Derives the level of a list of authentications.
    ///
    /// # Examples
    /// ```
    /// use session_core::{AssuranceLevel, AuthEvent, AuthMethod, Timestamp};
    ///
    /// let event = |method| AuthEvent::new(method, Timestamp::EPOCH);
    /// let level = |events: &[AuthEvent]| AssuranceLevel::of(events);
    /// assert_eq!(level(&[event(AuthMethod::Password)]), AssuranceLevel::Aal1);
    /// assert_eq!(level(&[event(AuthMethod::Password), event(AuthMethod::Totp)]), AssuranceLevel::Aal2);
    /// assert_eq!(level(&[event(AuthMethod::Sms), event(AuthMethod::Totp)]), AssuranceLevel::Aal1);
    /// assert_eq!(level(&[event(AuthMethod::Passkey)]), AssuranceLevel::Aal2);
    /// assert_eq!(level(&[event(AuthMethod::Password), event(AuthMethod::SecurityKey)]), AssuranceLevel::Aal3);
    /// ```
    #[must_use]
    pub fn of<'a>(events: impl IntoIterator<Item = &'a AuthEvent>) -> Self {
        let (mut has, mut knows, mut passkey, mut hardware) = (false, false, false, false);
        for AuthEvent { method, .. } in events {
            has |= method.is_possession();
            knows |= !method.is_possession();
            passkey |= *method == AuthMethod::Passkey;
            hardware |= *method == AuthMethod::SecurityKey;
        }
        match (has, knows) {
            (true, true) if hardware => Self::Aal3,
            (true, true) => Self::Aal2,
            _ if passkey => Self::Aal2,
            (false, false) => Self::None,
            _ => Self::Aal1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_names_are_kept() {
        for name in [
            "email",
            "federated",
            "passkey",
            "password",
            "recovery_code",
            "security_key",
            "sms",
            "totp",
            "badge",
        ] {
            assert_eq!(name.parse::<AuthMethod>().unwrap().as_str(), name);
        }
        assert_eq!("badge".parse::<AuthMethod>().unwrap(), AuthMethod::Other("badge".to_owned()));
        assert!("".parse::<AuthMethod>().is_err());
        assert!("x".repeat(65).parse::<AuthMethod>().is_err());
    }

    #[test]
    fn events_have_a_text_form() {
        let event = AuthEvent::new(AuthMethod::RecoveryCode, Timestamp::from_millis(7));
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"method":"recovery_code","at":7}"#);
        assert_eq!(serde_json::from_str::<AuthEvent>(&text).unwrap(), event);
        assert!(serde_json::from_str::<AuthEvent>(r#"{"method":"","at":7}"#).is_err());
    }

    #[test]
    fn no_authentication_is_no_assurance() {
        assert_eq!(AssuranceLevel::of(&[]), AssuranceLevel::None);
        assert!(AssuranceLevel::None < AssuranceLevel::Aal1);
    }
}
