//! Redis, and its fork Valkey.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::place::Place;
use crate::recipe::{Programs, Recipe, version_of};
use crate::{Result, find, redis_client};

/// The socket in the server's working directory. A relative path is short enough for a socket.
pub(crate) const SOCKET: &str = "socket";

const VALKEY: &str = "valkey-server";

/// The file in which a sentinel stores its state.
const SENTINEL_CONFIG: &str = "sentinel.conf";

/// The roles of the server program.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Redis {
    Alone,
    ClusterNode,
    Sentinel,
}

impl Recipe for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn title(&self) -> &'static str {
        "Redis"
    }

    fn variable(&self) -> &'static str {
        "SESSION_TEST_REDIS_URL"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["redis-server"]
    }

    fn account(&self) -> &'static str {
        if self.programs().is_some_and(|programs| is_valkey(&programs)) { "valkey" } else { "redis" }
    }

    fn programs(&self) -> Option<Programs> {
        let server = find::program("redis-server").or_else(|| find::program(VALKEY))?;
        let setup = if *self == Self::Sentinel { Some(find::program("touch")?) } else { None };
        Some(Programs { setup, server })
    }

    fn version(&self, programs: &Programs) -> String {
        let title = if is_valkey(programs) { "Valkey" } else { self.title() };
        version_of(&programs.server, title)
    }

    /// A sentinel requires a configuration file, which is empty at first.
    fn setup(&self, program: &Path, place: &Place) -> Result<Command> {
        let mut command = place.command(program);
        command.arg(SENTINEL_CONFIG);
        Ok(command)
    }

    /// The server's files are in its working directory, which is the folder.
    fn start(&self, programs: &Programs, place: &Place, port: u16) -> Command {
        let mut command = place.command(&programs.server);
        match self {
            Self::Alone => {}
            Self::ClusterNode => {
                command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"]);
                command.args(["--cluster-port", &bus_port(port).to_string()]);
            }
            Self::Sentinel => {
                command.args([SENTINEL_CONFIG, "--sentinel"]);
            }
        }
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--unixsocket", SOCKET]);
        command.args(["--save", ""]);
        // A replica need not wait for further replicas that request the same copy.
        command.args(["--repl-diskless-sync-delay", "0"]);
        if place.is_durable() {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        command
    }

    /// The server replies once it has bound its ports and read its data. A server with a password
    /// replies with an error even while it reads its data.
    fn is_ready(&self, place: &Place, _port: u16, _pid: u32) -> bool {
        let answer = redis_client::ask(place.folder(), "PING");
        answer.is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
    }

    fn url(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}/")
    }

    fn socket(&self, place: &Place) -> Option<PathBuf> {
        Some(place.folder().join(SOCKET))
    }

    fn graceful(&self) -> Signal {
        Signal::TERM
    }

    /// The server leaves nothing outside of its folder.
    fn quick(&self) -> Signal {
        Signal::KILL
    }
}

/// Returns the port of a cluster node for other nodes. The default, 10,000 above its port, would
/// exceed the range of ports.
pub(crate) fn bus_port(port: u16) -> u16 {
    port ^ 1
}

fn is_valkey(programs: &Programs) -> bool {
    programs.server.ends_with(VALKEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valkey_is_reported_by_its_name() {
        let version = |server: &str| Redis::Alone.version(&Programs { setup: None, server: server.into() });
        assert_eq!(version("/no/such/folder/valkey-server"), "Valkey");
        assert_eq!(version("/no/such/folder/redis-server"), "Redis");
    }
}
