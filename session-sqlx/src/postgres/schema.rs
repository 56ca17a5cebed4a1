//! The tables of caches and buses. Their content may be lost, so they have no migration steps: a
//! table exists or it does not.

use std::time::Duration;

use session_core::Error;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use super::{NAME, lines};
use crate::dialect::Dialect;
use crate::error::StepError;
use crate::migrate::{MigrateError, Missing, names};
use crate::statements::Template;
use crate::table::TableName;

/// The limit for a schema change, including the wait for another process.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The tables that a cache or a bus needs.
#[derive(Debug)]
pub(super) struct Schema {
    /// The SQL, with `{table}` and the other names to be filled in.
    pub(super) text: &'static str,
    /// The tables, as suffixes of the table's name, with their columns.
    pub(super) tables: &'static [(&'static str, &'static [&'static str])],
    /// The indexes, as suffixes of the table's name.
    pub(super) indexes: &'static [&'static str],
}

pub(super) fn template(table: &TableName) -> Template {
    Template { table: table.clone(), syntax: &<Postgres as Dialect>::SYNTAX }
}

impl Schema {
    pub(super) fn sql(&self, table: &TableName) -> String {
        template(table).fill(self.text)
    }

    /// Creates the missing parts, and checks all of them.
    pub(super) async fn migrate(&self, pool: &PgPool, table: &TableName) -> Result<(), MigrateError> {
        // Several statements in one script are one transaction. `IF NOT EXISTS` alone fails if two
        // processes run it at the same moment.
        let text = format!("SELECT pg_advisory_xact_lock({{lock}}); {}", self.text);
        let script = template(table).script(&text);
        within("migrate", async {
            let mut connection = opened(pool).await?;
            Ok(Postgres::script(&mut connection, script).await?)
        })
        .await?;
        self.verify(pool, table).await
    }

    /// Returns an error that lists the missing parts.
    pub(super) async fn verify(&self, pool: &PgPool, table: &TableName) -> Result<(), MigrateError> {
        let missing = within("verify", async {
            let mut connection = opened(pool).await?;
            let missing = self.missing(&mut connection, table).await?;
            // The result does not matter: the connection is closed in any case.
            let _ = connection.close().await;
            Ok(missing)
        })
        .await?;
        if missing.is_empty() { Ok(()) } else { Err(MigrateError::Missing(missing)) }
    }

    async fn missing(
        &self,
        connection: &mut PgConnection,
        table: &TableName,
    ) -> Result<Vec<Missing>, StepError> {
        let mut missing = Vec::new();
        let queries = <Postgres as Dialect>::SYNTAX.schema;
        for (suffix, columns) in self.tables {
            let table = table.beside(suffix);
            let existing = names::<Postgres>(connection, &table, queries.columns).await?;
            if existing.is_empty() {
                missing.push(Missing::Table(table.to_string()));
                continue;
            }
            let absent = columns.iter().filter(|name| !existing.contains(**name));
            missing.extend(absent.map(|name| Missing::Column(format!("{table}.{name}"))));
        }
        let existing = names::<Postgres>(connection, table, queries.indexes).await?;
        let expected = self.indexes.iter().map(|suffix| format!("{}{suffix}", table.name()));
        missing.extend(expected.filter(|name| !existing.contains(name)).map(Missing::Index));
        Ok(missing)
    }
}

async fn opened(pool: &PgPool) -> Result<PgConnection, StepError> {
    Ok(lines::private(pool).acquire().await?.detach())
}

async fn within<T>(
    operation: &'static str,
    work: impl Future<Output = Result<T, StepError>> + Send,
) -> Result<T, Error> {
    match timeout(TIMEOUT, work).await {
        Ok(result) => result.map_err(|error| error.into_error::<Postgres>(operation)),
        Err(_) => Err(Error::timeout(NAME, operation)),
    }
}
