//! The servers' own command line clients, which come with the packages.

use std::process::{Child, Command, Output, Stdio};

use session_servers::{Kind, Server};

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
        other => unreachable!("no client for {other}"),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
