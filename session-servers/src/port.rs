//! Free ports.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Above the ports that Linux gives to outgoing connections, and without a database's standard port.
///
/// A client that tries again and again while its server is down could otherwise be given the server's port as its own, be connected
/// to itself, and keep the server from coming back.
const QUIET: RangeInclusive<u16> = 61_000..=65_000;

const ATTEMPTS: usize = 100;

/// A port of the loopback address, for one server or proxy. As long as this lives, no other process is given the port by this crate: not even
/// while the server is down, so that it can come back. The same holds for the next port of an even one and the one before an odd one,
/// which a node of a cluster needs too.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// A name for both that only one socket of the machine can have. Nothing is left of it when its process ends, however it does.
    _claim: UnixDatagram,
}

impl Port {
    /// One that nobody listens on at this moment.
    pub(crate) fn free() -> io::Result<Self> {
        let drawn = (0..ATTEMPTS).find_map(|_| Self::claim(fastrand::u16(QUIET)).ok());
        drawn.map_or_else(|| Self::claim(probe(0)?), Ok)
    }

    fn claim(number: u16) -> io::Result<Self> {
        let name = SocketAddr::from_abstract_name(format!("session-servers-ports-{}", number / 2))?;
        let claim = UnixDatagram::bind_addr(&name)?;
        // Only now: for a moment the probe listens itself, and would keep the owner's server from coming back.
        probe(number)?;
        Ok(Self { number, _claim: claim })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// One that may be in use.
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
    fn a_free_port_can_be_bound_and_is_no_outgoing_one() {
        let port = Port::free().unwrap().number();
        assert!(QUIET.contains(&port));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_free() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(Port::claim(held.local_addr().unwrap().port()).is_err());
    }

    #[test]
    fn a_port_is_given_once_until_it_is_given_back() {
        let port = Port::free().unwrap();
        assert!(Port::claim(port.number()).is_err());
        assert!(Port::claim(bus_port(port.number())).is_err());
        // Another process may be quicker, but not each time.
        assert!((0..ATTEMPTS).any(|_| {
            let number = Port::free().unwrap().number();
            Port::claim(number).is_ok()
        }));
    }
}
