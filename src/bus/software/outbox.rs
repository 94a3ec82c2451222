//! From the hub to a member: frames that follow one another share packets, and packets share system calls.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::slot::Slot;
use super::system;
use crate::bus::{Batch, Packing};

/// Packets that one system call sends: a full inbox of classic frames. A call costs about as much as moving two frames,
/// so that beyond it little is left to gain.
const PACKETS: usize = 32;

/// The room that a send needs besides the frames.
pub(super) struct Outbox {
    packing: Packing,
    batches: Box<[Batch]>,
    /// How many slots are in each packet.
    counts: [usize; PACKETS],
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

/// The outcome of [`Outbox::send`], in slots: fewer taken than offered means that the socket is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) taken: usize,
    pub(super) offered: usize,
}

impl Outbox {
    /// The headers point to the vectors, which are neither moved out of their box nor grown.
    pub(super) fn new(packing: Packing) -> Self {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let mut vectors = vec![empty; PACKETS].into_boxed_slice();
        let headers = vectors.iter_mut().map(system::message).collect();
        let batches = vec![Batch::EMPTY; PACKETS].into_boxed_slice();
        Self { packing, batches, counts: [0; PACKETS], vectors, headers }
    }

    /// Sends in order what fits into the packets of one system call: how many slots the socket took, and how many
    /// these were. None is taken in part: a packet is taken whole or not at all.
    pub(super) fn send<'a>(
        &mut self,
        socket: &OwnedFd,
        slots: impl Iterator<Item = &'a Slot>,
    ) -> io::Result<Sent> {
        let packets = self.pack(slots);
        let offered = self.counts[..packets].iter().sum();
        if offered == 0 {
            return Ok(Sent { taken: 0, offered });
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the first `packets` headers point to vectors that were just pointed to batches of `self`, or to slots
        // that the caller's iterator has borrowed for longer than this call; sending only reads them.
        let taken = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), packets as libc::c_uint, flags)
        };
        match usize::try_from(taken) {
            Ok(taken) => Ok(Sent { taken: self.counts[..taken].iter().sum(), offered }),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent { taken: 0, offered }),
                error => Err(error),
            },
        }
    }

    /// Fills the packets in order: how many.
    fn pack<'a>(&mut self, slots: impl Iterator<Item = &'a Slot>) -> usize {
        let mut slots = slots.peekable();
        let mut packets = 0;
        for ((batch, count), vector) in
            self.batches.iter_mut().zip(&mut self.counts).zip(self.vectors.iter_mut())
        {
            let Some(first) = slots.next() else { break };
            let packet = match (self.packing, first.image()) {
                (Packing::Batches, Some(image)) => {
                    batch.clear();
                    batch.push(image);
                    let joins =
                        |slot: &&Slot, batch: &mut Batch| slot.image().is_some_and(|image| batch.push(image));
                    while slots.next_if(|slot| joins(slot, batch)).is_some() {}
                    *count = batch.count();
                    batch.packet()
                }
                _ => {
                    *count = 1;
                    first.packet()
                }
            };
            vector.iov_base = packet.as_ptr().cast_mut().cast();
            vector.iov_len = packet.len();
            packets += 1;
        }
        packets
    }
}
