//! NATS.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

use rustix::process::Signal;

use crate::find;
use crate::place::Place;
use crate::recipe::{Programs, Recipe};

/// The file in which the server notes its process id.
const PID_FILE: &str = "nats.pid";

#[derive(Debug)]
pub(crate) struct Nats;

impl Recipe for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn title(&self) -> &'static str {
        "NATS"
    }

    fn variable(&self) -> &'static str {
        "SESSION_TEST_NATS_URL"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["nats-server"]
    }

    fn account(&self) -> &'static str {
        "nats"
    }

    fn programs(&self) -> Option<Programs> {
        Some(Programs { setup: None, server: find::program("nats-server")? })
    }

    fn start(&self, programs: &Programs, place: &Place, port: u16) -> Command {
        let mut command = place.command(&programs.server);
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--pid", PID_FILE]);
        command
    }

    /// The server writes its process id first and then binds the port.
    fn is_ready(&self, place: &Place, port: u16, pid: u32) -> bool {
        let noted = fs::read_to_string(place.folder().join(PID_FILE)).unwrap_or_default();
        noted.trim() == pid.to_string() && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    }

    fn url(&self, port: u16) -> String {
        format!("nats://127.0.0.1:{port}")
    }

    fn graceful(&self) -> Signal {
        Signal::TERM
    }

    fn quick(&self) -> Signal {
        Signal::KILL
    }
}
