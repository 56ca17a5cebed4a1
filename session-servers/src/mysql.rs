//! MariaDB, which speaks the protocol of MySQL.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::io;
use crate::place::Place;
use crate::recipe::{Programs, Recipe, path_argument};
use crate::{Result, find};

/// Statements that run at every start, before the first client.
const INIT: &str = "CREATE DATABASE IF NOT EXISTS test;\n";

/// Files in the data folder, which is the server's working directory. A relative path is short
/// enough for a socket.
const SOCKET: &str = "server.sock";
const PID_FILE: &str = "server.pid";

/// The protocol version in a server's greeting, and its position.
const GREETING: u8 = 10;
const GREETING_AT: usize = 4;

#[derive(Debug)]
pub(crate) struct Mysql;

impl Recipe for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn title(&self) -> &'static str {
        "MariaDB"
    }

    fn variable(&self) -> &'static str {
        "SESSION_TEST_MYSQL_URL"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["mariadb-server"]
    }

    fn account(&self) -> &'static str {
        "mysql"
    }

    fn programs(&self) -> Option<Programs> {
        let setup = find::program("mariadb-install-db")?;
        Some(Programs { setup: Some(setup), server: find::program("mariadbd")? })
    }

    fn setup(&self, program: &Path, place: &Place) -> Result<Command> {
        fs::write(place.folder().join("init.sql"), INIT).map_err(io("write a file for the server"))?;
        let mut command = place.command(program);
        command.arg("--no-defaults").arg(path_argument("--datadir", &place.data()));
        command.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        command.args(ephemeral(place));
        Ok(command)
    }

    fn start(&self, programs: &Programs, place: &Place, port: u16) -> Command {
        let mut command = place.command(&programs.server);
        command.arg("--no-defaults").arg(path_argument("--datadir", &place.data()));
        command.arg(path_argument("--init-file", &place.folder().join("init.sql")));
        command.args([
            format!("--port={port}"),
            format!("--socket={SOCKET}"),
            format!("--pid-file={PID_FILE}"),
        ]);
        command.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=200"]);
        // Every distribution configures this character set. The compiled-in default is latin1.
        command.arg("--character-set-server=utf8mb4");
        command.args(ephemeral(place));
        command
    }

    /// The server writes the file after it has bound the port, and sends the greeting after
    /// recovery.
    fn is_ready(&self, place: &Place, port: u16, pid: u32) -> bool {
        let written = fs::read_to_string(place.data().join(PID_FILE)).unwrap_or_default();
        written.trim() == pid.to_string() && is_greeted(port)
    }

    fn url(&self, port: u16) -> String {
        format!("mysql://root@127.0.0.1:{port}/test")
    }

    fn graceful(&self) -> Signal {
        Signal::TERM
    }

    /// The server has no shutdown without a flush, and leaves nothing outside of its folder.
    fn quick(&self) -> Signal {
        Signal::KILL
    }
}

fn ephemeral(place: &Place) -> &'static [&'static str] {
    if place.is_durable() {
        return &[];
    }
    &[
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-doublewrite=0",
        "--innodb-log-file-size=16M",
        "--innodb-buffer-pool-size=64M",
        "--sync-binlog=0",
        "--skip-log-bin",
    ]
}

fn is_greeted(port: u16) -> bool {
    let patience = Duration::from_millis(200);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, patience) else { return false };
    let mut start = [0; GREETING_AT + 1];
    stream.set_read_timeout(Some(patience)).is_ok()
        && stream.read_exact(&mut start).is_ok()
        && start[GREETING_AT] == GREETING
}
