//! The schema: numbered steps up and down, and a check that changes nothing.

use std::collections::BTreeSet;
use std::fmt;

use session_core::Error;
use sqlx::{Connection, SqlStr};

use crate::columns;
use crate::connections::{Borrowed, Loan};
use crate::dialect::Dialect;
use crate::ending::finish;
use crate::error::{Failure, StepError, failure};
use crate::statements::Template;
use crate::store::{Boxed, SqlStore};
use crate::table::TableName;

/// The indexes, as suffixes of the table's name.
const INDEXES: [&str; 6] =
    ["_active_idx", "_created_idx", "_deadline_idx", "_ended_idx", "_user_idx", "_username_idx"];

/// One step of the schema. Its SQL never changes after a release; a schema change is a new step.
#[doc(hidden)]
#[derive(Debug)]
pub struct Migration {
    pub version: u32,
    pub name: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

/// The steps of a database, from its folder.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
macro_rules! migrations {
    ($folder:literal) => {
        $crate::migrate::migrations!($folder, 1 "0001_sessions", 2 "0002_indexes")
    };
    ($folder:literal, $($version:literal $name:literal),+) => {
        &[$($crate::migrate::Migration {
            version: $version,
            name: $name,
            up: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $folder, "/", $name, ".up.sql")),
            down: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $folder, "/", $name, ".down.sql")),
        }),+]
    };
}
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) use migrations;

/// A part of the schema that the store needs and the database lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Missing {
    /// A table.
    Table(String),
    /// A column of the table.
    Column(String),
    /// An index of the table.
    Index(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(name) => write!(f, "table {name}"),
            Self::Column(name) => write!(f, "column {name}"),
            Self::Index(name) => write!(f, "index {name}"),
        }
    }
}

/// The error of a schema check or change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database failed. Its own error is the source of the source.
    #[error("the database failed while its schema was read or changed")]
    Database(#[from] Error),
    /// Parts of the schema are missing.
    #[error(
        "missing in the database: {}; run `migrate`, or create it manually with the SQL of `migration_sql`",
        list(.0)
    )]
    Missing(Vec<Missing>),
    /// A later version of this crate migrated the schema.
    #[error(
        "the schema has version {found}, and this program knows versions up to {known}: it is older than the schema"
    )]
    Newer {
        /// The version of the schema.
        found: u32,
        /// The latest version that this program knows.
        known: u32,
    },
    /// The requested version does not exist.
    #[error("there is no version {asked} of the schema; the latest is {known}")]
    NoSuchVersion {
        /// The requested version.
        asked: u32,
        /// The latest version that this program knows.
        known: u32,
    },
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A migration step that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Its number.
    pub version: u32,
    /// Its name.
    pub name: &'static str,
    /// Whether the step was applied forwards.
    pub is_up: bool,
}

impl<D: Dialect> SqlStore<D> {
    /// The latest version of the schema that this program knows.
    #[must_use]
    pub fn latest_version() -> u32 {
        D::SYNTAX.schema.migrations.last().map_or(0, |migration| migration.version)
    }

    /// Brings the schema to the latest version and checks it. Returns the applied steps, none if
    /// the schema was up to date.
    ///
    /// Any number of processes may call it at once, also on an empty database: one migrates, the
    /// others wait for it. It changes only its own tables: the sessions, `<table>_migrations`,
    /// which stores the version, and on MySQL `<table>_locks`.
    ///
    /// # Errors
    /// [`Newer`](MigrateError::Newer) if a later version of this crate migrated the schema;
    /// [`Missing`](MigrateError::Missing) if a table of that name exists that this crate did not
    /// create, or that was altered.
    pub async fn migrate(&self) -> Result<Vec<Step>, MigrateError> {
        let steps = self.migrate_to(Self::latest_version()).await?;
        self.verify().await?;
        Ok(steps)
    }

    /// Brings the schema to a version, forwards or back. Version 0 is an empty schema: **it deletes
    /// all sessions.**
    ///
    /// # Errors
    /// [`NoSuchVersion`](MigrateError::NoSuchVersion), and those of [`migrate`](Self::migrate).
    pub async fn migrate_to(&self, version: u32) -> Result<Vec<Step>, MigrateError> {
        let known = Self::latest_version();
        if version > known {
            return Err(MigrateError::NoSuchVersion { asked: version, known });
        }
        let steps: Boxed<'_, _> = Box::pin(self.repeated("migrate", move || self.migrated(version)));
        steps.await?
    }

    /// Checks that everything the store needs exists, and lists what is missing. Changes nothing.
    ///
    /// Call it at startup if `migrate` runs elsewhere.
    ///
    /// # Errors
    /// [`Missing`](MigrateError::Missing) with each missing table, column and index.
    pub async fn verify(&self) -> Result<(), MigrateError> {
        let missing: Boxed<'_, _> = Box::pin(self.repeated("verify", || self.missing()));
        let missing = missing.await?;
        if missing.is_empty() { Ok(()) } else { Err(MigrateError::Missing(missing)) }
    }

    /// Returns the SQL that creates the schema, for use with another migration tool. It also
    /// records the versions, so that [`migrate`](Self::migrate) knows that they are applied.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "postgres")] {
    /// use session_sqlx::{PostgresStore, TableName};
    ///
    /// let sql = PostgresStore::migration_sql(&TableName::default());
    /// assert!(sql.contains(r#"CREATE TABLE "sessions""#));
    /// # }
    /// ```
    #[must_use]
    pub fn migration_sql(table: &TableName) -> String {
        let template = Template { table: table.clone(), syntax: &D::SYNTAX };
        let mut text = format!("{};\n", template.fill(TRACK));
        for migration in D::SYNTAX.schema.migrations {
            text += &format!(
                "\n-- {}\n{}{};\n",
                migration.name,
                template.fill(migration.up),
                template.fill(&record(migration))
            );
        }
        text
    }

    /// Applies the steps to a version, unless the existing schema prevents it.
    async fn migrated(&self, version: u32) -> Result<Result<Vec<Step>, MigrateError>, StepError> {
        let mut connection = Borrowed::from(&self.pool).await?;
        let _permit = self.writer_permit().await;
        let steps = if D::SYNTAX.schema.transactional {
            self.migrate_in_transaction(&mut connection, version).await
        } else {
            self.migrate_one_by_one(&mut connection, version).await
        };
        connection.settle(steps)
    }

    async fn migrate_in_transaction(
        &self,
        connection: &mut D::Connection,
        version: u32,
    ) -> Result<Result<Vec<Step>, MigrateError>, StepError> {
        let mut transaction = connection.begin_with(D::SYNTAX.begin).await?;
        let steps = self.take_locked_steps(&mut transaction, version).await;
        finish(transaction, steps).await
    }

    async fn take_locked_steps(
        &self,
        connection: &mut D::Connection,
        version: u32,
    ) -> Result<Result<Vec<Step>, MigrateError>, StepError> {
        if let Some(lock) = D::SYNTAX.schema.lock {
            self.script(connection, lock).await?;
        }
        self.take_steps(connection, version).await
    }

    async fn migrate_one_by_one(
        &self,
        connection: &mut D::Connection,
        version: u32,
    ) -> Result<Result<Vec<Step>, MigrateError>, StepError> {
        if let Some(lock) = D::SYNTAX.schema.lock {
            self.lock(connection, lock).await?;
        }
        let steps = self.take_steps(connection, version).await;
        let Some(unlock) = D::SYNTAX.schema.unlock else { return steps };
        // After a failure too, because the connection returns to the pool.
        let unlocked = self.script(connection, unlock).await;
        steps.and_then(|steps| unlocked.map(|()| steps))
    }

    /// Takes a lock whose statement has a time limit.
    async fn lock(&self, connection: &mut D::Connection, lock: &str) -> Result<(), StepError> {
        let sql = self.statements.template().sql(lock);
        let rows = D::rows(connection, sql, D::Arguments::default()).await?;
        let taken = rows.first().map(|row| D::int(row, 0)).transpose()?.flatten();
        if taken == Some(1) {
            return Ok(());
        }
        let timeout = Error::timeout(D::SYNTAX.name, "migrate");
        Err(timeout.with_detail("another process is still changing the schema").into())
    }

    async fn take_steps(
        &self,
        connection: &mut D::Connection,
        version: u32,
    ) -> Result<Result<Vec<Step>, MigrateError>, StepError> {
        let (stored, known) = (self.stored_version(connection).await?, Self::latest_version());
        if stored > known {
            return Ok(Err(MigrateError::Newer { found: stored, known }));
        }
        if stored == 0 && version > 0 {
            let missing = self.missing_columns(connection).await?.unwrap_or_default();
            if !missing.is_empty() {
                return Ok(Err(MigrateError::Missing(missing)));
            }
            self.script(connection, TRACK).await?;
        }
        let mut steps = Vec::new();
        let migrations = D::SYNTAX.schema.migrations;
        for migration in migrations.iter().filter(|step| step.version > stored && step.version <= version) {
            self.take(connection, migration, true).await?;
            steps.push(Step { version: migration.version, name: migration.name, is_up: true });
        }
        for migration in
            migrations.iter().rev().filter(|step| step.version <= stored && step.version > version)
        {
            self.take(connection, migration, false).await?;
            steps.push(Step { version: migration.version, name: migration.name, is_up: false });
        }
        if version == 0 {
            self.script(connection, "DROP TABLE IF EXISTS {migrations}").await?;
        }
        Ok(Ok(steps))
    }

    async fn take(
        &self,
        connection: &mut D::Connection,
        step: &Migration,
        is_up: bool,
    ) -> Result<(), StepError> {
        let (text, tracked) = if is_up { (step.up, record(step)) } else { (step.down, forget(step)) };
        tracing::info!(backend = D::SYNTAX.name, table = %self.table(), step = step.name, up = is_up, "changing the schema");
        match self.script(connection, text).await {
            // A process died after the step and before it recorded the version. This database
            // cannot do both in one transaction.
            Err(StepError::Driver(error)) if failure::<D>(&error) == Failure::AlreadyDone => {}
            result => result?,
        }
        self.script(connection, &tracked).await
    }

    async fn stored_version(&self, connection: &mut D::Connection) -> Result<u32, StepError> {
        let table = self.table().beside("_migrations");
        if names::<D>(connection, &table, D::SYNTAX.schema.columns).await?.is_empty() {
            return Ok(0);
        }
        let sql = self.statements.template().sql("SELECT MAX(version) FROM {migrations}");
        let rows = D::rows(connection, sql, D::Arguments::default()).await?;
        let version = rows.first().map(|row| D::int(row, 0)).transpose()?.flatten();
        Ok(version.and_then(|version| u32::try_from(version).ok()).unwrap_or(0))
    }

    async fn script(&self, connection: &mut D::Connection, text: &str) -> Result<(), StepError> {
        Ok(D::script(connection, self.statements.template().script(text)).await?)
    }

    async fn missing(&self) -> Result<Vec<Missing>, StepError> {
        let mut connection = Borrowed::from(&self.pool).await?;
        let missing = self.missing_on(&mut connection).await;
        connection.settle(missing)
    }

    async fn missing_on(&self, connection: &mut D::Connection) -> Result<Vec<Missing>, StepError> {
        let mut missing = Vec::new();
        for suffix in D::SYNTAX.schema.further_tables {
            let table = self.table().beside(suffix);
            if names::<D>(connection, &table, D::SYNTAX.schema.columns).await?.is_empty() {
                missing.push(Missing::Table(table.to_string()));
            }
        }
        let Some(columns) = self.missing_columns(connection).await? else {
            missing.push(Missing::Table(self.table().to_string()));
            return Ok(missing);
        };
        missing.extend(columns);
        let indexes = names::<D>(connection, self.table(), D::SYNTAX.schema.indexes).await?;
        let expected = INDEXES.map(|suffix| format!("{}{suffix}", self.table().name()));
        missing.extend(expected.into_iter().filter(|name| !indexes.contains(name)).map(Missing::Index));
        Ok(missing)
    }

    /// Returns the columns that the table lacks, or `None` if there is no table.
    async fn missing_columns(
        &self,
        connection: &mut D::Connection,
    ) -> Result<Option<Vec<Missing>>, StepError> {
        let existing = names::<D>(connection, self.table(), D::SYNTAX.schema.columns).await?;
        let absent = columns::expected().filter(|name| !existing.contains(*name));
        let absent = absent.map(|name| Missing::Column(format!("{}.{name}", self.table())));
        Ok((!existing.is_empty()).then(|| absent.collect()))
    }

    fn table(&self) -> &TableName {
        &self.statements.template().table
    }
}

/// Creates the table of versions.
const TRACK: &str = "CREATE TABLE IF NOT EXISTS {migrations} (version BIGINT NOT NULL PRIMARY KEY, name VARCHAR(100) NOT NULL)";

fn record(migration: &Migration) -> String {
    format!("INSERT INTO {{migrations}} (version, name) VALUES ({}, '{}')", migration.version, migration.name)
}

fn forget(migration: &Migration) -> String {
    format!("DELETE FROM {{migrations}} WHERE version = {}", migration.version)
}

/// Returns the names in the first column of a query about a table.
pub(crate) async fn names<D: Dialect>(
    connection: &mut D::Connection,
    table: &TableName,
    query: &str,
) -> Result<BTreeSet<String>, StepError> {
    let template = Template { table: table.clone(), syntax: &D::SYNTAX };
    let sql: SqlStr = template.sql(query);
    let rows = D::rows(connection, sql, D::Arguments::default()).await?;
    Ok(rows
        .iter()
        .filter_map(|row| D::text(row, 0).transpose())
        .map(|name| name.map(str::to_owned))
        .collect::<Result<_, _>>()?)
}
