//! PostgreSQL, MySQL and SQLite.

use std::error::Error as StdError;
use std::path;
use std::str::FromStr;
use std::sync::Arc;

use session_sqlx::{Dialect, SqlStore, TableName};
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError};
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{Connection, MySql, Postgres, Sqlite};

use super::failure::CREDENTIALS;
use super::{Failure, Opened, PATIENCE};

pub(super) const URL: &str = "postgres://ann:password@localhost:5432/shop";
const SERVER: &str = "Start the server, or correct the URL; without a URL, the sessions are in a file";
const DATABASE: &str = "Name a database that exists, and that the user may use, at the end of the URL";
// An account of MySQL 8 requires its password encrypted, by TLS or by RSA.
const TLS: &str = "The shop is built without TLS: use a connection and an account that work without it, or add the feature \
                   `tls-rustls` to sqlx in examples/axum-devices/Cargo.toml";
const TABLE: &str =
    "If that table belongs to another program, choose a name for this one: SESSION_TABLE=shop_sessions";

pub(super) async fn on_mysql(url: &str, table: TableName) -> Result<Opened, Failure> {
    let options: MySqlConnectOptions = parse(url)?;
    let place = match options.get_socket() {
        Some(socket) => format!("MySQL at {}", socket.display()),
        None => format!("MySQL at {}:{}", options.get_host(), options.get_port()),
    };
    let database = options.get_database().unwrap_or("none").to_owned();
    prepare::<MySql>(options, format!("{place}, database {database}, table {table}"), table).await
}

pub(super) async fn on_postgres(url: &str, table: TableName) -> Result<Opened, Failure> {
    let options: PgConnectOptions = parse(url)?;
    let place = match options.get_socket() {
        Some(socket) => format!("PostgreSQL at {}", socket.display()),
        None => format!("PostgreSQL at {}:{}", options.get_host(), options.get_port()),
    };
    // The server's own default.
    let database = options.get_database().unwrap_or(options.get_username()).to_owned();
    prepare::<Postgres>(options, format!("{place}, database {database}, table {table}"), table).await
}

pub(super) async fn on_sqlite(url: &str, table: TableName) -> Result<Opened, Failure> {
    let options: SqliteConnectOptions = parse(url)?;
    let place = sqlite_place(url, &options)?;
    // In WAL mode readers and the writer do not block each other, and a killed process loses no
    // data.
    let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    prepare::<Sqlite>(options, place, table).await
}

fn parse<O: FromStr<Err = sqlx::Error>>(url: &str) -> Result<O, Failure> {
    url.parse().map_err(|error: sqlx::Error| Failure::Url { cause: error.to_string(), like: URL })
}

fn sqlite_place(url: &str, options: &SqliteConnectOptions) -> Result<String, Failure> {
    let file = options.get_filename();
    if url.contains(":memory:") {
        return Ok("memory: they end with this program".to_owned());
    }
    // The driver would give each connection its own database.
    if file.as_os_str().is_empty() || url.contains("mode=memory") {
        return Err(Failure::NoFile);
    }
    Ok(path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string())
}

async fn prepare<D: Dialect>(
    options: <D::Connection as Connection>::Options,
    place: String,
    table: TableName,
) -> Result<Opened, Failure> {
    // A pool keeps waiting for an unreachable server and then hides the cause.
    match tokio::time::timeout(PATIENCE, D::Connection::connect_with(&options)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(Failure::database(place, &error, SERVER)),
        Err(_) => return Err(Failure::Silent { place }),
    }
    let pool = PoolOptions::<D>::new().connect_lazy_with(options);
    let prepared = async {
        let store = SqlStore::builder(pool).table(table).build()?;
        let steps = store.migrate().await?;
        store.connect().await?;
        Ok::<_, Box<dyn StdError + Send + Sync>>((store, steps))
    };
    match prepared.await {
        Ok((store, steps)) => Ok(Opened { store: Arc::new(store), place, steps }),
        Err(error) => Err(Failure::database(place, &*error, TABLE)),
    }
}

pub(super) fn is_drivers(error: &(dyn StdError + 'static)) -> bool {
    error.is::<sqlx::Error>()
}

pub(super) fn advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let error = match error.downcast_ref()? {
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => {
            return Some(TLS);
        }
        sqlx::Error::Database(error) => error,
        _ => return None,
    };
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>()
        && matches!(error.number(), 1044 | 1046 | 1049)
    {
        return Some(DATABASE);
    }
    // Either an SQLSTATE or an extended result code of SQLite, whose last byte is the primary one.
    let code = error.code().unwrap_or_default();
    match (&*code, code.parse::<u32>().unwrap_or_default() & 0xff) {
        ("28P01" | "28000", _) => Some(CREDENTIALS),
        ("3D000", _) => Some(DATABASE),
        ("42501", _) => Some("Let the database user create tables, or choose another one in the URL"),
        (_, 8 | 14) if code.len() < 5 => {
            Some("Choose a file in a folder that exists and that you may write to: --store sqlite:shop.db")
        }
        ("26", _) => Some("Choose another file, or a new one: --store sqlite:shop.db"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{closed_port, failure, named};
    use super::super::{Choice, open};
    use super::*;

    #[tokio::test]
    async fn a_new_file_gets_its_table_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new.db");
        let url = format!("sqlite:{}", file.display());
        let first = open(&named(&url)).await.unwrap();
        assert_eq!((first.place, first.steps.is_empty()), (file.display().to_string(), false));
        assert_eq!(open(&named(&url)).await.unwrap().steps, []);
    }

    #[tokio::test]
    async fn memory_store_is_named_as_such() {
        for url in ["sqlite::memory:", "sqlite://:memory:"] {
            let opened = open(&named(url)).await.unwrap();
            assert_eq!(opened.place, "memory: they end with this program", "{url}");
        }
    }

    #[tokio::test]
    async fn unusable_file_is_named_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/shop.db");
        let message = failure(&format!("sqlite:{}", missing.display())).await;
        assert!(
            message.contains(missing.to_str().unwrap()) && message.contains("folder that exists"),
            "{message}"
        );

        let text = folder.path().join("letter.txt");
        std::fs::write(&text, "Dear Ann, this is no database. ".repeat(100)).unwrap();
        let message = failure(&format!("sqlite:{}", text.display())).await;
        assert!(message.contains("file is not a database") && message.contains("another file"), "{message}");
    }

    #[tokio::test]
    async fn table_of_another_program_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("shop.db").display());
        let options: SqliteConnectOptions = url.parse().unwrap();
        let mut other = sqlx::SqliteConnection::connect_with(&options.create_if_missing(true)).await.unwrap();
        sqlx::raw_sql("CREATE TABLE sessions (sid TEXT)").execute(&mut other).await.unwrap();
        let message = failure(&url).await;
        assert!(message.contains("sessions") && message.contains("SESSION_TABLE="), "{message}");
        open(&Choice { table: "shop_sessions".parse().unwrap(), ..named(&url) }).await.unwrap();
        sqlx::raw_sql("SELECT sid FROM sessions").execute(&mut other).await.unwrap();
    }

    #[tokio::test]
    async fn unreachable_server_is_reported_without_the_password() {
        let port = closed_port();
        for scheme in ["postgres", "postgresql", "mysql", "mariadb"] {
            let message = failure(&format!("{scheme}://ann:secret@127.0.0.1:{port}/shop")).await;
            assert!(message.contains(&format!("127.0.0.1:{port}, database shop")), "{message}");
            assert!(message.contains("Start the server") && !message.contains("secret"), "{message}");
        }
    }
}
