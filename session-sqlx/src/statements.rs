//! The text of every statement, made once for a store from what the databases share and from the [`Syntax`] of its own.

use std::sync::Arc;

use session_core::limits::MAX_BATCH;
use session_core::{EndScope, ListQuery, StateFilter};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::columns;
use crate::dialect::Syntax;
use crate::table::TableName;

/// Fills in names and numbers placeholders.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) table: TableName,
    pub(crate) syntax: &'static Syntax,
}

impl Template {
    /// A statement of ours. The only text in it that is not a constant is the checked name of the table.
    pub(crate) fn sql(&self, text: &str) -> SqlStr {
        let filled = self.fill(text);
        let text = if self.syntax.numbered { numbered(&filled) } else { filled };
        AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
    }

    /// A script, which has no placeholders.
    pub(crate) fn script(&self, text: &str) -> SqlStr {
        AssertSqlSafe(self.fill(text)).into_sql_str()
    }

    /// The text with the names in it.
    pub(crate) fn fill(&self, text: &str) -> String {
        let quote = self.syntax.quote;
        let schema = self.table.schema().map_or_else(|| "NULL".to_owned(), |schema| format!("'{schema}'"));
        let names = [
            ("{columns}", columns::all()),
            ("{history}", columns::history()),
            ("{table}", self.table.quoted(quote, "")),
            ("{locks}", self.table.quoted(quote, "_locks")),
            ("{migrations}", self.table.quoted(quote, "_migrations")),
            ("{schema}", self.table.schema_prefix(quote)),
            ("{name}", self.table.name().to_owned()),
            ("{regclass}", format!("'{}'", self.table.quoted(quote, ""))),
            ("{schema_text}", schema),
            ("{name_text}", format!("'{}'", self.table.name())),
            ("{lock}", self.table.lock_number("").cast_signed().to_string()),
        ];
        names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// `?, ?` as `$1, $2`.
fn numbered(text: &str) -> String {
    let mut parts = text.split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.enumerate().fold(first, |text, (index, part)| format!("{text}${}{part}", index + 1))
}

/// The fixed statements.
#[derive(Debug)]
pub(crate) struct Statements {
    template: Template,
    pub(crate) insert: SqlStr,
    pub(crate) load_one: SqlStr,
    pub(crate) update: SqlStr,
    /// Why an update changed nothing.
    pub(crate) current: SqlStr,
    pub(crate) touch: SqlStr,
    pub(crate) lock_user: Option<SqlStr>,
    pub(crate) live_of_user: SqlStr,
    pub(crate) purge: SqlStr,
    pub(crate) erase: SqlStr,
    pub(crate) stats: SqlStr,
}

/// How rows end: what `UPDATE` sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndText {
    /// All alike: binds reason, actor, time and the empty data.
    Given,
    /// Each by the deadline that it passed: binds the empty data. The time comes last, because MySQL assigns one after the other and
    /// the deadline is gone once there is an end.
    Deadline,
}

impl EndText {
    const fn set(self) -> &'static str {
        match self {
            Self::Given => {
                "ended_reason = ?, ended_by = ?, ended_at = ?, revision = revision + 1, secret = NULL, refresh = NULL, data = ?"
            }
            Self::Deadline => {
                "ended_reason = CASE WHEN deadline_at < expires_at THEN 'idle_timeout' ELSE 'absolute_timeout' END, \
                 ended_by = 'system', revision = revision + 1, secret = NULL, refresh = NULL, data = ?, ended_at = deadline_at"
            }
        }
    }
}

impl Statements {
    pub(crate) fn new(table: TableName, syntax: &'static Syntax) -> Self {
        let template = Template { table, syntax };
        let first = |condition, order, skip| (syntax.first)(condition, order, skip);
        Self {
            insert: template.sql(&format!("INSERT INTO {{table}} ({{columns}}) VALUES ({})", columns::placeholders())),
            load_one: template.sql("SELECT {columns} FROM {table} WHERE id = ?"),
            // The sighting in this order, because MySQL assigns one after the other.
            update: template.sql(&format!(
                "UPDATE {{table}} SET {}, revision = revision + 1, \
                 last_ip_address = CASE WHEN last_seen_at > ? THEN last_ip_address ELSE ? END, \
                 last_country_code = CASE WHEN last_seen_at > ? THEN last_country_code ELSE ? END, \
                 last_seen_at = CASE WHEN last_seen_at > ? THEN last_seen_at ELSE ? END \
                 WHERE id = ? AND revision = ? AND ended_at IS NULL",
                columns::save()
            )),
            current: template
                .sql("SELECT revision, ended_reason, ended_at, ended_by FROM {table} WHERE id = ?"),
            touch: template.sql(syntax.touch),
            lock_user: syntax.lock_user.map(|text| template.sql(text)),
            live_of_user: template.sql(
                "SELECT {history} FROM {table} WHERE user_id = ? AND ended_at IS NULL AND deadline_at > ? AND id <> ?",
            ),
            purge: template.sql(&format!(
                "DELETE FROM {{table}} WHERE {}",
                first("ended_at IS NOT NULL AND ended_at < ?", "ended_at", syntax.skip_locked)
            )),
            erase: template.sql(&format!(
                "UPDATE {{table}} SET {}, ended_by = 'system', revision = revision + 1 WHERE {}",
                columns::erase(),
                first("user_id = ? AND ended_at IS NOT NULL", "created_at, id", syntax.lock_rows)
            )),
            stats: template.sql(
                "SELECT ended_reason, COUNT(*), COUNT(CASE WHEN deadline_at > ? THEN 1 END), \
                 COUNT(DISTINCT CASE WHEN deadline_at > ? THEN user_id END), MIN(created_at), MAX(created_at) \
                 FROM {table} GROUP BY ended_reason",
            ),
            template,
        }
    }

    pub(crate) const fn template(&self) -> &Template {
        &self.template
    }

    pub(crate) fn syntax(&self) -> &'static Syntax {
        self.template.syntax
    }

    pub(crate) fn load_many(&self, ids: usize) -> SqlStr {
        self.template.sql(&format!("SELECT {{columns}} FROM {{table}} WHERE {}", (self.syntax().ids)(ids)))
    }

    /// Ends what a condition picks and returns it: binds what the end binds, then what the condition does, then the most rows.
    pub(crate) fn end_returning(&self, end: EndText, pick: &Pick) -> SqlStr {
        let picked = (self.syntax().first)(&pick.condition, pick.order, pick.lock);
        self.template.sql(&format!(
            "UPDATE {{table}} SET {} WHERE ended_at IS NULL AND {picked} RETURNING {{history}}",
            end.set()
        ))
    }

    /// Locks what a condition picks and returns it: binds what the condition does, then the most rows.
    pub(crate) fn select_to_end(&self, pick: &Pick) -> SqlStr {
        let Pick { condition, order, lock } = pick;
        self.template.sql(&format!(
            "SELECT {{history}} FROM {{table}} WHERE {condition} ORDER BY {order} LIMIT ?{lock}"
        ))
    }

    /// Ends what was locked: binds what the end binds, then the ids.
    pub(crate) fn end_selected(&self, end: EndText, ids: usize) -> SqlStr {
        let ids = (self.syntax().ids)(ids);
        self.template.sql(&format!("UPDATE {{table}} SET {} WHERE ended_at IS NULL AND {ids}", end.set()))
    }

    /// What a scope picks. `None` for a scope of a later version.
    pub(crate) fn pick(&self, scope: &EndScope) -> Option<Pick> {
        let condition = match scope {
            EndScope::Device { .. } => "user_id = ? AND ended_at IS NULL AND device_id = ?".to_owned(),
            EndScope::Ids(ids) => format!("{} AND ended_at IS NULL", (self.syntax().ids)(ids.len())),
            EndScope::User(_) => "user_id = ? AND ended_at IS NULL".to_owned(),
            EndScope::UserExcept { .. } => "user_id = ? AND ended_at IS NULL AND id <> ?".to_owned(),
            _ => return None,
        };
        Some(Pick { condition, order: "created_at, id", lock: self.syntax().lock_rows })
    }

    /// What a sweep picks: binds now.
    pub(crate) fn pick_expired(&self) -> Pick {
        let condition = "ended_at IS NULL AND deadline_at <= ?".to_owned();
        Pick { condition, order: "deadline_at", lock: self.syntax().skip_locked }
    }

    /// A page of a listing. Binds, where the query has them: user, name, live at, kind, created since, cursor (time, time, id), and
    /// one more than the page holds.
    pub(crate) fn list(&self, query: &ListQuery) -> Option<SqlStr> {
        let state = match query.state {
            StateFilter::Any => None,
            StateFilter::Ended => Some("ended_at IS NOT NULL"),
            StateFilter::Live(_) => Some("ended_at IS NULL AND deadline_at > ?"),
            _ => return None,
        };
        let conditions = [
            query.user.as_ref().map(|_| "user_id = ?"),
            query.username.as_ref().map(|_| "username = ?"),
            state,
            query.kind.map(|_| "kind = ?"),
            query.created_since.map(|_| "created_at >= ?"),
            // Spelled out, because MySQL finds no index for `(created_at, id) < (?, ?)`.
            query.after.map(|_| "created_at <= ? AND (created_at < ? OR id < ?)"),
        ];
        let conditions: Vec<_> = conditions.into_iter().flatten().collect();
        let filter = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        Some(self.template.sql(&format!(
            "SELECT {{history}} FROM {{table}}{filter} ORDER BY created_at DESC, id DESC LIMIT ?"
        )))
    }
}

/// Rows to end: which, in which order, and how they are locked.
#[derive(Debug)]
pub(crate) struct Pick {
    condition: String,
    order: &'static str,
    lock: &'static str,
}

/// Most rows that one statement ends.
pub(crate) const END_BATCH: usize = MAX_BATCH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_in_order() {
        assert_eq!(numbered("a = ? AND b IN (?, ?)"), "a = $1 AND b IN ($2, $3)");
        assert_eq!(numbered("?"), "$1");
        assert_eq!(numbered("none"), "none");
    }
}
