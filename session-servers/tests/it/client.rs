//! The servers' own command line clients, which come with the packages.

use std::process::{Child, Command, Output, Stdio};

use session_servers::{Kind, Server};

/// Answered with 1.
pub(crate) fn one(kind: Kind) -> &'static str {
    if kind == Kind::Redis { "ECHO 1" } else { "SELECT 1" }
}

/// Keep the number 7 under the name `kept`.
pub(crate) fn keep(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Redis => &["SET kept 7"],
        _ => &["CREATE TABLE kept (id INT)", "INSERT INTO kept VALUES (7)"],
    }
}

/// Finds that number.
pub(crate) fn kept(kind: Kind) -> &'static str {
    if kind == Kind::Redis { "GET kept" } else { "SELECT id FROM kept" }
}

/// Runs statements on a new connection, and returns what they print.
pub(crate) fn query(server: &Server, statements: &str) -> Result<String, String> {
    let output = command(server, statements).output().unwrap();
    printed(&output)
}

/// Begins to run statements on a new connection.
pub(crate) fn begin(server: &Server, statements: &str) -> Child {
    command(server, statements).spawn().unwrap()
}

pub(crate) fn printed(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn command(server: &Server, statements: &str) -> Command {
    let mut command = match server.kind() {
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
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// One command, whose words are separated by spaces.
pub(crate) fn redis(options: &[&str], statement: &str) -> Command {
    let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    let program = ["redis-cli", "valkey-cli"].into_iter().find(is_there).unwrap();
    let mut command = Command::new(program);
    command.args(options).args(statement.split(' '));
    command
}
