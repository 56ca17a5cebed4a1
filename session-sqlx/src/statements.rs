//! The SQL of every statement. A store builds it once, from the parts that all databases share and
//! the [`Syntax`] of its database.

use std::sync::Arc;

use session_core::limits::MAX_BATCH;
use session_core::{EndScope, ListQuery, StateFilter};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::columns;
use crate::dialect::{Claim, Syntax};
use crate::table::TableName;

/// Fills in names and numbers the placeholders.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) table: TableName,
    pub(crate) syntax: &'static Syntax,
}

impl Template {
    /// Returns a statement. The only part of it that is not a constant is the validated table name.
    pub(crate) fn sql(&self, text: &str) -> SqlStr {
        self.filled(self.fill(text))
    }

    /// Returns a statement whose names are already filled in.
    fn filled(&self, text: String) -> SqlStr {
        let text = if self.syntax.numbered { numbered(&text) } else { text };
        AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
    }

    /// Returns a script, which has no placeholders.
    pub(crate) fn script(&self, text: &str) -> SqlStr {
        AssertSqlSafe(self.fill(text)).into_sql_str()
    }

    /// Fills in the names.
    pub(crate) fn fill(&self, text: &str) -> String {
        let quote = self.syntax.quote;
        let schema = self.table.schema().map_or_else(|| "NULL".to_owned(), |schema| format!("'{schema}'"));
        let names = [
            ("{columns}", columns::all()),
            ("{history}", columns::history()),
            ("{table}", self.table.quoted(quote, "")),
            ("{locks}", self.table.quoted(quote, "_locks")),
            ("{head}", self.table.quoted(quote, "_head")),
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

/// Rewrites `?, ?` as `$1, $2`.
fn numbered(text: &str) -> String {
    let mut parts = text.split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.enumerate().fold(first, |text, (index, part)| format!("{text}${}{part}", index + 1))
}

/// One text for each power of two up to the largest batch. Lists of ids have these lengths, so a
/// connection prepares ten statements instead of 500.
#[derive(Debug)]
pub(crate) struct BySize<T>(Vec<T>);

impl<T> BySize<T> {
    fn new(make: impl Fn(usize) -> T) -> Self {
        let sizes = std::iter::successors(Some(1_usize), |size| Some(size * 2));
        Self(sizes.take(1 + MAX_BATCH.next_power_of_two().ilog2() as usize).map(make).collect())
    }

    /// Returns the text for a number of ids, from one to a full batch.
    pub(crate) fn get(&self, ids: usize) -> &T {
        &self.0[ids.next_power_of_two().ilog2() as usize]
    }
}

/// The SQL of a claim.
#[derive(Debug)]
pub(crate) enum ClaimSql {
    /// Ends and returns the rows: binds the values of the end, then those that select the rows,
    /// then the maximum number of rows.
    Returning(SqlStr),
    /// Locks and returns the rows: binds the values that select the rows, then the maximum number
    /// of rows. One of the updates follows.
    Selecting(SqlStr),
}

/// Every statement of a store.
#[derive(Debug)]
pub(crate) struct Statements {
    template: Template,
    pub(crate) insert: SqlStr,
    /// The beginning of every listing. The rest depends on the query.
    list_from: String,
    pub(crate) load_one: SqlStr,
    pub(crate) load_many: BySize<SqlStr>,
    pub(crate) update: SqlStr,
    /// Reads why an update changed no row.
    pub(crate) current: SqlStr,
    pub(crate) touch: SqlStr,
    pub(crate) lock_user: Option<SqlStr>,
    pub(crate) live_of_user: SqlStr,
    end_device: ClaimSql,
    end_ids: BySize<ClaimSql>,
    end_user: ClaimSql,
    end_user_except: ClaimSql,
    pub(crate) expire: ClaimSql,
    /// End the locked rows: bind the values of the end, then the ids.
    pub(crate) end_selected: BySize<SqlStr>,
    pub(crate) expire_selected: BySize<SqlStr>,
    pub(crate) purge: SqlStr,
    pub(crate) erase: SqlStr,
    pub(crate) stats: SqlStr,
}

/// The assignments of an end: binds reason, actor, time and the empty data.
const END: &str = "ended_reason = ?, ended_by = ?, ended_at = ?, revision = revision + 1, \
                   secret = NULL, refresh = NULL, data = ?";

/// The same for the deadline that each row has passed: binds the empty data. The time comes last,
/// because MySQL evaluates assignments in order and an ended row has no deadline.
const END_BY_DEADLINE: &str = "ended_reason = CASE WHEN deadline_at < expires_at THEN 'idle_timeout' ELSE 'absolute_timeout' END, \
     ended_by = 'system', revision = revision + 1, secret = NULL, refresh = NULL, data = ?, ended_at = deadline_at";

/// Matches an active row that is selected by its id. `+ 0` hides the condition from the planners,
/// which would otherwise use the index of active sessions: PostgreSQL reads all of those while it
/// has no statistics, and MariaDB locks the gap in that index into which new sessions are inserted.
const IS_ACTIVE: &str = "ended_at + 0 IS NULL";

/// Matches a row, selected by its id, that was created by a given time: binds the time. `+ 0` as in
/// [`IS_ACTIVE`], because the creation time is indexed too.
const CREATED_UNTIL: &str = "created_at + 0 <= ?";

/// Matches a live row: binds the current time. An ended row has no deadline. `COALESCE` hides the
/// condition from PostgreSQL's planner, which would read the live sessions of all users from the
/// index of deadlines and sort them, even for one page or for a user with a long history.
const LIVE: &str = "COALESCE(deadline_at > ?, FALSE)";

impl Statements {
    pub(crate) fn new(table: TableName, syntax: &'static Syntax) -> Self {
        let template = Template { table, syntax };
        let ids = syntax.ids;
        let end_of_user = |condition: &str| {
            let condition = format!("{condition} AND ended_at IS NULL AND created_at <= ?");
            template.claim(END, &condition, "created_at, id", syntax.lock_rows)
        };
        Self {
            insert: template
                .sql(&format!("INSERT INTO {{table}} ({{columns}}) VALUES ({})", columns::placeholders())),
            list_from: template.fill("SELECT {history} FROM {table} WHERE "),
            load_one: template.sql("SELECT {columns} FROM {table} WHERE id = ?"),
            load_many: BySize::new(|size| {
                template.sql(&format!("SELECT {{columns}} FROM {{table}} WHERE {}", ids(size)))
            }),
            // The last-seen columns in this order, because MySQL evaluates assignments in order.
            update: template.sql(&format!(
                "UPDATE {{table}} SET {}, revision = revision + 1, \
                 last_ip_address = CASE WHEN last_seen_at > ? THEN last_ip_address ELSE ? END, \
                 last_country_code = CASE WHEN last_seen_at > ? THEN last_country_code ELSE ? END, \
                 last_seen_at = CASE WHEN last_seen_at > ? THEN last_seen_at ELSE ? END \
                 WHERE id = ? AND revision = ? AND {IS_ACTIVE}",
                columns::save()
            )),
            current: template
                .sql("SELECT revision, ended_reason, ended_at, ended_by FROM {table} WHERE id = ?"),
            touch: template.sql(syntax.touch),
            lock_user: syntax.lock_user.map(|text| template.sql(text)),
            live_of_user: template.sql(&format!(
                "SELECT {{history}} FROM {{table}} WHERE user_id = ? AND ended_at IS NULL AND {LIVE} AND id <> ?"
            )),
            end_device: end_of_user("user_id = ? AND device_id = ?"),
            end_ids: BySize::new(|size| {
                let condition = format!("{} AND {IS_ACTIVE} AND {CREATED_UNTIL}", ids(size));
                template.claim(END, &condition, "id", syntax.lock_rows)
            }),
            end_user: end_of_user("user_id = ?"),
            end_user_except: end_of_user("user_id = ? AND id <> ?"),
            expire: template.claim(
                END_BY_DEADLINE,
                // An ended row has no deadline.
                "deadline_at <= ?",
                "deadline_at",
                syntax.skip_locked,
            ),
            end_selected: BySize::new(|size| template.end_selected(END, size)),
            expire_selected: BySize::new(|size| template.end_selected(END_BY_DEADLINE, size)),
            purge: template.sql(&format!(
                "DELETE FROM {{table}} WHERE {}",
                (syntax.first)("ended_at IS NOT NULL AND ended_at < ?", "ended_at", syntax.skip_locked)
            )),
            erase: template.sql(&format!(
                "UPDATE {{table}} SET {}, ended_by = 'system', revision = revision + 1 WHERE {}",
                columns::erase(),
                (syntax.first)("user_id = ? AND ended_at IS NOT NULL", "created_at, id", syntax.lock_rows)
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

    /// Returns the claim that ends a scope, or `None` for a scope of a later version. Rows are
    /// selected by the scope, then by the latest creation time.
    pub(crate) fn end(&self, scope: &EndScope) -> Option<&ClaimSql> {
        match scope {
            EndScope::Device { .. } => Some(&self.end_device),
            EndScope::Ids(ids) => Some(self.end_ids.get(ids.len())),
            EndScope::User(_) => Some(&self.end_user),
            EndScope::UserExcept { .. } => Some(&self.end_user_except),
            _ => None,
        }
    }

    /// Returns the SQL for a page of a listing. Binds, where the query has them: user, name, live
    /// at, kind, device, created since, cursor (time, time, id), and one more than the page size.
    pub(crate) fn list(&self, query: &ListQuery) -> Option<SqlStr> {
        let state = match query.state {
            StateFilter::Any => None,
            StateFilter::Ended => Some("ended_at IS NOT NULL"),
            StateFilter::Live(_) => Some(LIVE),
            _ => return None,
        };
        let conditions = [
            query.user.as_ref().map(|_| "user_id = ?"),
            // Selects the index of a user's active sessions. Without a user, PostgreSQL would use
            // that index for all users.
            query.user.as_ref().filter(|_| state == Some(LIVE)).map(|_| "ended_at IS NULL"),
            query.username.as_ref().map(|_| "username = ?"),
            state,
            // `COALESCE` as in LIVE: without statistics a kind looks rare, and the planner would
            // read the whole table for a page.
            query.kind.map(|_| "COALESCE(kind = ?, FALSE)"),
            query.device.map(|_| "COALESCE(device_id = ?, FALSE)"),
            query.created_since.map(|_| "created_at >= ?"),
            // Written out, because MySQL uses no index for `(created_at, id) < (?, ?)`.
            query.after.map(|_| "created_at <= ? AND (created_at < ? OR id < ?)"),
        ];
        let conditions: Vec<_> = conditions.into_iter().flatten().collect();
        let filter = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
        let text = format!("{}{filter} ORDER BY created_at DESC, id DESC LIMIT ?", self.list_from);
        Some(self.template.filled(text))
    }
}

impl Template {
    fn claim(&self, end: &str, condition: &str, order: &str, lock: &str) -> ClaimSql {
        match self.syntax.claim {
            Claim::Returning => {
                let picked = (self.syntax.first)(condition, order, lock);
                ClaimSql::Returning(self.sql(&format!(
                    "UPDATE {{table}} SET {end} WHERE {IS_ACTIVE} AND {picked} RETURNING {{history}}"
                )))
            }
            Claim::Selecting => ClaimSql::Selecting(self.sql(&format!(
                "SELECT {{history}} FROM {{table}} WHERE {condition} ORDER BY {order} LIMIT ?{lock}"
            ))),
        }
    }

    fn end_selected(&self, end: &str, ids: usize) -> SqlStr {
        let ids = (self.syntax.ids)(ids);
        self.sql(&format!("UPDATE {{table}} SET {end} WHERE {IS_ACTIVE} AND {ids}"))
    }
}

/// The most rows that one statement ends.
pub(crate) const END_BATCH: usize = MAX_BATCH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_size_has_a_text() {
        let sizes = BySize::new(|size| size);
        assert_eq!([1, 2, 3, 256, 257, MAX_BATCH].map(|ids| *sizes.get(ids)), [1, 2, 4, 256, 512, 512]);
    }

    #[test]
    fn placeholders_are_numbered_in_order() {
        assert_eq!(numbered("a = ? AND b IN (?, ?)"), "a = $1 AND b IN ($2, $3)");
        assert_eq!(numbered("?"), "$1");
        assert_eq!(numbered("none"), "none");
    }
}
