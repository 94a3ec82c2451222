//! Where frames come from and go to on this host: SocketCAN interfaces, and the software bus.
//!
//! Both are packet sockets that carry kernel images ([`crate::frame::Image`]), so an engine serves either without
//! knowing which; a software bus carries several in one packet when they come fast ([`Batch`]). This module opens them;
//! it reads and writes no frame on the data path.

mod batch;
pub mod bit_rate;
pub mod claim;
pub mod control;
pub mod controller;
mod error;
pub mod identity;
pub mod interface;
pub(crate) mod option;
mod packet;
mod route;
pub mod socketcan;
pub mod software;
mod transfer;
pub mod virtual_interface;
pub mod watch;

use std::os::fd::OwnedFd;

pub use batch::*;
pub use control::PacketInfo;
pub use error::*;
pub use packet::*;
pub use transfer::*;

use crate::frame::filter::KernelFilter;

/// Which kind of bus a name refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusKind {
    /// A SocketCAN network interface: can0, vcan0.
    SocketCan,
    /// A bus in user space that processes on this host share by name.
    Software,
}

/// A bus as the user names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BusAddress {
    /// Which kind of bus.
    pub kind: BusKind,
    /// Interface name, or software bus name without its `@bitrate`.
    pub name: String,
    /// Software bus only: pace it as a wire of this bit rate, with arbitration. Bits per second.
    pub paced_bit_rate: Option<u32>,
}

/// What is asked of a bus socket beyond its name.
#[derive(Clone, Debug)]
pub struct BusOptions {
    /// Bytes of receive queue to ask the kernel for (`SO_RCVBUFFORCE`, else `SO_RCVBUF`).
    pub receive_queue_bytes: usize,
    /// The interface must be able to carry FD frames. (Receiving them is always asked for, so that none passes
    /// unnoticed.)
    pub require_fd: bool,
    /// Filters handed to the kernel; a software bus ignores them.
    pub kernel_filter: KernelFilter,
    /// Error classes to receive as error frames (`CAN_RAW_ERR_FILTER`).
    pub error_mask: u32,
}

/// An open bus socket: non-blocking, with receive times and drop counts as control messages where the kernel
/// has them.
#[derive(Debug)]
pub struct OpenBus {
    /// The socket.
    pub descriptor: OwnedFd,
    /// Bytes of receive queue that the kernel granted (as `getsockopt` reports, doubled for its bookkeeping).
    pub receive_queue_bytes: usize,
    /// Whether packets that are sent may hold several images. (Received ones may on every software bus.)
    pub packing: Packing,
    /// Software bus only: the bit rate by which it is paced. Who joins anew because the host has left asks for it in
    /// the address, so that the next host paces the bus alike.
    pub paced_bit_rate: Option<u32>,
}

impl BusAddress {
    /// Reads what the user typed: an interface name, or the name of a software bus with or without `@bitrate`.
    /// Whether an interface can have that name shows when it is opened.
    ///
    /// # Errors
    /// A software bus cannot have this name, or not this bit rate.
    pub fn parse(kind: BusKind, text: &str) -> Result<Self, BusError> {
        let (name, paced_bit_rate) = match kind {
            BusKind::SocketCan => (text, None),
            BusKind::Software => software::parse_name(text)?,
        };
        Ok(Self { kind, name: name.to_owned(), paced_bit_rate })
    }
}

/// Opens a bus of either kind. A software bus that this process comes to host is hosted until
/// [`software::stop_hosting`].
///
/// # Errors
/// Why the bus cannot be opened, with what to type: there is no such interface, it is down, of another kind, or lacks what the
/// options require; the kernel refuses a socket; a software bus can be neither joined nor hosted.
pub fn open(address: &BusAddress, options: &BusOptions) -> Result<OpenBus, BusError> {
    match address.kind {
        BusKind::SocketCan => socketcan::open(&address.name, options),
        BusKind::Software => software::open(address),
    }
}
