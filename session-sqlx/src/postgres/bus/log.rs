//! The log: a table of messages, numbered in the order in which they become visible.
//!
//! A sequence would number the messages in the order in which their transactions begin. A reader
//! that has passed a number would miss a message that is committed under it later. Here the number
//! comes from a row that stays locked until the message is committed: numbers have no holes, a
//! reader that sees a number sees all before it, and a rollback uses no number. The lock admits one
//! message at a time; `NOTIFY` does that anyway, for all databases of the server.

use session_core::Error;
use session_core::bus::Message;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, SqlStr};

use super::super::schema::{Schema, template};
use super::super::{NAME, NOW};
use crate::dialect::Dialect;
use crate::error::StepError;
use crate::table::TableName;

/// The id of a log: the time of its first message, in microseconds. After a crash the tables are
/// empty, and a new log begins.
const LOG: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

pub(super) const SCHEMA: Schema = Schema {
    text: r#"CREATE UNLOGGED TABLE IF NOT EXISTS {head} (
    one BOOLEAN NOT NULL PRIMARY KEY CHECK (one),
    log BIGINT NOT NULL,
    seq BIGINT NOT NULL
);
CREATE UNLOGGED TABLE IF NOT EXISTS {table} (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    message BYTEA NOT NULL
);
"#,
    tables: &[("_head", &["one", "log", "seq"]), ("", &["seq", "at", "message"])],
    indexes: &[],
};

/// The SQL of every statement on a log.
#[derive(Debug)]
pub(super) struct Statements {
    /// Binds the message, whether to notify the listeners, the channel, and how long to wait for
    /// the lock, in milliseconds as text.
    pub(super) write: SqlStr,
    /// Binds the number of the latest message that was read, and the maximum number of messages.
    pub(super) read: SqlStr,
    /// Binds how long messages are kept, in milliseconds, how many are kept, and the maximum number
    /// to remove. Returns the number removed.
    pub(super) clean: SqlStr,
    /// The channel that listeners subscribe to.
    pub(super) channel: String,
}

impl Statements {
    pub(super) fn new(table: &TableName) -> Self {
        let template = template(table);
        let longest = (Message::MAX_BYTES + 1).to_string();
        let sql = |text: &str| {
            template.sql(&text.replace("{now}", NOW).replace("{log}", LOG).replace("{longest}", &longest))
        };
        Self {
            // The server stops waiting for the lock when the caller does.
            write: sql("WITH head AS (
                    INSERT INTO {head} AS head (one, log, seq)
                    SELECT TRUE, {log}, 1 FROM (SELECT set_config('lock_timeout', $4, TRUE) AS is_set) AS limits
                    WHERE is_set IS NOT NULL
                    ON CONFLICT (one) DO UPDATE SET seq = head.seq + 1 RETURNING seq),
                entry AS (INSERT INTO {table} (seq, at, message) SELECT seq, {now}, $1 FROM head RETURNING seq)
                SELECT seq, CASE WHEN $2 THEN pg_notify($3, '')::text END FROM entry"),
            // Cuts off a value that is too long for a message, so that it is not sent here only to
            // be rejected.
            read: sql("SELECT head.log, head.seq, entry.seq, entry.message
                FROM {head} AS head LEFT JOIN LATERAL (
                    SELECT seq, substring(message FROM 1 FOR {longest}) AS message FROM {table}
                    WHERE seq > $1 ORDER BY seq LIMIT $2) AS entry ON TRUE
                ORDER BY entry.seq"),
            clean: sql("WITH gone AS (DELETE FROM {table} WHERE seq = ANY(ARRAY(SELECT seq FROM {table}
                    WHERE seq < (SELECT MIN(seq) FROM {table}) + $3
                        AND (at < (SELECT {now}) - $1 OR seq <= (SELECT seq FROM {head}) - $2)
                    FOR UPDATE SKIP LOCKED)) RETURNING 1)
                SELECT COUNT(*) FROM gone"),
            // At most 63 bytes. The number keeps tables of the same name in different schemas
            // apart.
            channel: format!("{}_{:08x}", table.name(), table.lock_number("") >> 32),
        }
    }
}

/// How far a log was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursor {
    /// Nothing was read yet. Reading begins after the latest message.
    Fresh,
    /// The log had no message yet.
    Empty,
    At {
        log: i64,
        seq: i64,
    },
}

/// The result of a read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) messages: Vec<Vec<u8>>,
    /// Whether unread messages are gone.
    pub(super) is_gap: bool,
    /// Whether more messages follow.
    pub(super) is_more: bool,
}

/// The number of a message, and the message.
type Entry = (i64, Vec<u8>);

impl Cursor {
    /// Returns the number after which to read.
    pub(super) fn seq(self) -> i64 {
        match self {
            Self::Fresh => i64::MAX,
            Self::Empty => 0,
            Self::At { seq, .. } => seq,
        }
    }

    /// Takes the rows that were read after [`seq`](Self::seq).
    pub(super) fn take(&mut self, rows: &[PgRow]) -> Result<Page, StepError> {
        let number = |row: &PgRow, column| match Postgres::int(row, column)? {
            Some(number) => Ok::<i64, StepError>(number),
            None => Err(Error::corrupt(NAME, "subscribe", "a number is missing").into()),
        };
        let head =
            rows.first().map(|row| Ok::<_, StepError>((number(row, 0)?, number(row, 1)?))).transpose()?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(seq) = Postgres::int(row, 2)? {
                entries.push((seq, Postgres::bytes(row, 3)?.unwrap_or_default().to_vec()));
            }
        }
        Ok(self.advance(head, entries))
    }

    fn advance(&mut self, head: Option<(i64, i64)>, entries: Vec<Entry>) -> Page {
        let before = *self;
        let Some((log, latest)) = head else {
            *self = Self::Empty;
            return Page { is_gap: matches!(before, Self::At { .. }), ..Page::default() };
        };
        *self = Self::At { log, seq: latest };
        let mut seq = match before {
            Self::Fresh => return Page::default(),
            Self::Empty => 0,
            Self::At { log: known, seq } if known == log && seq <= latest => seq,
            // A new log began.
            Self::At { .. } => return Page { is_gap: true, ..Page::default() },
        };
        let mut page = Page::default();
        for (number, message) in entries {
            if number != seq + 1 {
                page.is_gap = true;
                return page;
            }
            seq = number;
            page.messages.push(message);
        }
        page.is_more = seq < latest && !page.messages.is_empty();
        page.is_gap = seq < latest && page.messages.is_empty();
        if page.is_more {
            *self = Self::At { log, seq };
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: impl IntoIterator<Item = i64>) -> Vec<Entry> {
        numbers.into_iter().map(|number| (number, number.to_string().into_bytes())).collect()
    }

    fn read(from: Cursor, head: Option<(i64, i64)>, numbers: &[i64]) -> (Cursor, usize, bool, bool) {
        let mut cursor = from;
        let page = cursor.advance(head, entries(numbers.iter().copied()));
        (cursor, page.messages.len(), page.is_gap, page.is_more)
    }

    const fn at(log: i64, seq: i64) -> Cursor {
        Cursor::At { log, seq }
    }

    #[test]
    fn reading_starts_after_the_latest_message() {
        assert_eq!(read(Cursor::Fresh, Some((7, 40)), &[]), (at(7, 40), 0, false, false));
        assert_eq!(read(Cursor::Fresh, None, &[]), (Cursor::Empty, 0, false, false));
        assert_eq!(read(Cursor::Empty, None, &[]), (Cursor::Empty, 0, false, false));
        assert_eq!(read(Cursor::Empty, Some((7, 2)), &[1, 2]), (at(7, 2), 2, false, false));
    }

    #[test]
    fn unread_messages_are_read_in_pages() {
        assert_eq!(read(at(7, 40), Some((7, 40)), &[]), (at(7, 40), 0, false, false));
        assert_eq!(read(at(7, 40), Some((7, 43)), &[41, 42, 43]), (at(7, 43), 3, false, false));
        assert_eq!(read(at(7, 40), Some((7, 43)), &[41, 42]), (at(7, 42), 2, false, true));
    }

    #[test]
    fn missing_messages_are_a_gap_and_end_the_page() {
        assert_eq!(read(at(7, 40), Some((7, 43)), &[42, 43]), (at(7, 43), 0, true, false), "the first");
        assert_eq!(read(at(7, 40), Some((7, 43)), &[41, 43]), (at(7, 43), 1, true, false), "one between");
        assert_eq!(read(at(7, 40), Some((7, 43)), &[]), (at(7, 43), 0, true, false), "all");
        assert_eq!(
            read(Cursor::Empty, Some((7, 43)), &[42, 43]),
            (at(7, 43), 0, true, false),
            "the beginning"
        );
    }

    #[test]
    fn a_new_log_is_a_gap() {
        assert_eq!(read(at(7, 40), None, &[]), (Cursor::Empty, 0, true, false));
        assert_eq!(read(at(7, 40), Some((8, 2)), &[]), (at(8, 2), 0, true, false));
        assert_eq!(read(at(7, 40), Some((8, 42)), &[41, 42]), (at(8, 42), 0, true, false));
        assert_eq!(
            read(at(7, 40), Some((7, 39)), &[]),
            (at(7, 39), 0, true, false),
            "the number was set back"
        );
    }
}
