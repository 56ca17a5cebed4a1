//! Free ports.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Ports above the range that Linux uses for outgoing connections, without any standard port of a
/// database.
///
/// A client that keeps reconnecting while its server is down could otherwise get the server's port
/// as its own local port, connect to itself, and prevent the server from binding the port again.
const QUIET: RangeInclusive<u16> = 61_000..=65_000;

const ATTEMPTS: usize = 100;

/// A port of the loopback address, for one server or proxy.
///
/// While this value exists, this crate does not give the port to another process, even if the
/// server is down, so that the server can start again. The same applies to the neighbouring port
/// (the next one for an even number, the previous one for an odd number), which a cluster node also
/// needs.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// The claim on both ports: a socket with a name that only one socket of the machine can have.
    /// The kernel releases the name when the process ends.
    _claim: UnixDatagram,
}

impl Port {
    /// Returns a port that is currently unused.
    pub(crate) fn free() -> io::Result<Self> {
        let drawn = (0..ATTEMPTS).find_map(|_| Self::claim(fastrand::u16(QUIET)).ok());
        drawn.map_or_else(|| Self::claim(probe(0)?), Ok)
    }

    fn claim(number: u16) -> io::Result<Self> {
        let name = SocketAddr::from_abstract_name(format!("session-servers-ports-{}", number / 2))?;
        let claim = UnixDatagram::bind_addr(&name)?;
        // Probes only after the claim: the probe listens on the port for a moment, which could
        // prevent the server of another owner from starting again.
        probe(number)?;
        Ok(Self { number, _claim: claim })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Returns a port without a claim, which may be in use.
    #[cfg(test)]
    pub(crate) fn unclaimed(number: u16) -> Self {
        Self { number, _claim: UnixDatagram::unbound().unwrap() }
    }
}

fn probe(port: u16) -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::bus_port;

    #[test]
    fn free_port_can_be_bound_and_is_not_an_outgoing_one() {
        let port = Port::free().unwrap().number();
        assert!(QUIET.contains(&port));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn port_of_a_listener_is_not_free() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(Port::claim(held.local_addr().unwrap().port()).is_err());
    }

    #[test]
    fn port_is_claimed_until_it_is_dropped() {
        let port = Port::free().unwrap();
        assert!(Port::claim(port.number()).is_err());
        assert!(Port::claim(bus_port(port.number())).is_err());
        // Another process may claim the port first, but not every time.
        assert!((0..ATTEMPTS).any(|_| {
            let number = Port::free().unwrap().number();
            Port::claim(number).is_ok()
        }));
    }
}
