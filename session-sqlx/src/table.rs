//! The name of the table.

use std::fmt;
use std::str::FromStr;

use session_core::{Error, Result};
use sha2::{Digest, Sha256};

/// The longest name of a table or schema, in bytes: 48, so that the names of the indexes stay below
/// the limits of PostgreSQL (63) and MySQL (64).
const MAX_NAME: usize = 48;

/// The name of the table of sessions, `sessions` by default, optionally in a schema (MySQL: a
/// database, SQLite: an attached database).
///
/// Names consist of ASCII letters, digits and `_`, do not begin with a digit, and have at most 48
/// bytes. They are always quoted, so they keep their case and may be SQL keywords.
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
    /// Makes a name from a constant of this crate, without a check.
    pub(crate) fn unchecked(name: &str) -> Self {
        Self { schema: None, name: name.to_owned() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Returns the schema as a prefix, quoted and with its dot, or an empty string.
    pub(crate) fn schema_prefix(&self, quote: char) -> String {
        self.schema.as_ref().map_or_else(String::new, |schema| format!("{quote}{schema}{quote}."))
    }

    /// Returns the name of a table in the same schema: this name with a suffix.
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        Self { schema: self.schema.clone(), name: format!("{}{suffix}", self.name) }
    }

    /// Returns a number for locks on this table, or on one thing in it.
    pub(crate) fn lock_number(&self, what: &str) -> u64 {
        let digest =
            Sha256::new().chain_update(self.to_string()).chain_update([0]).chain_update(what).finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Returns the quoted name, with a suffix and the schema.
    pub(crate) fn quoted(&self, quote: char, suffix: &str) -> String {
        format!("{}{quote}{}{suffix}{quote}", self.schema_prefix(quote), self.name)
    }
}

impl Default for TableName {
    fn default() -> Self {
        Self::unchecked("sessions")
    }
}

impl FromStr for TableName {
    type Err = Error;

    /// Parses `table` or `schema.table`.
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
        Err(Error::invalid(
            "table",
            "a name has 1 to 48 letters, digits or _, and does not begin with a digit",
        ))
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
    fn names_that_could_escape_the_quotes_are_refused() {
        let long = "a".repeat(MAX_NAME + 1);
        for text in
            ["", ".", "a.", ".a", "a.b.c", "1a", "a b", "a\"b", "a`b", "a;b", "ä", "a\0", "{name}", &long]
        {
            assert!(text.parse::<TableName>().is_err(), "{text:?}");
        }
    }
}
