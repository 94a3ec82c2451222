//! From members to the hub: many packets in one system call, each taken apart into its frames.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::slot::Slot;
use super::system;
use crate::bus::{BATCH_BYTES, BATCH_FRAMES, Images, Packing};

/// Packets that one system call takes. A call costs about as much as moving two frames, so that beyond 32 little is left
/// to gain, and as many full batches are a millisecond of a flood.
const PACKETS: usize = 32;

/// Frames in the inbox at most: as many full batches as one call takes. They and their packets have 190 KiB, of which
/// the first part is used again and again unless a flood comes. When it is full, it is handed on before more is taken.
pub(super) const INBOX_FRAMES: usize = PACKETS * BATCH_FRAMES;

/// What [`Inbox::receive`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// That many packets of frames; there may be others behind them.
    Packets(usize),
    /// Nothing was there.
    Nothing,
    /// The member has left, after the frames that were taken before.
    Left,
    /// The member sent a packet of this many bytes that has no place on the bus (beyond the largest, at least one more).
    Malformed(usize),
}

/// Frames on their way through the hub, in the order in which all members see them.
pub(super) struct Inbox {
    packing: Packing,
    slots: Box<[Slot]>,
    filled: usize,
    packets: Box<[[u8; BATCH_BYTES]]>,
    // Never read: the headers point to them.
    _vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Inbox {
    /// The pointers inside are valid as long as the box they point to is neither moved out of nor grown, and
    /// nothing here does either.
    pub(super) fn new(packing: Packing) -> Self {
        let slots = vec![Slot::EMPTY; INBOX_FRAMES].into_boxed_slice();
        let mut packets = vec![[0; BATCH_BYTES]; PACKETS].into_boxed_slice();
        let mut vectors: Box<[_]> = packets
            .iter_mut()
            .map(|packet| libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() })
            .collect();
        let headers = vectors.iter_mut().map(system::message).collect();
        Self { packing, slots, filled: 0, packets, _vectors: vectors, headers }
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

    /// Takes at most `limit` packets from a member, and no more than the inbox has room for if all are full: there must
    /// be room for one.
    pub(super) fn receive(&mut self, socket: &OwnedFd, from: u32, limit: usize) -> io::Result<Received> {
        let wanted = limit.min(PACKETS).min(self.room() / BATCH_FRAMES);
        debug_assert!(wanted > 0, "the inbox was not emptied");
        let headers = &mut self.headers[..wanted];
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: each header points to its vector and each vector to its packet with the length that it has, all owned
        // by `self` and borrowed mutably for the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                wanted as libc::c_uint,
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
        for index in 0..count {
            let header = &self.headers[index];
            let length = header.msg_len as usize;
            // A zero is the end of the stream, or an empty packet, which nobody has a reason to send.
            if length == 0 {
                return Ok(if index == 0 { Received::Left } else { Received::Packets(index) });
            }
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            if truncated || !self.take_apart(index, length, from) {
                return Ok(Received::Malformed(length + usize::from(truncated)));
            }
        }
        Ok(Received::Packets(count))
    }

    /// Copies a packet's frames to the slots; false if it has none.
    fn take_apart(&mut self, index: usize, length: usize, from: u32) -> bool {
        let packet = &self.packets[index][..length];
        let images = match self.packing {
            Packing::Single => Images::single(packet),
            Packing::Batches => Images::parse(packet),
        };
        let Some(images) = images else { return false };
        let count = images.len();
        let room = &mut self.slots[self.filled..self.filled + count];
        room.iter_mut().zip(images).for_each(|(slot, image)| slot.set_frame(image, from));
        self.filled += count;
        true
    }
}
