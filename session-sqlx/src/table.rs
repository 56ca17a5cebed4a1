//! The name of the table.

use std::fmt;
use std::str::FromStr;

use session_core::{Error, Result};
use sha2::{Digest, Sha256};

/// Longest name of a table or schema, in bytes: 48, so that the names of the indexes stay below the 63 of PostgreSQL and the 64
/// of MySQL.
const MAX_NAME: usize = 48;

/// The table that keeps the sessions, `sessions` by default, optionally in a schema (MySQL: a database, SQLite: an attached one).
///
/// Names hold ASCII letters, digits and `_`, begin with no digit, and are at most 48 bytes. They are always quoted, so they keep
/// their case and may be words of SQL.
///
/// # Examples
/// ```
/// use session_sqlx::TableName;
///
/// let table: TableName = "auth.web_sessions".parse()?;
/// assert_eq!(table.to_string(), "auth.web_sessions");
/// assert!("sessions; DROP TABLE users".parse::<TableName>().is_err());
/// # Ok::<(), session_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// A table by one of our own names.
    pub(crate) fn ours(name: &str) -> Self {
        Self { schema: None, name: name.to_owned() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The schema in front of a name, quoted and with its dot, or nothing.
    pub(crate) fn schema_prefix(&self, quote: char) -> String {
        self.schema.as_ref().map_or_else(String::new, |schema| format!("{quote}{schema}{quote}."))
    }

    /// A table beside this one.
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        Self { schema: self.schema.clone(), name: format!("{}{suffix}", self.name) }
    }

    /// A number for locks that concern this table, or one thing in it.
    pub(crate) fn lock_number(&self, what: &str) -> u64 {
        let digest =
            Sha256::new().chain_update(self.to_string()).chain_update([0]).chain_update(what).finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A table beside this one, whole and quoted.
    pub(crate) fn quoted(&self, quote: char, suffix: &str) -> String {
        format!("{}{quote}{}{suffix}{quote}", self.schema_prefix(quote), self.name)
    }
}

impl Default for TableName {
    fn default() -> Self {
        Self::ours("sessions")
    }
}

impl FromStr for TableName {
    type Err = Error;

    /// Reads `table` or `schema.table`.
    fn from_str(text: &str) -> Result<Self> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(checked(schema)?), checked(name)?),
            None => (None, checked(text)?),
        };
        Ok(Self { schema, name })
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

fn checked(name: &str) -> Result<String> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins_well = name.starts_with(|c: char| inside(c) && !c.is_ascii_digit());
    if begins_well && name.len() <= MAX_NAME && name.chars().all(inside) {
        Ok(name.to_owned())
    } else {
        Err(Error::invalid("table", "a name is 1 to 48 letters, digits or _, and begins with no digit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whole() {
        let table: TableName = "auth.Sessions".parse().unwrap();
        assert_eq!(table.quoted('"', "_migrations"), r#""auth"."Sessions_migrations""#);
        assert_eq!(TableName::default().quoted('`', ""), "`sessions`");
    }

    #[test]
    fn what_could_leave_the_quotes_is_refused() {
        let long = "a".repeat(MAX_NAME + 1);
        for text in
            ["", ".", "a.", ".a", "a.b.c", "1a", "a b", "a\"b", "a`b", "a;b", "ä", "a\0", "{name}", &long]
        {
            assert!(text.parse::<TableName>().is_err(), "{text:?}");
        }
    }
}
