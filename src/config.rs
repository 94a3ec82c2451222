//! What a bridge is told to do: plain data, validated, with no trace of the command line that it came from.

use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::bus::{BusAddress, BusKind};
use crate::frame::filter::Filter;
use crate::session::Protocol;
use crate::wire::greeting::Features;

/// Which engine runs the data path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EngineChoice {
    /// io_uring where it is allowed, else epoll.
    #[default]
    Auto,
    /// io_uring, or an error.
    Uring,
    /// epoll.
    Epoll,
}

/// What server and client have in common.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// The buses at this end: one to sixteen of one kind.
    pub buses: Vec<NamedBus>,
    /// Bit rates to set before the bus is opened.
    pub bit_rate: Option<BitRate>,
    /// The bus must be able to carry FD frames.
    pub require_fd: bool,
    /// Bytes of CAN receive queue to ask for.
    pub receive_queue_bytes: usize,
    /// Which frames of the bus go to the peer.
    pub filter: Rc<Filter>,
    /// What peers may put on each of the buses.
    pub bounds: Bounds,
    /// Which versions of the protocol are spoken.
    pub protocol: Protocol,
    /// What is offered to the peer.
    pub offer: Features,
    /// How often a silent peer is asked for a sign of life; zero for never.
    pub heartbeat: Duration,
    /// How long a frame may wait in this process, in either direction, and how old one may be that is put on a bus;
    /// `None` for no limit.
    pub max_age: Option<Duration>,
    /// Whether loops are looked for: what is put on a bus and comes back from the peer.
    pub detects_loops: bool,
    /// How long frames wait for more before they are sent; zero for not at all.
    pub linger: Duration,
    /// So many frames are sent without waiting for more.
    pub batch_frames: usize,
    /// How often the summary line is printed; zero for never.
    pub stats_interval: Duration,
    /// Where every frame that crosses is recorded.
    pub record: Option<PathBuf>,
    /// Where the histograms of every interval between summary lines are logged; there is a `stats_interval` then.
    pub histogram_log: Option<PathBuf>,
    /// Which engine runs the data path.
    pub engine: EngineChoice,
    /// The data path never sleeps while there is a connection.
    pub busy_poll: bool,
    /// Real-time priority of the data path, 1 to 99; `None` for an ordinary process's.
    pub realtime: Option<u8>,
}

impl BridgeConfig {
    /// The kind that all buses are of.
    pub fn kind(&self) -> BusKind {
        self.buses.first().map_or(BusKind::SocketCan, |bus| bus.address.kind)
    }
}

/// A bus at this end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedBus {
    /// By which it is matched with one of the peer's; empty for matching in order.
    pub matched_by: String,
    /// Which bus.
    pub address: BusAddress,
}

/// Bit rates of a CAN interface, bits per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BitRate {
    /// Of classic frames, and of an FD frame's arbitration.
    pub nominal: u32,
    /// Of an FD frame's data.
    pub data: Option<u32>,
}

/// What peers may put on a bus, all of them together.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Nothing at all; there is no other bound then.
    pub read_only: bool,
    /// Whatever they may, nothing of the bus is sent to them.
    pub write_only: bool,
    /// Frames that pass this; `None` for all.
    pub allow: Option<Rc<Filter>>,
    /// So many frames a second.
    pub frames_per_s: Option<u32>,
    /// A part of the bus's time.
    pub load: Option<LoadBound>,
}

/// A part of the time that a bus has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadBound {
    /// Millionths of it: a thousand to a million.
    pub millionths: u32,
    /// How fast a bus is that does not say so itself.
    pub bit_rate: Option<BitRate>,
    /// Whether there is one bus alone: it is that bus's rate then, and must be if it says one itself.
    pub is_for_one_bus: bool,
}

/// Which end of the connection a bridge is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Side {
    /// Listens.
    Server {
        /// The address to listen on; `None` for every address, IPv4 and IPv6.
        bind: Option<IpAddr>,
        /// The TCP port; 0 lets the kernel choose one.
        port: u16,
        /// Whether load tests of clients are answered.
        allow_bench: bool,
        /// Clients at the same time.
        max_clients: usize,
    },
    /// Connects, again and again.
    Client {
        /// Name or address of the server.
        host: String,
        /// The server's TCP port.
        port: u16,
    },
}
