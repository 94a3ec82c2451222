//! What passes through the hub one by one: frames, and its own notices. Knows no packet that holds several.

use crate::frame::{FD_BYTES, Image};

/// An image, or a notice to one member.
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

    /// A notice of the hub's own; at most 72 bytes.
    pub(super) fn notice(packet: &[u8]) -> Self {
        let mut slot = Self::EMPTY;
        slot.set(packet, 0);
        slot
    }

    /// Puts a member's frame in.
    pub(super) fn set_frame(&mut self, image: Image<'_>, from: u32) {
        self.set(image.as_bytes(), from);
    }

    pub(super) fn packet(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }

    /// The frame; `None` for a notice.
    pub(super) fn image(&self) -> Option<Image<'_>> {
        Image::parse(self.packet())
    }

    fn set(&mut self, packet: &[u8], from: u32) {
        self.bytes[..packet.len()].copy_from_slice(packet);
        self.length = packet.len() as u32;
        self.from = from;
    }
}
