//! Packets to and from an open bus of either kind, for programs at a bus's edge: `send`, `dump`, tests. (A bridge's
//! engine moves its own.) Knows no frame: a packet is bytes.

use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::frame::FD_BYTES;

/// Packets that one receive takes at most: beyond some sixty the cost of the call is shared as far as it matters.
pub const RECEIVE_BATCH: usize = 64;

/// Bytes of control messages with a packet: a receive time (32) and a drop count (24), with room to spare.
const CONTROL_WORDS: usize = 16;

/// A received packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received<'a> {
    /// An image, or another packet ([`super::interpret`] tells).
    pub packet: &'a [u8],
    /// When the kernel received it: nanoseconds since the UNIX epoch (`SO_TIMESTAMPNS`).
    pub time_ns: Option<u64>,
    /// Packets that the kernel dropped on this socket so far, for want of room in its receive queue
    /// (`SO_RXQ_OVFL`); it wraps at 2^32. `None` means none so far, or not asked for.
    pub kernel_dropped: Option<u32>,
}

/// Receives packets in batches.
pub struct Receiver {
    packets: Box<[[u8; FD_BYTES]]>,
    controls: Box<[[u64; CONTROL_WORDS]]>,
    headers: Box<[libc::mmsghdr]>,
    // The headers point to them.
    _vectors: Box<[libc::iovec]>,
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
        let mut packets = vec![[0; FD_BYTES]; RECEIVE_BATCH].into_boxed_slice();
        let mut controls = vec![[0; CONTROL_WORDS]; RECEIVE_BATCH].into_boxed_slice();
        let base = |packet: &mut [u8; FD_BYTES]| packet.as_mut_ptr().cast();
        let vector = |packet| libc::iovec { iov_base: base(packet), iov_len: FD_BYTES };
        let mut vectors: Box<[_]> = packets.iter_mut().map(vector).collect();
        let pairs = vectors.iter_mut().zip(controls.iter_mut());
        let headers = pairs.map(|(vector, control)| header(vector, control)).collect();
        Self { packets, controls, headers, _vectors: vectors, received: 0 }
    }

    /// Takes what has arrived, at most [`RECEIVE_BATCH`] packets: how many, 0 at the end of a software bus's stream.
    /// `WouldBlock` if nothing is there.
    pub fn receive(&mut self, bus: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        for header in &mut self.headers {
            header.msg_hdr.msg_controllen = size_of::<[u64; CONTROL_WORDS]>() as _;
        }
        let (pointer, count) = (self.headers.as_mut_ptr(), self.headers.len() as libc::c_uint);
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: each header points to its vector and its control words, and each vector to its packet. All live
        // in boxes of `self`, which are never replaced, and are borrowed mutably for the call.
        let count = unsafe { libc::recvmmsg(bus.as_raw_fd(), pointer, count, flags, std::ptr::null_mut()) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let ended = self.headers[..count].iter().position(|header| header.msg_len == 0);
        self.received = ended.unwrap_or(count);
        Ok(self.received)
    }

    /// What the last [`Receiver::receive`] took, in order.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        let parts = self.headers.iter().zip(&self.packets).zip(&self.controls).take(self.received);
        parts.map(|((header, packet), control)| {
            let length = (header.msg_len as usize).min(FD_BYTES);
            let control_bytes = native_length(header.msg_hdr.msg_controllen);
            let (time_ns, kernel_dropped) = read_control(control, control_bytes);
            Received { packet: &packet[..length], time_ns, kernel_dropped }
        })
    }
}

/// Sends one packet: whole or not at all. `WouldBlock` and ENOBUFS mean a full transmit queue.
pub fn send(bus: BorrowedFd<'_>, packet: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the packet is readable for its length.
    let sent = unsafe { libc::send(bus.as_raw_fd(), packet.as_ptr().cast(), packet.len(), flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An open bus whose readiness a tokio reactor watches. Panics outside of a tokio runtime, as all of tokio does.
pub fn watched(bus: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, is the same descriptor at every call, and is closed by nobody else.
    Ok(unsafe { AsyncFd::register(bus) }?)
}

/// Waits until a bus takes packets again, at most `limit`: whether it does. (A full transmit queue of a real
/// controller, ENOBUFS, cannot be waited for: the socket counts as writable.)
pub fn wait_writable(bus: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let limit_ms = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    let mut request = libc::pollfd { fd: bus.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one pollfd, writable.
    match unsafe { libc::poll(&raw mut request, 1, limit_ms) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

/// Receive time and drop count in the first `length` bytes of control messages (cmsg(3): a header of length,
/// level and type, then data; the next header is aligned to a machine word).
fn read_control(words: &[u64; CONTROL_WORDS], length: usize) -> (Option<u64>, Option<u32>) {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    const WORD: usize = size_of::<usize>();
    let mut bytes = [0; size_of::<[u64; CONTROL_WORDS]>()];
    for (target, word) in bytes.chunks_exact_mut(8).zip(words) {
        target.copy_from_slice(&word.to_ne_bytes());
    }
    let mut rest = &bytes[..length.min(bytes.len())];
    let (mut time_ns, mut dropped) = (None, None);
    while let Some((header, _)) = rest.split_at_checked(HEADER) {
        let message_length = native_word(header);
        let Some(data) = rest.get(HEADER..message_length) else {
            break;
        };
        let number = |at: usize| i32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        match (number(HEADER - 8), number(HEADER - 4)) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) if data.len() >= 2 * WORD => {
                time_ns = Some(native_word(data) as u64 * 1_000_000_000 + native_word(&data[WORD..]) as u64);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) if data.len() >= 4 => {
                dropped = Some(u32::from_ne_bytes(data[..4].try_into().expect("four bytes")));
            }
            _ => {}
        }
        rest = rest.get(message_length.next_multiple_of(WORD)..).unwrap_or(&[]);
    }
    (time_ns, dropped)
}

/// The length's type differs between C libraries (`size_t`, `socklen_t`).
fn native_length(length: impl TryInto<usize>) -> usize {
    length.try_into().unwrap_or(0)
}

fn native_word(bytes: &[u8]) -> usize {
    usize::from_ne_bytes(bytes[..size_of::<usize>()].try_into().expect("a word"))
}

fn header(vector: &mut libc::iovec, control: &mut [u64; CONTROL_WORDS]) -> libc::mmsghdr {
    // SAFETY: mmsghdr is integers and pointers, for which zero is a value.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header.msg_hdr.msg_control = control.as_mut_ptr().cast();
    header
}
