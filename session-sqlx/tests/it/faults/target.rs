//! The differences between the databases in tests of failures.

use session_servers::Kind;
use session_sqlx::Dialect;
use sqlx::{MySql, Postgres, Sqlite};

/// A kind of database whose failures are tested.
pub(super) trait Target: Dialect {
    /// The kind of its server; SQLite has none.
    const KIND: Option<Kind>;
    /// Counts the connected clients, without the one that runs the query.
    const CLIENTS: &str;
    /// Counts the clients with an open transaction that is idle.
    const IDLE_IN_TRANSACTION: &str;
    /// Counts the clients that run a statement.
    const RUNNING: &str;
    /// Counts the clients that wait for a lock.
    const WAITING: &str;
    /// Counts the transactions that were rolled back because of a deadlock so far.
    const DEADLOCKS: &str;
    /// Selects the content of a row as text, even if it is damaged. `{cells}` are the columns of
    /// [`CELLS`] in hexadecimal.
    const CONTENT: &str;

    /// Puts invalid UTF-8 into a text column, if the database allows it.
    const NOT_UTF8: Option<&str>;
    /// Limit the statements of a connection to 400 ms, its waits for locks to 400 ms (MariaDB: 1
    /// s), and its idle time to 3 s.
    const LIMIT_STATEMENTS: &str;
    const LIMIT_LOCKS: &str;
    const LIMIT_IDLENESS: &str;
    /// Locks the table for all other clients until it is unlocked.
    const LOCK_TABLE: &str;
    const UNLOCK_TABLE: &str;
    /// Make a connection the first to detect a deadlock, or the last.
    const FIND_DEADLOCKS_SOON: &str;
    const FIND_DEADLOCKS_LATE: &str;
    /// The bytes on the wire that end a transaction.
    const COMMIT: &[u8];
    /// The name of the setting for the isolation level.
    const ISOLATION: &str;
    /// Changes the type of a column.
    const WIDEN_LABEL: &str;
    /// Creates a user `common` that has all privileges on tables, but cannot bypass read-only mode.
    const COMMON_USER: &[&str];
    /// Switches read-only mode on and off.
    const READ_ONLY: &[&str];
    const READ_WRITE: &[&str];

    /// Returns a setting as arguments of the server's command line.
    fn setting(name: &str, value: &str) -> Vec<String>;

    /// Returns a literal of bytes.
    fn blob(bytes: &[u8]) -> String {
        format!("X'{}'", hex(bytes))
    }

    /// Returns the last bytes that an end sends before it is complete: the id in its only
    /// statement, or the end of the transaction.
    fn end_sends(id: &[u8; 16]) -> Vec<u8> {
        id.to_vec()
    }

    /// Returns a literal of an id.
    fn id(id: &[u8; 16]) -> String {
        Self::blob(id)
    }
}

/// The columns that identify the content of a row.
pub(super) const CELLS: [&str; 26] = [
    "id",
    "revision",
    "user_id",
    "username",
    "kind",
    "created_at",
    "authenticated_at",
    "last_seen_at",
    "expires_at",
    "idle_timeout",
    "credential_version",
    "ended_reason",
    "ended_at",
    "ended_by",
    "secret",
    "refresh",
    "auth",
    "ip_address",
    "user_agent",
    "device_kind",
    "geo_country_code",
    "last_ip_address",
    "last_country_code",
    "device_id",
    "label",
    "data",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Target for Postgres {
    const KIND: Option<Kind> = Some(Kind::Postgres);
    const CLIENTS: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                           AND pid <> pg_backend_pid()";
    // Includes advisory locks, which would block sign-ins of a user.
    const IDLE_IN_TRANSACTION: &str = "SELECT (SELECT COUNT(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%') \
         + (SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory')";
    const RUNNING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                           AND state = 'active' AND pid <> pg_backend_pid()";
    const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    const DEADLOCKS: &str = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    const CONTENT: &str = "SELECT t::text FROM {t} AS t";
    const NOT_UTF8: Option<&str> = None;
    const LIMIT_STATEMENTS: &str = "SET statement_timeout = '400ms'";
    const LIMIT_LOCKS: &str = "SET lock_timeout = '400ms'";
    const LIMIT_IDLENESS: &str = "SET idle_session_timeout = '3s'";
    const LOCK_TABLE: &str = "BEGIN; LOCK TABLE {t} IN ACCESS EXCLUSIVE MODE";
    const UNLOCK_TABLE: &str = "ROLLBACK";
    const FIND_DEADLOCKS_SOON: &str = "SET deadlock_timeout = '4s'";
    const FIND_DEADLOCKS_LATE: &str = "SET deadlock_timeout = '60s'";
    const COMMIT: &[u8] = b"COMMIT\0";
    const ISOLATION: &str = "default_transaction_isolation";
    const WIDEN_LABEL: &str = "ALTER TABLE {t} ALTER COLUMN label TYPE VARCHAR(200)";
    const COMMON_USER: &[&str] = &["CREATE ROLE common LOGIN", "GRANT ALL ON {t} TO common"];
    // Applies to open connections too, as when their server becomes a standby.
    const READ_ONLY: &[&str] =
        &["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"];
    const READ_WRITE: &[&str] = &[
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
        "SELECT pg_reload_conf()",
    ];

    fn setting(name: &str, value: &str) -> Vec<String> {
        vec!["-c".to_owned(), format!("{name}={value}")]
    }

    fn blob(bytes: &[u8]) -> String {
        format!("'\\x{}'::bytea", hex(bytes))
    }

    fn id(id: &[u8; 16]) -> String {
        format!("'{}'::uuid", hex(id))
    }
}

impl Target for MySql {
    const KIND: Option<Kind> = Some(Kind::Mysql);
    const CLIENTS: &str = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'root' \
                           AND id <> CONNECTION_ID()";
    const IDLE_IN_TRANSACTION: &str = "SELECT COUNT(*) FROM information_schema.innodb_trx AS t \
         JOIN information_schema.processlist AS p ON p.id = t.trx_mysql_thread_id WHERE p.command = 'Sleep'";
    const RUNNING: &str = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'root' \
                           AND command <> 'Sleep' AND id <> CONNECTION_ID()";
    const WAITING: &str = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
    const DEADLOCKS: &str = "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status \
                             WHERE variable_name = 'INNODB_DEADLOCKS'";
    const CONTENT: &str = "SELECT CAST(CONCAT_WS('|', {cells}) AS BINARY) FROM {t}";
    const NOT_UTF8: Option<&str> = Some("username = X'ff41'");
    const LIMIT_STATEMENTS: &str = "SET max_statement_time = 0.4";
    // In whole seconds.
    const LIMIT_LOCKS: &str = "SET innodb_lock_wait_timeout = 1";
    const LIMIT_IDLENESS: &str = "SET wait_timeout = 3";
    const LOCK_TABLE: &str = "LOCK TABLES {t} WRITE";
    const UNLOCK_TABLE: &str = "UNLOCK TABLES";
    // It checks at once, and rolls back the transaction that wrote less.
    const FIND_DEADLOCKS_SOON: &str = "DO 0";
    const FIND_DEADLOCKS_LATE: &str = "DO 0";
    const COMMIT: &[u8] = b"\x03COMMIT";
    const ISOLATION: &str = "transaction_isolation";
    const WIDEN_LABEL: &str = "ALTER TABLE {t} MODIFY COLUMN label VARCHAR(200)";
    const COMMON_USER: &[&str] = &["CREATE USER common@'%'", "GRANT ALL ON test.* TO common@'%'"];
    const READ_ONLY: &[&str] = &["SET GLOBAL read_only = 1"];
    const READ_WRITE: &[&str] = &["SET GLOBAL read_only = 0"];

    fn setting(name: &str, value: &str) -> Vec<String> {
        vec![format!("--{}={value}", name.replace('_', "-"))]
    }

    fn end_sends(_id: &[u8; 16]) -> Vec<u8> {
        Self::COMMIT.to_vec()
    }
}

impl Target for Sqlite {
    const KIND: Option<Kind> = None;
    const CLIENTS: &str = "SELECT 0";
    const IDLE_IN_TRANSACTION: &str = "SELECT 0";
    const RUNNING: &str = "SELECT 0";
    const WAITING: &str = "SELECT 0";
    const DEADLOCKS: &str = "SELECT 0";
    const CONTENT: &str = "SELECT concat_ws('|', {cells}) FROM {t}";
    const NOT_UTF8: Option<&str> = Some("username = CAST(X'ff41' AS TEXT)");
    const LIMIT_STATEMENTS: &str = "";
    const LIMIT_LOCKS: &str = "";
    const LIMIT_IDLENESS: &str = "";
    const LOCK_TABLE: &str = "";
    const UNLOCK_TABLE: &str = "";
    const FIND_DEADLOCKS_SOON: &str = "";
    const FIND_DEADLOCKS_LATE: &str = "";
    const COMMIT: &[u8] = b"";
    const ISOLATION: &str = "";
    const WIDEN_LABEL: &str = "";
    const COMMON_USER: &[&str] = &[];
    const READ_ONLY: &[&str] = &[];
    const READ_WRITE: &[&str] = &[];

    fn setting(_name: &str, _value: &str) -> Vec<String> {
        Vec::new()
    }
}
