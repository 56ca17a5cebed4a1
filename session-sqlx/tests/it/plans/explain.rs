//! The plans of a database for a statement.

use std::fmt;

use session_conformance::fixtures::NOW;
use session_core::SessionId;
use session_sqlx::Dialect;
use sqlx::{Executor, MySql, Postgres, Row, Sqlite};

use super::fill::{Sample, days_ago};
use crate::support::{Tested, sql};

/// The part of a plan that reads the table of sessions.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The reads of the table. Indexes are named by their suffix after the table's name.
    pub(super) accesses: Vec<Access>,
    /// The number of rows that are sorted, as far as the database reports it.
    pub(super) sorted: u64,
    /// The output of the database.
    pub(super) text: String,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ways: Vec<_> = self.accesses.iter().map(|access| format!("{access:?}")).collect();
        ways.extend((self.sorted > 0).then(|| "sort".to_owned()));
        f.write_str(&ways.join(", "))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// A range of an index.
    Search(String),
    /// An index, read from one end.
    Walk(String),
    /// The whole table.
    Whole,
}

/// The values of a statement's placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// A user with few sessions, a sweep and a purge without backlog, and the first page.
    Everyday,
    /// A user with many sessions, a sweep and a purge with a backlog, and a page in the middle.
    Backlog,
}

pub(super) trait Explained: Tested {
    const NO_DATA: &str;
    /// Prevents the server from gathering statistics by itself.
    const ALONE: &[&str];
    /// The ways to gather statistics. The plans are read after each.
    const STATISTICS: &[&str];
    /// The name of the primary key's index after the table's name.
    const PRIMARY: &str;

    /// Returns a literal of an id.
    fn binary(bytes: &[u8; 16]) -> String;

    async fn explain(
        connection: &mut Self::Connection,
        text: &str,
        table: &str,
        values: &[String],
    ) -> Vec<Plan>;
}

/// Returns a literal for each placeholder, chosen by the column that it is compared with or
/// assigned to.
pub(super) fn literals<D: Explained>(text: &str, sample: &Sample, values: Values) -> Vec<String> {
    let everyday = matches!(values, Values::Everyday);
    let user = if everyday { &sample.user } else { &sample.heavy };
    let ids = &sample.ids[..500];
    let array = |value: &dyn Fn(&SessionId) -> String| {
        format!("'{{{}}}'", ids.iter().map(value).collect::<Vec<_>>().join(","))
    };
    let days = |everyday_days, late_days| {
        days_ago(if everyday { everyday_days } else { late_days }).as_millis().to_string()
    };
    let literal = |(subject, operator): (&str, &str)| match subject {
        "id" => D::binary(ids[0].as_bytes()),
        "device_id" => D::binary(sample.device.as_bytes()),
        "user_id" => format!("'{user}'"),
        "username" => format!("'{user}@example.com'"),
        "kind" => "'web'".to_owned(),
        "created_at" if operator == ">=" => days(1, 80),
        "created_at" => days(0, 45),
        "deadline_at" if operator == "<=" => days(0, -60),
        "deadline_at" => days(0, 0),
        "ended_at" => days(89, 30),
        // "at" is the time of a touch, which is compared with the current time.
        "at" | "last_seen_at" => NOW.as_millis().to_string(),
        "LIMIT" => "101".to_owned(),
        "revision" => "1".to_owned(),
        // The arrays and the JSON that a touch expands.
        "ANY" | "UNNEST" => array(&SessionId::to_string),
        "uuid" => array(&|_| NOW.as_millis().to_string()),
        "bigint" | "text" => array(&|_| "NULL".to_owned()),
        "JSON_TABLE" => {
            let touch = |id: &SessionId| {
                format!("[\"{}\",{},null,null]", id.to_string().replace('-', ""), NOW.as_millis())
            };
            format!("'[{}]'", ids.iter().map(touch).collect::<Vec<_>>().join(","))
        }
        _ => "NULL".to_owned(),
    };
    subjects(text).into_iter().map(literal).collect()
}

/// Returns the word before each placeholder, and the operator between them.
fn subjects(text: &str) -> Vec<(&str, &str)> {
    let is_word =
        |word: &&str| !word.is_empty() && *word != "IN" && !word.starts_with(|c: char| c.is_ascii_digit());
    let subject = |(at, _)| {
        let before: &str = &text[..at];
        let mut words = before.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_word);
        let mut between = before.split_whitespace();
        (words.next_back().unwrap_or_default(), between.next_back().unwrap_or_default())
    };
    text.match_indices(['?', '$']).map(subject).collect()
}

impl Explained for Postgres {
    const NO_DATA: &str = "''";
    const ALONE: &[&str] = &["ALTER TABLE {table} SET (autovacuum_enabled = off)"];
    const STATISTICS: &[&str] = &["", "VACUUM ANALYZE {table}"];
    const PRIMARY: &str = "_pkey";

    fn binary(bytes: &[u8; 16]) -> String {
        format!("'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// Explains a prepared statement: its first five plans are made for the values, and from the
    /// sixth on the plan may be a generic one.
    async fn explain(
        connection: &mut Self::Connection,
        text: &str,
        table: &str,
        values: &[String],
    ) -> Vec<Plan> {
        Self::script(connection, sql(&format!("PREPARE explained AS {text}"))).await.unwrap();
        let query = format!("EXPLAIN EXECUTE explained ({})", values.join(", "));
        let mut plans = Vec::new();
        for _ in 0..7 {
            let rows = connection.fetch_all(sqlx::raw_sql(sql(&query))).await.unwrap();
            plans.push(postgres_plan(rows.iter().map(|row| row.get::<String, _>(0)), table));
        }
        Self::script(connection, sql("DEALLOCATE explained")).await.unwrap();
        plans
    }
}

fn postgres_plan(lines: impl Iterator<Item = String>, table: &str) -> Plan {
    let mut plan = Plan::default();
    for line in lines {
        plan.text += &format!("{line}\n");
        let node = line.trim_start().trim_start_matches("->").trim_start();
        if node.starts_with("Sort  (") || node.starts_with("Incremental Sort") {
            let rows = node.split_once("rows=").and_then(|(_, rows)| rows.split(' ').next());
            plan.sorted = plan.sorted.max(rows.unwrap().parse().unwrap());
        }
        if node.contains(&format!("Seq Scan on {table}")) {
            plan.accesses.push(Access::Whole);
        }
        let index = node.split_once(" using ").or_else(|| node.split_once("Bitmap Index Scan on "));
        if let Some((_, index)) = index.filter(|(_, index)| index.starts_with(table)) {
            plan.accesses.push(Access::Walk(suffix(index, table)));
        }
        if node.starts_with("Index Cond: ")
            && let Some(Access::Walk(index)) = plan.accesses.last().cloned()
        {
            plan.accesses.pop();
            plan.accesses.push(Access::Search(index));
        }
    }
    plan
}

/// Returns the suffix of an index after the table's name.
fn suffix(index: &str, table: &str) -> String {
    let index = index.split(' ').next().unwrap_or_default();
    index.strip_prefix(table).unwrap_or(index).to_owned()
}

impl Explained for MySql {
    const NO_DATA: &str = "X''";
    const ALONE: &[&str] = &[];
    const STATISTICS: &[&str] = &["ANALYZE TABLE {table}"];
    const PRIMARY: &str = "PRIMARY";

    fn binary(bytes: &[u8; 16]) -> String {
        format!("X'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    async fn explain(
        connection: &mut Self::Connection,
        text: &str,
        table: &str,
        values: &[String],
    ) -> Vec<Plan> {
        let mut query = "EXPLAIN ".to_owned();
        let mut parts = text.split('?');
        query += parts.next().unwrap_or_default();
        for (value, part) in values.iter().zip(parts) {
            query += value;
            query += part;
        }
        let rows = connection.fetch_all(sqlx::raw_sql(sql(&query))).await.unwrap();
        let mut plan = Plan::default();
        for row in rows {
            let cell = |name| row.get::<Option<String>, _>(name).unwrap_or_default();
            let (of, kind, key, extra) = (cell("table"), cell("type"), cell("key"), cell("Extra"));
            plan.text += &format!("{of}: {kind}, {key} ({}), {extra}\n", cell("key_len"));
            // `t` is the alias in the touch statement.
            if of != table && of != "t" {
                continue;
            }
            if extra.contains("Using filesort") {
                plan.sorted = plan.sorted.max(cell("rows").parse().unwrap());
            }
            plan.accesses.push(match &*kind {
                "ALL" => Access::Whole,
                "index" => Access::Walk(suffix(&key, table)),
                _ => Access::Search(suffix(&key, table)),
            });
        }
        vec![plan]
    }
}

impl Explained for Sqlite {
    const NO_DATA: &str = "X''";
    const ALONE: &[&str] = &[];
    // Few applications gather statistics in SQLite.
    const STATISTICS: &[&str] = &["", "ANALYZE"];
    const PRIMARY: &str = "sqlite_autoindex_";

    fn binary(bytes: &[u8; 16]) -> String {
        <MySql as Explained>::binary(bytes)
    }

    /// Explains the statement with its placeholders, which do not affect the plan.
    async fn explain(connection: &mut Self::Connection, text: &str, table: &str, _: &[String]) -> Vec<Plan> {
        let query = sql(&format!("EXPLAIN QUERY PLAN {text}"));
        let rows = connection.fetch_all(sqlx::query(query)).await.unwrap();
        let mut plan = Plan::default();
        for row in rows {
            let line: String = row.get("detail");
            plan.text += &format!("{line}\n");
            if line.contains("USE TEMP B-TREE FOR") {
                plan.sorted = u64::MAX;
            }
            let index = line.split_once(" INDEX ").map(|(_, index)| index);
            let index = index.map(|index| suffix(index, table).replace(&format!("{table}_1"), ""));
            let of = |word: &str| {
                [table, "t"].iter().any(|name| format!("{line} ").starts_with(&format!("{word} {name} ")))
            };
            match index {
                Some(index) if of("SEARCH") => plan.accesses.push(Access::Search(index)),
                Some(index) if of("SCAN") => plan.accesses.push(Access::Walk(index)),
                _ if of("SCAN") => plan.accesses.push(Access::Whole),
                _ => {}
            }
        }
        vec![plan]
    }
}
