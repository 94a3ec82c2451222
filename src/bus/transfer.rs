//! Packets to and from an open bus of either kind. Knows no frame: a packet is bytes.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::batch::BATCH_BYTES;
use super::control::{self, CONTROL_BYTES, PacketInfo};

/// Packets that one receive takes at most: a backlog is then read in few calls, and no bus keeps others waiting long.
pub const RECEIVE_BATCH: usize = 64;

/// One byte more than the largest packet, so that a longer one is seen to be longer instead of being cut to size.
pub const PACKET_BYTES: usize = BATCH_BYTES + 1;

/// A received packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received<'a> {
    /// An image, several, or another packet ([`super::interpret`] tells).
    pub packet: &'a [u8],
    /// What the kernel said beside it.
    pub info: PacketInfo,
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL_BYTES],
    packet: [u8; PACKET_BYTES],
}

/// Receives packets in batches (`recvmmsg`), into memory laid out once.
///
/// The headers point into the slots and at the vectors, all of which are boxed and never moved or resized.
pub struct Receiver {
    slots: Box<[Slot; RECEIVE_BATCH]>,
    // Never read: the headers point to them.
    _vectors: Box<[libc::iovec; RECEIVE_BATCH]>,
    headers: Box<[libc::mmsghdr; RECEIVE_BATCH]>,
    received: usize,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// Everything that receiving needs is allocated here.
    pub fn new() -> Self {
        let empty = Slot { control: [0; CONTROL_BYTES], packet: [0; PACKET_BYTES] };
        let mut slots = Box::new([empty; RECEIVE_BATCH]);
        let mut vectors =
            Box::new([libc::iovec { iov_base: null_mut(), iov_len: PACKET_BYTES }; RECEIVE_BATCH]);
        // SAFETY: all-zero bytes are a valid `mmsghdr`: null pointers and zero lengths.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let mut headers = Box::new([header; RECEIVE_BATCH]);
        for (header, (slot, vector)) in headers.iter_mut().zip(slots.iter_mut().zip(vectors.iter_mut())) {
            vector.iov_base = slot.packet.as_mut_ptr().cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
        }
        Self { slots, _vectors: vectors, headers, received: 0 }
    }

    /// Takes what has arrived, at most [`RECEIVE_BATCH`] packets: how many, 0 at the end of a software bus's stream.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; `ENETDOWN` once after the interface went down; `ENODEV` when it was deleted; `ECONNRESET`
    /// when a software bus's host has left.
    pub fn receive(&mut self, bus: BorrowedFd<'_>) -> io::Result<usize> {
        // The last call's packets are in the first headers, whose lengths the kernel has overwritten.
        for header in self.headers.iter_mut() {
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
        self.received = 0;
        let (headers, flags) = (self.headers.as_mut_ptr(), libc::MSG_DONTWAIT);
        let batch = RECEIVE_BATCH as libc::c_uint;
        // SAFETY: each header points to its vector and its control messages, and each vector to its packet, with the
        // lengths they have. All live in boxes of `self`, which are never replaced, and are borrowed for the call.
        let count = unsafe { libc::recvmmsg(bus.as_raw_fd(), headers, batch, flags, null_mut()) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let ended = self.headers[..count].iter().position(|header| header.msg_len == 0);
        self.received = ended.unwrap_or(count);
        Ok(self.received)
    }

    /// What the last [`Receiver::receive`] took, in order.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        self.headers.iter().zip(self.slots.iter()).take(self.received).map(|(header, slot)| {
            let length = (header.msg_len as usize).min(PACKET_BYTES);
            let control_length = native_length(header.msg_hdr.msg_controllen).min(CONTROL_BYTES);
            Received { packet: &slot.packet[..length], info: control::parse(&slot.control[..control_length]) }
        })
    }
}

/// Sends one packet: whole or not at all.
///
/// # Errors
/// `WouldBlock` and `ENOBUFS` if the transmit queue is full; else why the kernel refuses the packet: the interface is down or gone,
/// or carries no such frame (`EINVAL`).
pub fn send(bus: BorrowedFd<'_>, packet: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the packet is readable for its length.
    let sent = unsafe { libc::send(bus.as_raw_fd(), packet.as_ptr().cast(), packet.len(), flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An open bus whose readiness a tokio reactor watches. Panics outside of a tokio runtime, as all of tokio does.
///
/// # Errors
/// The kernel cannot watch the descriptor, or has no memory for that.
pub fn watched(bus: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, is the same descriptor at every call, and is closed by nobody else.
    Ok(unsafe { AsyncFd::register(bus) }?)
}

/// As [`watched`], for a descriptor that is only read from: one that is ready to be written to all the time (an
/// eventfd, say) would otherwise wake the reactor a second time whenever it is read.
///
/// # Errors
/// As those of [`watched`].
pub fn watched_for_reading(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, is the same descriptor at every call, and is closed by nobody else.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

/// Waits until a bus takes packets again, at most `limit`: whether it does. (A full transmit queue of a real
/// controller, ENOBUFS, cannot be waited for: the socket counts as writable.)
///
/// # Errors
/// `Interrupted` if a signal came first.
pub fn wait_writable(bus: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    wait(bus, libc::POLLOUT, limit)
}

/// Waits until a bus has packets for us, or is broken, at most `limit`: whether it has.
///
/// # Errors
/// `Interrupted` if a signal came first.
pub fn wait_readable(bus: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    wait(bus, libc::POLLIN, limit)
}

fn wait(bus: BorrowedFd<'_>, events: libc::c_short, limit: Duration) -> io::Result<bool> {
    let limit_ms = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    let mut request = libc::pollfd { fd: bus.as_raw_fd(), events, revents: 0 };
    // SAFETY: one pollfd, writable.
    match unsafe { libc::poll(&raw mut request, 1, limit_ms) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

/// The length's type differs between C libraries (`size_t`, `socklen_t`).
fn native_length(length: impl TryInto<usize>) -> usize {
    length.try_into().unwrap_or(0)
}
