//! Which two buses a connection joins, known to all bridges of this host, so that no other one joins them too.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Begins the abstract Unix names by which pairs of buses are claimed.
const PREFIX: &str = "canip_peer/joins";

/// A pair of buses that nobody else on this host, in this network namespace, can claim while this is there. It is gone with
/// its process, however that ends.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "its name is taken as long as it is open")] UnixDatagram);

/// Claims a pair by the identities of our bus and of the peer's; `None` if somebody has it. A connection between two buses
/// of one host is claimed at each end by a name of its own, since ours is the peer's there.
///
/// # Errors
/// The kernel has no socket to spare.
pub fn claim(ours: u64, peers: u64) -> io::Result<Option<Claim>> {
    let address = SocketAddr::from_abstract_name(format!("{PREFIX}/{ours:016x}/{peers:016x}"))?;
    match UnixDatagram::bind_addr(&address) {
        Ok(socket) => Ok(Some(Claim(socket))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_had_once_until_it_is_let_go() {
        let (ours, peers) = (fastrand::u64(..), fastrand::u64(..));
        let held = claim(ours, peers).unwrap().unwrap();
        assert!(claim(ours, peers).unwrap().is_none());
        // The other end of the same connection, and other pairs.
        let opposite = claim(peers, ours).unwrap();
        assert!(opposite.is_some() && claim(ours, peers.wrapping_add(1)).unwrap().is_some());
        drop(held);
        assert!(claim(ours, peers).unwrap().is_some());
    }
}
