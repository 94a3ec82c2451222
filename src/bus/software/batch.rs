//! Many packets in one system call. Knows sockets and sizes of images; knows no member and no order of bits.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::frame::{FD_BYTES, Image};

/// Frames that one system call moves. A call costs about as much as moving two frames, so that beyond 128 nothing
/// is left to gain, and a batch of the largest images (10 KiB) stays in the first-level cache.
pub(super) const BATCH_FRAMES: usize = 128;

/// One packet in the hub: an image, or a notice to one member.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Slot {
    bytes: [u8; FD_BYTES],
    length: u32,
    /// Serial number of the member that it comes from; 0 for the hub's own.
    pub(super) from: u32,
}

impl Slot {
    pub(super) const EMPTY: Self = Self { bytes: [0; FD_BYTES], length: 0, from: 0 };

    /// A packet of the hub's own; at most 72 bytes.
    pub(super) fn notice(packet: &[u8]) -> Self {
        let mut slot = Self { length: packet.len() as u32, ..Self::EMPTY };
        slot.bytes[..packet.len()].copy_from_slice(packet);
        slot
    }

    pub(super) fn packet(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }
}

/// What [`Inbox::receive`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// That many frames more; there may be others behind them.
    Frames(usize),
    /// Nothing was there.
    Nothing,
    /// The member has left, after the frames that were taken before.
    Left,
    /// The member sent a packet of this many bytes that is no image (beyond 72, at least 73).
    Malformed(usize),
}

/// Frames on their way through the hub, in the order in which all members see them.
pub(super) struct Inbox {
    slots: Box<[Slot]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    filled: usize,
}

impl Inbox {
    /// The pointers inside are valid as long as the box they point to is neither moved out of nor grown, and
    /// nothing here does either.
    pub(super) fn new() -> Self {
        let mut slots = vec![Slot::EMPTY; BATCH_FRAMES].into_boxed_slice();
        let mut vectors: Box<[_]> = slots
            .iter_mut()
            .map(|slot| libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: FD_BYTES })
            .collect();
        let headers = vectors.iter_mut().map(header).collect();
        Self { slots, vectors, headers, filled: 0 }
    }

    /// Places left.
    pub(super) fn room(&self) -> usize {
        self.slots.len() - self.filled
    }

    /// What was taken since [`Inbox::clear`].
    pub(super) fn frames(&self) -> &[Slot] {
        &self.slots[..self.filled]
    }

    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Puts one frame in; the inbox must have room.
    pub(super) fn push(&mut self, slot: Slot) {
        self.slots[self.filled] = slot;
        self.filled += 1;
    }

    /// Takes the newest frame out again.
    pub(super) fn pop(&mut self) -> Option<Slot> {
        self.filled = self.filled.checked_sub(1)?;
        Some(self.slots[self.filled])
    }

    /// Takes at most `limit` frames from a member, and at most [`Inbox::room`].
    pub(super) fn receive(&mut self, socket: &OwnedFd, from: u32, limit: usize) -> io::Result<Received> {
        debug_assert_eq!(self.vectors.len(), self.slots.len());
        let first = self.filled;
        let free = self.room().min(limit);
        let headers = &mut self.headers[first..first + free];
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: each header points to its vector and each vector to its slot of 72 bytes, all owned by `self`
        // and borrowed mutably for the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                free as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(Received::Nothing),
                _ => Err(error),
            };
        };
        for offset in 0..count {
            let index = first + offset;
            let header = &self.headers[index];
            let length = header.msg_len as usize;
            // A zero is the end of the stream, or an empty packet, which nobody has a reason to send.
            if length == 0 {
                return Ok(if offset == 0 { Received::Left } else { Received::Frames(offset) });
            }
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let slot = &mut self.slots[index];
            if truncated || Image::parse(&slot.bytes[..length]).is_none() {
                return Ok(Received::Malformed(length + usize::from(truncated)));
            }
            slot.length = header.msg_len;
            slot.from = from;
            self.filled += 1;
        }
        Ok(Received::Frames(count))
    }
}

/// The room that a send needs besides the packets.
pub(super) struct Outbox {
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut vectors = vec![empty; BATCH_FRAMES].into_boxed_slice();
        let headers = vectors.iter_mut().map(header).collect();
        Self { vectors, headers }
    }

    /// Sends the first [`BATCH_FRAMES`] packets in order: how many the socket took, and how many there were.
    pub(super) fn send<'a>(
        &mut self,
        socket: &OwnedFd,
        packets: impl Iterator<Item = &'a Slot>,
    ) -> io::Result<Sent> {
        let mut offered = 0;
        for (vector, slot) in self.vectors.iter_mut().zip(packets) {
            vector.iov_base = slot.bytes.as_ptr().cast_mut().cast();
            vector.iov_len = slot.length as usize;
            offered += 1;
        }
        if offered == 0 {
            return Ok(Sent { taken: 0, offered });
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the first `offered` headers point to vectors that were just pointed to slots, which `packets`
        // borrowed for longer than this call; sending only reads them.
        let taken = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), offered as libc::c_uint, flags)
        };
        match usize::try_from(taken) {
            Ok(taken) => Ok(Sent { taken, offered }),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent { taken: 0, offered }),
                error => Err(error),
            },
        }
    }
}

/// The outcome of [`Outbox::send`]: fewer taken than offered means that the socket is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) taken: usize,
    pub(super) offered: usize,
}

fn header(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: mmsghdr is integers and pointers, for which zero is a value.
    let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}
