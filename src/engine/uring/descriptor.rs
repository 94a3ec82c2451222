//! What the engine knows of an open descriptor: which operations the kernel has of it, and their memory.

use std::os::fd::OwnedFd;

use crate::buffer::SendBuffer;
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
    pub descriptor: OwnedFd,
    pub token: Token,
    /// Invariant: while `receiving`, the kernel may write behind `filled`, and nobody else does.
    pub received: Box<[u8]>,
    pub filled: usize,
    pub receiving: bool,
    /// The handler has asked for a pause, and [`crate::engine::Engine::resume_stream`] was not called since.
    pub paused: bool,
    /// Invariant: while this is `Some`, the kernel may read its unsent bytes.
    pub sending: Option<SendBuffer>,
    pub closing: bool,
}

impl Bus {
    /// Whether the kernel has none of its operations.
    pub fn is_idle(&self) -> bool {
        !self.receiving && !self.awaiting_writable
    }
}

impl Stream {
    /// Whether the kernel has none of its operations.
    pub fn is_idle(&self) -> bool {
        !self.receiving && self.sending.is_none()
    }
}
