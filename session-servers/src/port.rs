//! Free ports.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

/// Above the ports that Linux gives to outgoing connections, and without a database's standard port.
///
/// A client that tries again and again while its server is down could otherwise be given the server's port as its own, be connected
/// to itself, and keep the server from coming back.
const QUIET: RangeInclusive<u16> = 61_000..=65_000;

const ATTEMPTS: usize = 100;

/// A port of the loopback address that nobody listens on at this moment.
pub(crate) fn free() -> io::Result<u16> {
    let drawn = (0..ATTEMPTS).map(|_| fastrand::u16(QUIET));
    drawn.into_iter().find_map(|port| probe(port).ok()).map_or_else(|| probe(0), Ok)
}

fn probe(port: u16) -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound_and_is_no_outgoing_one() {
        let port = free().unwrap();
        assert!(QUIET.contains(&port));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_free() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(probe(held.local_addr().unwrap().port()).is_err());
    }
}
