//! Opens SocketCAN interfaces as raw sockets. Reads and writes no frame.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_int;

use super::interface::{self, InterfaceState};
use super::option::{check, read, set, set_bytes};
use super::{BusError, BusOptions, OpenBus, Packing};
use crate::frame::FD_BYTES;

/// Bytes of send queue to ask for; the kernel doubles it to 6,912.
///
/// A real controller's queue holds 10 frames (`txqueuelen`), and one is in the controller. When it overflows, a send
/// gives ENOBUFS and waiting for writability does not help. A frame in flight costs its socket 768 bytes on kernel
/// 6.1 and 960 on 6.12, classic or FD, so this lets 9 or 8 frames wait, and then the socket gives EAGAIN and says
/// when half of them have left. Measured in the lab on can0 behind a 10-frame queue drained every 256 µs, kernels
/// 6.1 / 6.12, frames written before the first refusal: 4,608 (the kernel's least): 7 / 6, EAGAIN; 6,912: 10 / 9,
/// EAGAIN; 7,680: 11 / 9, EAGAIN; 8,192: 11, ENOBUFS / 10, EAGAIN; 10,560: 11, ENOBUFS on both; the default
/// 212,992: 11, ENOBUFS. 6,912 leaves a place in the queue for other senders. On vcan, which delivers within the
/// call, 1,000 calls of sendmmsg with 64 frames took all 64 each time, at 6.1 µs a frame with any size.
const SEND_QUEUE_BYTES: c_int = 3_456;

/// Opens the interface `name`: a raw socket, non-blocking, bound, with filters in force before the first frame.
///
/// FD frames are always received, with receive times (`SO_TIMESTAMPNS`) and drop counts (`SO_RXQ_OVFL`) as control
/// messages; frames that this socket sends reach the host's other sockets and do not come back to it.
/// An empty filter list receives no data frames. Errors name the interface and what to type.
pub fn open(name: &str, options: &BusOptions) -> Result<OpenBus, BusError> {
    if !interface::is_valid_name(name) {
        return Err(BusError::InterfaceName { name: name.to_owned() });
    }
    let descriptor = raw_socket().map_err(|source| no_socket(name, source))?;
    let index = usable_index(name, options.require_fd)?;
    let receive_queue_bytes = configure(descriptor.as_fd(), options)
        .map_err(|(operation, source)| refused(name, operation, source))?;
    bind(descriptor.as_fd(), index).map_err(|source| match source.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => BusError::InterfaceMissing { name: name.to_owned() },
        Some(libc::ENETDOWN) => BusError::InterfaceDown { name: name.to_owned() },
        _ => refused(name, "bind to it", source),
    })?;
    Ok(OpenBus { descriptor, receive_queue_bytes, packing: Packing::Single, paced_bit_rate: None })
}

/// Whether this kernel has raw CAN sockets.
pub fn is_supported() -> bool {
    match raw_socket() {
        Err(error) => !matches!(no_socket("", error), BusError::KernelHasNoCan),
        Ok(_) => true,
    }
}

fn raw_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    let descriptor = check(unsafe { libc::socket(libc::AF_CAN, kind, libc::CAN_RAW) })?;
    // SAFETY: the kernel just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn usable_index(name: &str, require_fd: bool) -> Result<u32, BusError> {
    let owned = || name.to_owned();
    match interface::state(name).map_err(|source| refused(name, "ask for its state", source))? {
        InterfaceState::Missing => Err(BusError::InterfaceMissing { name: owned() }),
        InterfaceState::NotCan => Err(BusError::InterfaceNotCan { name: owned() }),
        InterfaceState::Down { .. } => Err(BusError::InterfaceDown { name: owned() }),
        InterfaceState::Up { mtu, .. } if require_fd && (mtu as usize) < FD_BYTES => {
            Err(BusError::InterfaceNoFd { name: owned(), mtu })
        }
        InterfaceState::Up { index, .. } => Ok(index),
    }
}

/// Sets everything but the address, so that no unwanted frame is ever queued; gives the receive queue's bytes.
fn configure(socket: BorrowedFd<'_>, options: &BusOptions) -> Result<usize, (&'static str, io::Error)> {
    // An array of struct can_filter: identifier and mask, both in host order.
    let rules = options.kernel_filter.rules.iter();
    let filters: Vec<u8> = rules.flat_map(|rule| [rule.id, rule.mask]).flat_map(u32::to_ne_bytes).collect();
    set_bytes(socket, libc::SOL_CAN_RAW, libc::CAN_RAW_FILTER, &filters)
        .map_err(|error| ("set its filters", error))?;
    if options.kernel_filter.join {
        set(socket, libc::SOL_CAN_RAW, libc::CAN_RAW_JOIN_FILTERS, 1)
            .map_err(|error| ("join its filters", error))?;
    }
    // A mask is 32 bits either way; the kernel reads them as unsigned.
    let error_mask = options.error_mask.cast_signed();
    set(socket, libc::SOL_CAN_RAW, libc::CAN_RAW_ERR_FILTER, error_mask)
        .map_err(|error| ("ask for error frames", error))?;
    set(socket, libc::SOL_CAN_RAW, libc::CAN_RAW_FD_FRAMES, 1)
        .map_err(|error| ("ask for FD frames", error))?;
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
        .map_err(|error| ("ask for receive times", error))?;
    set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1).map_err(|error| ("ask for drop counts", error))?;
    let granted = size_receive_queue(socket, options.receive_queue_bytes)
        .map_err(|error| ("size its receive queue", error))?;
    set(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, SEND_QUEUE_BYTES)
        .map_err(|error| ("size its send queue", error))?;
    Ok(granted)
}

/// Asks beyond the host's limit first, which takes CAP_NET_ADMIN, then within it; gives what was granted.
fn size_receive_queue(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<usize> {
    // The kernel doubles the number, and takes none whose double is beyond an int.
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX).min(c_int::MAX / 2);
    match set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)?;
        }
        result => result?,
    }
    let granted: c_int = read(socket, libc::SOL_SOCKET, libc::SO_RCVBUF)?;
    usize::try_from(granted).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    // SAFETY: an address is plain data; zero is a valid value of each of its parts.
    let mut address: libc::sockaddr_can = unsafe { std::mem::zeroed() };
    address.can_family = libc::AF_CAN as libc::sa_family_t;
    address.can_ifindex = c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    let bytes = size_of::<libc::sockaddr_can>() as libc::socklen_t;
    // SAFETY: the address outlives the call and has the size that is given.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), bytes) }).map(drop)
}

fn no_socket(name: &str, source: io::Error) -> BusError {
    match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => BusError::KernelHasNoCan,
        _ => refused(name, "open a raw CAN socket", source),
    }
}

fn refused(name: &str, operation: &'static str, source: io::Error) -> BusError {
    let name = name.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => BusError::NoRights { name, operation, source },
        _ => BusError::InterfaceSystem { name, operation, source },
    }
}
