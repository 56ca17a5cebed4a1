//! How sessions end: the states, the reasons and the actors.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::id::UserId;
use crate::time::Timestamp;

/// Implements an enum's stable wire names: `as_str`, `Display`, `FromStr`, serde.
macro_rules! wire_names {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of the names.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the stable name, as stored and sent.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $type {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::Error::invalid("parse", concat!("unknown ", stringify!($type)))),
                }
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use wire_names;

/// Why a session ended. The names are stable: they are stored, sent and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// It reached its absolute end.
    AbsoluteTimeout,
    /// The user's credentials changed after the sign-in.
    CredentialChanged,
    /// It was unused for longer than its idle timeout.
    IdleTimeout,
    /// A newer sign-in replaced it under the user's limit.
    LimitEvicted,
    /// The user signed out on this device.
    LoggedOut,
    /// A validation rule ended it.
    PolicyDenied,
    /// A spent refresh token was presented, so another party holds a copy.
    RefreshReuse,
    /// An administrator or the application ended it.
    RevokedByAdmin,
    /// The user ended it from another device.
    RevokedByUser,
    /// A new sign-in replaced it and took over its data.
    Superseded,
    /// It was moved to another device.
    Transferred,
    /// The user was disabled or deleted.
    UserInactive,
}

wire_names!(EndReason {
    AbsoluteTimeout => "absolute_timeout",
    CredentialChanged => "credential_changed",
    IdleTimeout => "idle_timeout",
    LimitEvicted => "limit_evicted",
    LoggedOut => "logged_out",
    PolicyDenied => "policy_denied",
    RefreshReuse => "refresh_reuse",
    RevokedByAdmin => "revoked_by_admin",
    RevokedByUser => "revoked_by_user",
    Superseded => "superseded",
    Transferred => "transferred",
    UserInactive => "user_inactive",
});

impl EndReason {
    /// Returns the status that a list shows for this reason.
    #[must_use]
    pub const fn status(self) -> SessionStatus {
        match self {
            Self::AbsoluteTimeout | Self::IdleTimeout => SessionStatus::Expired,
            Self::LoggedOut | Self::Superseded | Self::Transferred => SessionStatus::LoggedOut,
            _ => SessionStatus::Revoked,
        }
    }
}

/// The status of a session as shown to users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SessionStatus {
    /// The session is live.
    Active,
    /// Past its idle or absolute end.
    Expired,
    /// Ended by its owner on the device itself.
    LoggedOut,
    /// Ended for any other reason.
    Revoked,
}

wire_names!(SessionStatus {
    Active => "active",
    Expired => "expired",
    LoggedOut => "logged_out",
    Revoked => "revoked",
});

/// The actor of an operation.
///
/// # Examples
/// ```
/// use session_core::Actor;
///
/// let actor = Actor::User("ann".parse()?);
/// assert_eq!(actor.to_string(), "user:ann");
/// assert_eq!("user:ann".parse::<Actor>()?, actor);
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Actor {
    /// An administrator, by the application's name for them.
    Admin(UserId),
    /// The library or the application itself.
    System,
    /// A user.
    User(UserId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin(name) => write!(f, "admin:{name}"),
            Self::System => f.write_str("system"),
            Self::User(user) => write!(f, "user:{user}"),
        }
    }
}

impl FromStr for Actor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            None if text == "system" => Ok(Self::System),
            Some(("admin", name)) => name.parse().map(Self::Admin),
            Some(("user", user)) => user.parse().map(Self::User),
            _ => Err(Error::invalid("parse", "unknown actor")),
        }
    }
}

/// The end of a session: why, when and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The reason.
    pub reason: EndReason,
    /// The time; for an expired session, its deadline and not the time of the sweep.
    pub at: Timestamp,
    /// The actor.
    pub by: Actor,
}

impl Ended {
    /// Describes an end.
    #[must_use]
    pub const fn new(reason: EndReason, at: Timestamp, by: Actor) -> Self {
        Self { reason, at, by }
    }
}

/// Whether a session is active or ended. `Ended` is final.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SessionState {
    /// Not ended, but possibly past its deadline; see
    /// [`SessionRecord::expiry`](crate::SessionRecord::expiry).
    #[default]
    Active,
    /// Ended, for ever.
    Ended(Ended),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_round_trips() {
        for reason in EndReason::ALL {
            assert_eq!(reason.as_str().parse::<EndReason>().unwrap(), *reason);
        }
        for status in SessionStatus::ALL {
            assert_eq!(status.as_str().parse::<SessionStatus>().unwrap(), *status);
        }
        assert!("LoggedOut".parse::<EndReason>().is_err());
    }

    #[test]
    fn actors_with_colons_round_trip() {
        for text in ["system", "user:a:b", "admin:root"] {
            assert_eq!(text.parse::<Actor>().unwrap().to_string(), text);
        }
        for text in ["", "user:", "robot", "system:x"] {
            assert!(text.parse::<Actor>().is_err(), "{text}");
        }
    }
}
