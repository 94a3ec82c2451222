//! Why a link ended.

use std::io;

use crate::session::Fault;

/// Why a link ended.
#[derive(Debug)]
pub enum Ending {
    /// The peer closed the connection in order.
    ClosedByPeer,
    /// The connection broke.
    Broken(io::Error),
    /// The peer does not speak the protocol.
    Fault(Fault),
    /// We closed it.
    Stopped,
    /// There was no place for the peer.
    TurnedAway,
}

impl Ending {
    /// Whether the peer did not speak the protocol.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Fault(fault) if !matches!(fault, Fault::Dead | Fault::Full))
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClosedByPeer => f.write_str("closed by the peer"),
            // The kernel's word for a peer that did not answer keepalive probes or acknowledge data in time.
            Self::Broken(error) if error.kind() == io::ErrorKind::TimedOut => {
                f.write_str("the peer gave no sign of life, or took no data, for three heartbeat intervals")
            }
            Self::Broken(error) => write!(f, "connection lost: {error}"),
            Self::Fault(Fault::Dead) => {
                f.write_str("the peer gave no sign of life for three heartbeat intervals")
            }
            Self::Fault(fault) => write!(f, "it {fault}"),
            Self::Stopped => f.write_str("stopped"),
            Self::TurnedAway => f.write_str("all places are taken (--max-clients)"),
        }
    }
}

/// What is told of a link that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub ending: Ending,
    /// Whether frames could cross before.
    pub was_open: bool,
}
