//! The servers' own command-line clients, which are in their packages. MongoDB has no package, so
//! its client is the official driver.

use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use session_servers::{Kind, Server};

use crate::mongodb_client;

/// The output of a client, or its error.
pub(crate) type Printed = Result<String, String>;

pub(crate) fn is_mongodb(kind: Kind) -> bool {
    matches!(kind, Kind::Mongodb | Kind::MongodbFailPoints | Kind::MongodbStandalone)
}

/// Returns a statement with the result 1.
pub(crate) fn one(kind: Kind) -> &'static str {
    match kind {
        Kind::Redis => "ECHO 1",
        kind if is_mongodb(kind) => r#"ok {"ping": 1}"#,
        _ => "SELECT 1",
    }
}

/// Returns statements that store the number 7 under the name `kept`.
pub(crate) fn keep(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Redis => &["SET kept 7"],
        kind if is_mongodb(kind) => {
            &[r#"n {"insert": "kept", "documents": [{"id": 7}], "writeConcern": {"j": true}}"#]
        }
        _ => &["CREATE TABLE kept (id INT)", "INSERT INTO kept VALUES (7)"],
    }
}

/// Returns a statement that reads the number stored by [`keep`].
pub(crate) fn kept(kind: Kind) -> &'static str {
    match kind {
        Kind::Redis => "GET kept",
        kind if is_mongodb(kind) => r#"cursor.firstBatch.0.id {"find": "kept"}"#,
        _ => "SELECT id FROM kept",
    }
}

/// Runs statements on a new connection, and returns their output.
pub(crate) fn query(server: &Server, statements: &str) -> Printed {
    begin(server, statements).join().unwrap()
}

/// Starts to run statements on a new connection.
pub(crate) fn begin(server: &Server, statements: &str) -> JoinHandle<Printed> {
    if is_mongodb(server.kind()) {
        let (url, statement) = (server.url(), statements.to_owned());
        return thread::spawn(move || mongodb_client::run(&url, &statement));
    }
    let mut command = command(server, statements);
    thread::spawn(move || printed(&mut command))
}

pub(crate) fn printed(command: &mut Command) -> Printed {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn command(server: &Server, statements: &str) -> Command {
    match server.kind() {
        Kind::Postgres => {
            let mut command = Command::new("psql");
            command.args([&server.url(), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statements]);
            command
        }
        Kind::Mysql => {
            let port = format!("--port={}", server.port());
            let mut command = Command::new("mariadb");
            command.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", &port, "--user=root"]);
            command.args(["-N", "-B", "test", "-e", statements]);
            command
        }
        Kind::Redis => redis(&["-e", "-p", &server.port().to_string()], statements),
        other => unreachable!("no client for {other}"),
    }
}

/// Returns a client command that runs one statement, whose words are separated by spaces.
pub(crate) fn redis(options: &[&str], statement: &str) -> Command {
    let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    let program = ["redis-cli", "valkey-cli"].into_iter().find(is_there).unwrap();
    let mut command = Command::new(program);
    command.args(options).args(statement.split(' '));
    command
}
