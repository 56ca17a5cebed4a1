//! The tables of caches and buses. What they hold may be lost, so they have no history of steps: they are there or not.

use std::time::Duration;

use session_core::Error;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use super::{NAME, lines};
use crate::dialect::Dialect;
use crate::error::Trouble;
use crate::migrate::{MigrateError, Missing, names};
use crate::statements::Template;
use crate::table::TableName;

/// How long a change of the schema may take, the wait for another process included.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a cache or a bus needs.
#[derive(Debug)]
pub(super) struct Schema {
    /// The statements, in which `{table}` and the like are filled in.
    pub(super) text: &'static str,
    /// What comes after the name of the table, and the columns.
    pub(super) tables: &'static [(&'static str, &'static [&'static str])],
    /// The indexes, by what comes after the name of the table.
    pub(super) indexes: &'static [&'static str],
}

pub(super) fn template(table: &TableName) -> Template {
    Template { table: table.clone(), syntax: &<Postgres as Dialect>::SYNTAX }
}

impl Schema {
    pub(super) fn sql(&self, table: &TableName) -> String {
        template(table).fill(self.text)
    }

    /// Makes what is not there, and checks all of it.
    pub(super) async fn migrate(&self, pool: &PgPool, table: &TableName) -> Result<(), MigrateError> {
        // Several statements at once are one transaction. `IF NOT EXISTS` alone fails if two do it at the same moment.
        let text = format!("SELECT pg_advisory_xact_lock({{lock}}); {}", self.text);
        let script = template(table).script(&text);
        within("migrate", async {
            let mut connection = opened(pool).await?;
            Ok(Postgres::script(&mut connection, script).await?)
        })
        .await?;
        self.verify(pool, table).await
    }

    /// Says what is not there.
    pub(super) async fn verify(&self, pool: &PgPool, table: &TableName) -> Result<(), MigrateError> {
        let missing = within("verify", async {
            let mut connection = opened(pool).await?;
            let missing = self.missing(&mut connection, table).await?;
            // Whether the server hears the farewell does not matter.
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
    ) -> Result<Vec<Missing>, Trouble> {
        let mut missing = Vec::new();
        let questions = <Postgres as Dialect>::SYNTAX.schema;
        for (suffix, columns) in self.tables {
            let table = table.beside(suffix);
            let there = names::<Postgres>(connection, &table, questions.columns).await?;
            if there.is_empty() {
                missing.push(Missing::Table(table.to_string()));
                continue;
            }
            let absent = columns.iter().filter(|name| !there.contains(**name));
            missing.extend(absent.map(|name| Missing::Column(format!("{table}.{name}"))));
        }
        let there = names::<Postgres>(connection, table, questions.indexes).await?;
        let expected = self.indexes.iter().map(|suffix| format!("{}{suffix}", table.name()));
        missing.extend(expected.filter(|name| !there.contains(name)).map(Missing::Index));
        Ok(missing)
    }
}

async fn opened(pool: &PgPool) -> Result<PgConnection, Trouble> {
    Ok(lines::private(pool).acquire().await?.detach())
}

async fn within<T>(
    operation: &'static str,
    work: impl Future<Output = Result<T, Trouble>> + Send,
) -> Result<T, Error> {
    match timeout(PATIENCE, work).await {
        Ok(result) => result.map_err(|trouble| trouble.into_error::<Postgres>(operation)),
        Err(_) => Err(Error::timeout(NAME, operation)),
    }
}
