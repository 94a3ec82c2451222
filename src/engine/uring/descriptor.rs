//! What the engine knows of an open descriptor: which operations the kernel has of it, and their memory.

use std::io;
use std::os::fd::OwnedFd;

use crate::buffer::SendBuffer;
use crate::engine::stream_socket::StreamSocket;
use crate::engine::{Packing, Token};

/// A bus, until its last operation has ended.
pub struct Bus {
    pub descriptor: OwnedFd,
    pub token: Token,
    pub packing: Packing,
    pub receiving: bool,
    pub awaiting_writable: bool,
    pub closing: bool,
}

/// A stream, until its last operation has ended.
pub struct Stream {
    pub socket: StreamSocket,
    pub token: Token,
    /// `received[..filled]` has not been consumed.
    pub received: Box<[u8]>,
    pub filled: usize,
    pub receiving: bool,
    pub end: End,
    /// The handler has asked for a pause, and [`crate::engine::Engine::resume_stream`] was not called since.
    pub paused: bool,
    /// Invariant: while this is `Some`, the kernel may read its unsent bytes.
    pub sending: Option<SendBuffer>,
    /// TCP did not take all of the last buffer at the first attempt.
    pub congested: bool,
    pub closing: bool,
}

/// Whether more comes from a stream.
#[derive(Debug, Default)]
pub enum End {
    #[default]
    Open,
    /// Nothing more comes: closed by the peer (`None`) or broken. Told when the stream is not paused.
    Untold(Option<io::Error>),
    Told,
}

impl Bus {
    /// Whether the kernel has none of its operations.
    pub fn is_idle(&self) -> bool {
        !self.receiving && !self.awaiting_writable
    }
}

impl Stream {
    /// Keeps bytes behind those that are left over.
    pub fn keep(&mut self, bytes: &[u8]) {
        match self.received[self.filled..].get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.filled += bytes.len();
            }
            // It is paused, and the kernel had no memory for the cancellation of its receive.
            None => self.end = End::Untold(Some(io::ErrorKind::OutOfMemory.into())),
        }
    }

    /// Whether what comes is shown at once, and by itself.
    #[inline]
    pub fn is_flowing(&self) -> bool {
        self.filled == 0 && !self.paused && !self.closing
    }

    /// Whether the kernel has none of its operations.
    pub fn is_idle(&self) -> bool {
        !self.receiving && self.sending.is_none()
    }
}
