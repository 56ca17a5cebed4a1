//! The names of keys.

use std::fmt::Write;
use std::str::FromStr;

use session_core::{Error, Result, Scope, SessionId, Shard, UserId};

/// The prefix of all keys of a store or cache: 1 to 64 letters, digits, `_`, `-`, `.` and `:`;
/// `session-kit` by default.
///
/// Stores with different prefixes share a server without seeing each other's data.
///
/// # Examples
/// ```
/// use session_redis::KeyPrefix;
///
/// assert!("shop:sessions".parse::<KeyPrefix>().is_ok());
/// assert!("{shop}".parse::<KeyPrefix>().is_err(), "braces decide where a cluster keeps a key");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the beginning of all keys of a shard. The braces are the [hash
    /// tag](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags)
    /// that keeps the shard on one node.
    pub(crate) fn of_shard(&self, shard: Shard) -> String {
        format!("{}:{{{}}}", self.0, shard.index())
    }

    pub(crate) fn session(&self, id: SessionId) -> String {
        self.named(id.shard(), "session", &id)
    }

    pub(crate) fn cached(&self, scope: Scope, id: SessionId) -> String {
        self.named(id.shard(), "cache", &format_args!("{scope}:{id}"))
    }

    /// Returns the key of a user's active sessions, by creation time.
    pub(crate) fn user(&self, user: &UserId) -> String {
        self.named(user.shard(), "user", user)
    }

    /// Returns the key of a user's ended sessions, by creation time.
    pub(crate) fn history(&self, user: &UserId) -> String {
        self.named(user.shard(), "history", user)
    }

    /// Returns the key of all sessions of a shard, by creation time.
    pub(crate) fn created(&self, shard: Shard) -> String {
        format!("{}:created", self.of_shard(shard))
    }

    /// Returns the key of a shard's active sessions, by deadline.
    pub(crate) fn deadlines(&self, shard: Shard) -> String {
        format!("{}:deadlines", self.of_shard(shard))
    }

    /// Returns the key of a shard's ended sessions, by the time of their end.
    pub(crate) fn ended(&self, shard: Shard) -> String {
        format!("{}:ended", self.of_shard(shard))
    }

    fn named(&self, shard: Shard, space: &str, name: &impl std::fmt::Display) -> String {
        let mut key = String::with_capacity(self.0.len() + space.len() + 88);
        // Writing to a string does not fail.
        let _ = write!(key, "{}:{{{}}}:{space}:{name}", self.0, shard.index());
        key
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("session-kit".to_owned())
    }
}

impl FromStr for KeyPrefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid("parse", "a key prefix is 1 to 64 letters, digits, '_', '-', '.' and ':'"))
        }
    }
}

impl std::fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use session_core::{SystemRandom, Timestamp};

    use super::*;

    #[test]
    fn a_users_keys_and_sessions_share_a_hash_tag() {
        let ann: UserId = "ann".parse().unwrap();
        let id = SessionId::mint(Timestamp::from_millis(1), Some(&ann), &SystemRandom).unwrap();
        let prefix = KeyPrefix::default();
        let base = prefix.of_shard(ann.shard());
        assert_eq!(prefix.session(id), format!("{base}:session:{id}"));
        assert_eq!(prefix.user(&ann), format!("{base}:user:ann"));
        assert_eq!(base, format!("session-kit:{{{}}}", id.shard().index()));
    }

    #[test]
    fn a_prefix_cannot_change_the_hash_tag_or_break_the_line() {
        for text in ["", "a{b", "a}b", "a b", "a\n", "ä", &"x".repeat(65)] {
            assert!(text.parse::<KeyPrefix>().is_err(), "{text:?}");
        }
    }
}
