//! Redis, and Valkey, which grew out of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::place::Place;
use crate::recipe::{Programs, Recipe, version_of};
use crate::{Result, find, redis_client};

/// In the server's working directory: a long path would not do for a socket.
pub(crate) const SOCKET: &str = "socket";

const VALKEY: &str = "valkey-server";

/// Where a sentinel writes what it knows.
const SENTINEL_CONFIG: &str = "sentinel.conf";

/// What one server program can be.
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

    /// A sentinel insists on a configuration, and begins with an empty one.
    fn setup(&self, program: &Path, place: &Place) -> Result<Command> {
        let mut command = place.command(program);
        command.arg(SENTINEL_CONFIG);
        Ok(command)
    }

    /// Its files are in its working directory, which is the folder.
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
        // A replica need not wait for others that may want the same copy.
        command.args(["--repl-diskless-sync-delay", "0"]);
        if place.is_durable() {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        command
    }

    /// It answers when it has its ports and its data. Only one that wants a password says so even while it reads its data.
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

    /// It leaves nothing outside of its folder.
    fn quick(&self) -> Signal {
        Signal::KILL
    }
}

/// Where a node of a cluster talks to the others: usually 10,000 above its port, where there is none.
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
    fn valkey_is_called_by_its_name() {
        let version = |server: &str| Redis::Alone.version(&Programs { setup: None, server: server.into() });
        assert_eq!(version("/no/such/folder/valkey-server"), "Valkey");
        assert_eq!(version("/no/such/folder/redis-server"), "Redis");
    }
}
