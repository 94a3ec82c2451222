//! A stream's socket, whose queue of what it has received is read before it is emptied.
//!
//! A kernel acknowledges when the receiver has emptied the queue: where two short segments were in it at once, and before the call
//! that emptied it returns. To a bridge, which receives a frame at a time and has nothing to say, that is a packet back
//! for every second frame, sent before the frame goes to the bus, and about a tenth of all that the frame costs
//! (`bench/profiles/2026-11-29-acknowledgements-after-the-frame.txt`). So bytes are read and left in the queue (`MSG_PEEK`, from
//! where the last read ended: `SO_PEEK_OFF`, which TCP has since Linux 6.9, over IPv6 since 6.12), and taken out when they are
//! some, after what came of them was done. Where no more come the kernel acknowledges them as late as it does anyway, after 40 ms
//! as a rule and 200 ms at most.
//!
//! A queue that is not empty is readable: engines watch for what comes, not for what is there, and empty it before they fall
//! idle. And the kernel resets a connection that is closed with bytes in its queue, which can cost the peer what was sent
//! before: the queue is emptied before that. Only a process that is killed while frames come has its connections reset.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::debug;

use super::socket::discard;
use crate::bus::option;

/// Bytes that are taken out together. With a frame more they must be less than a segment as small as any, 536 bytes:
/// beyond that the kernel acknowledges when the frame arrives, and lets it wait meanwhile.
const TAKEN_OUT_BYTES: usize = 400;

/// Reads, each of a segment perhaps, whose bytes are taken out together. Nothing is acknowledged where another segment has come
/// meanwhile, but the next time all are. A sender has ten under way at the beginning and after each pause, which is twice as
/// many: it does not come to wait for 40 ms. (It may once some were lost, where it has fewer.)
const TAKEN_OUT_READS: usize = 5;

/// A stream's socket, and what is known of its queue.
#[derive(Debug)]
pub struct StreamSocket {
    descriptor: OwnedFd,
    /// What was read is left in the queue.
    keeps: bool,
    /// Bytes at its front that were read, in so many reads.
    read_bytes: usize,
    reads: usize,
    /// That it is to be emptied was said.
    is_ripe: bool,
}

impl StreamSocket {
    /// Has the kernel keep what is read, where it can.
    pub fn new(descriptor: OwnedFd) -> Self {
        let keeps = Self::can_keep(descriptor.as_fd()).unwrap_or(false);
        Self { descriptor, keeps, read_bytes: 0, reads: 0, is_ripe: false }
    }

    fn can_keep(socket: BorrowedFd<'_>) -> io::Result<bool> {
        let protocol: libc::c_int = option::read(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL)?;
        if protocol != libc::IPPROTO_TCP {
            return Ok(false);
        }
        option::set(socket, libc::SOL_SOCKET, libc::SO_PEEK_OFF, 0)?;
        // The offset knows nothing of urgent bytes, unless they lie among the others.
        option::set(socket, libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)?;
        Ok(true)
    }

    /// With which flags it is read.
    pub fn flags(&self) -> libc::c_int {
        if self.keeps { libc::MSG_PEEK } else { 0 }
    }

    /// So many bytes more were read. True, once, when the queue is to be emptied.
    #[inline]
    pub fn note_read(&mut self, bytes: usize) -> bool {
        if !self.keeps || bytes == 0 {
            return false;
        }
        self.read_bytes += bytes;
        self.reads += 1;
        let was_ripe = self.is_ripe;
        self.is_ripe |= self.read_bytes >= TAKEN_OUT_BYTES || self.reads >= TAKEN_OUT_READS;
        self.is_ripe && !was_ripe
    }

    /// Takes out of the queue all that was read, if anything was. If that fails, receiving will, and tells why.
    pub fn empty_queue(&mut self) {
        if self.read_bytes == 0 {
            return;
        }
        self.is_ripe = false;
        while self.read_bytes > 0 {
            match discard(self.as_fd(), self.read_bytes) {
                Ok(count) if count > 0 => self.read_bytes -= count,
                outcome => {
                    debug!("what was read stays in a connection's queue: {outcome:?}");
                    break;
                }
            }
        }
        (self.read_bytes, self.reads) = (0, 0);
    }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for StreamSocket {
    fn drop(&mut self) {
        self.empty_queue();
    }
}
