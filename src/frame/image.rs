//! Kernel images: a frame as `struct can_frame` (16 bytes) or `struct canfd_frame` (72 bytes) lays it out.
//!
//! ```text
//!  0        4     5       6      7     8
//! +--------+-----+-------+------+-----+------------------------------+
//! | id word| len | flags | 0    | raw | payload, 8 or 64 bytes       |
//! +--------+-----+-------+------+-----+------------------------------+
//!   host     0..8  FD only        classic only: DLC 9 to 15 when len is 8
//!   order    0..64                (`len8_dlc`, kernel 5.11)
//! ```
//!
//! The id word holds the identifier in its lower 29 bits and three flags above: bit 31 extended, bit 30 remote,
//! bit 29 error. [`Image`] borrows such bytes from wherever a kernel or a peer put them; [`Frame`] owns them.

use super::identifier::{EXTENDED_MAX, Identifier, STANDARD_MAX};

/// Bytes of a classic image, the kernel's `CAN_MTU`.
pub const CLASSIC_BYTES: usize = 16;
/// Bytes of an FD image, the kernel's `CANFD_MTU`.
pub const FD_BYTES: usize = 72;
/// Offset of the payload in either image.
pub const PAYLOAD_OFFSET: usize = 8;

/// Id word flag: 29-bit identifier (`CAN_EFF_FLAG`).
pub const EXTENDED_FLAG: u32 = 0x8000_0000;
/// Id word flag: remote frame (`CAN_RTR_FLAG`).
pub const REMOTE_FLAG: u32 = 0x4000_0000;
/// Id word flag: error frame (`CAN_ERR_FLAG`).
pub const ERROR_FLAG: u32 = 0x2000_0000;

/// FD flag: bit rate switch (`CANFD_BRS`).
pub const FD_BIT_RATE_SWITCH: u8 = 0x01;
/// FD flag: error state indicator (`CANFD_ESI`).
pub const FD_ERROR_STATE: u8 = 0x02;

// The layouts drawn above are the kernel's own.
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<libc::can_frame>() == CLASSIC_BYTES);
    assert!(size_of::<libc::canfd_frame>() == FD_BYTES);
    assert!(offset_of!(libc::can_frame, can_id) == 0);
    assert!(offset_of!(libc::can_frame, can_dlc) == 4);
    assert!(offset_of!(libc::can_frame, data) == PAYLOAD_OFFSET);
    assert!(offset_of!(libc::canfd_frame, flags) == 5);
    assert!(offset_of!(libc::canfd_frame, data) == PAYLOAD_OFFSET);
};

/// What kind of frame an image holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Classic data frame, 0 to 8 bytes.
    Data,
    /// Classic remote frame: a DLC and no payload.
    Remote,
    /// Error message of the controller: 8 bytes of detail, never on a wire as such.
    Error,
    /// CAN FD data frame, 0 to 64 bytes.
    Fd,
}

/// A borrowed kernel image. Every accessor is in bounds because [`Image::parse`] checked the length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Image<'a>(&'a [u8]);

impl<'a> Image<'a> {
    /// Reads 16 or 72 bytes as a kernel image; `None` for another length, or a payload length beyond the image.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let room = match bytes.len() {
            CLASSIC_BYTES | FD_BYTES => bytes.len() - PAYLOAD_OFFSET,
            _ => return None,
        };
        (usize::from(bytes[4]) <= room).then_some(Self(bytes))
    }

    /// The whole image, 16 or 72 bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Identifier and flags as the kernel keeps them.
    pub fn id_word(self) -> u32 {
        u32::from_ne_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// Which kind of frame this is.
    pub fn kind(self) -> Kind {
        if self.0.len() == FD_BYTES {
            Kind::Fd
        } else if self.id_word() & ERROR_FLAG != 0 {
            Kind::Error
        } else if self.id_word() & REMOTE_FLAG != 0 {
            Kind::Remote
        } else {
            Kind::Data
        }
    }

    /// The identifier; for an error frame its 29 bits are the error class.
    pub fn identifier(self) -> Identifier {
        let word = self.id_word();
        let checked = if word & EXTENDED_FLAG != 0 {
            Identifier::extended(word & EXTENDED_MAX)
        } else {
            Identifier::standard(word & STANDARD_MAX)
        };
        checked.expect("a masked identifier is in range")
    }

    /// Bytes of payload: 0 to 8, or 0 to 64 for FD. For a remote frame the number of bytes asked for.
    pub fn len(self) -> usize {
        usize::from(self.0[4])
    }

    /// Whether no payload byte is carried or asked for.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The payload; empty for remote frames.
    pub fn payload(self) -> &'a [u8] {
        let carried = if self.kind() == Kind::Remote { 0 } else { self.len() };
        &self.0[PAYLOAD_OFFSET..PAYLOAD_OFFSET + carried]
    }

    /// The eight payload bytes of a classic image, beyond `len` as they lie.
    pub fn classic_payload(self) -> [u8; 8] {
        self.0[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 8].try_into().expect("eight bytes")
    }

    /// The code in the frame's DLC field, 0 to 15: for classic frames with 8 bytes it may be 9 to 15, for FD
    /// frames it stands for the length (ISO 11898-1, table of data length codes).
    pub fn dlc(self) -> u8 {
        if self.0.len() == FD_BYTES {
            fd_dlc(self.len())
        } else if self.len() == 8 && (9..=15).contains(&self.0[7]) {
            self.0[7]
        } else {
            self.0[4]
        }
    }

    /// FD flags ([`FD_BIT_RATE_SWITCH`], [`FD_ERROR_STATE`]); 0 for classic images.
    pub fn fd_flags(self) -> u8 {
        if self.0.len() == FD_BYTES { self.0[5] & (FD_BIT_RATE_SWITCH | FD_ERROR_STATE) } else { 0 }
    }
}

impl std::fmt::Debug for Image<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:X?} dlc {} {:02X?}", self.kind(), self.identifier(), self.dlc(), self.payload())
    }
}

/// The smallest FD length code whose length holds `len` bytes; 15 (64 bytes) above 48.
pub fn fd_dlc(len: usize) -> u8 {
    match len {
        0..=8 => len as u8,
        9..=12 => 9,
        13..=16 => 10,
        17..=20 => 11,
        21..=24 => 12,
        25..=32 => 13,
        33..=48 => 14,
        _ => 15,
    }
}

/// Payload bytes that an FD length code stands for; codes above 15 count as 15.
pub fn fd_len(dlc: u8) -> usize {
    const LENGTHS: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];
    LENGTHS[usize::from(dlc.min(15))]
}

/// An owned kernel image, aligned as the kernel's structures are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Frame {
    bytes: [u8; FD_BYTES],
    size: usize,
}

impl Frame {
    /// Standard identifier 0 without payload: what preallocated room is filled with.
    pub const EMPTY: Self = Self { bytes: [0; FD_BYTES], size: CLASSIC_BYTES };

    /// A classic data frame; `None` if `payload` is longer than 8 bytes.
    pub fn data(identifier: Identifier, payload: &[u8]) -> Option<Self> {
        (payload.len() <= 8).then(|| {
            let mut frame = Self::empty(id_word(identifier), CLASSIC_BYTES);
            frame.bytes[4] = payload.len() as u8;
            frame.bytes[PAYLOAD_OFFSET..PAYLOAD_OFFSET + payload.len()].copy_from_slice(payload);
            frame
        })
    }

    /// A classic remote frame; `None` if `dlc` is above 15. Codes 9 to 15 ask for 8 bytes.
    pub fn remote(identifier: Identifier, dlc: u8) -> Option<Self> {
        (dlc <= 15).then(|| {
            let mut frame = Self::empty(id_word(identifier) | REMOTE_FLAG, CLASSIC_BYTES);
            frame.bytes[4] = dlc.min(8);
            frame.bytes[7] = if dlc > 8 { dlc } else { 0 };
            frame
        })
    }

    /// An error message frame: `class` is the error class mask (29 bits) of `linux/can/error.h`.
    pub fn error(class: u32, detail: [u8; 8]) -> Self {
        let mut frame = Self::empty((class & EXTENDED_MAX) | ERROR_FLAG, CLASSIC_BYTES);
        frame.bytes[4] = 8;
        frame.bytes[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 8].copy_from_slice(&detail);
        frame
    }

    /// An FD data frame; `None` if `payload` has no FD length (0 to 8, 12, 16, 20, 24, 32, 48, 64).
    /// Of `flags` only [`FD_BIT_RATE_SWITCH`] and [`FD_ERROR_STATE`] are kept.
    pub fn fd(identifier: Identifier, payload: &[u8], flags: u8) -> Option<Self> {
        (payload.len() <= 64 && fd_len(fd_dlc(payload.len())) == payload.len()).then(|| {
            let mut frame = Self::empty(id_word(identifier), FD_BYTES);
            frame.bytes[4] = payload.len() as u8;
            frame.bytes[5] = flags & (FD_BIT_RATE_SWITCH | FD_ERROR_STATE);
            frame.bytes[PAYLOAD_OFFSET..PAYLOAD_OFFSET + payload.len()].copy_from_slice(payload);
            frame
        })
    }

    /// A copy of a borrowed image.
    pub fn copy_of(image: Image<'_>) -> Self {
        let mut frame = Self { bytes: [0; FD_BYTES], size: image.as_bytes().len() };
        frame.bytes[..frame.size].copy_from_slice(image.as_bytes());
        frame
    }

    /// A copy of an image of 16 or 72 bytes whose id word is little-endian, as protocols carry it.
    ///
    /// # Panics
    /// If the image has another size: a bug of the caller.
    #[inline]
    pub fn from_little_endian(image: &[u8]) -> Self {
        assert!(matches!(image.len(), CLASSIC_BYTES | FD_BYTES), "an image has one of two sizes");
        let mut frame = Self { bytes: [0; FD_BYTES], size: image.len() };
        // A copy of a size that is known takes a few instructions, one that is not a call.
        match image.first_chunk::<CLASSIC_BYTES>() {
            Some(classic) if image.len() == CLASSIC_BYTES => {
                frame.bytes[..CLASSIC_BYTES].copy_from_slice(classic)
            }
            _ => frame.bytes.copy_from_slice(image),
        }
        let id_word = u32::from_le_bytes([image[0], image[1], image[2], image[3]]);
        frame.bytes[..4].copy_from_slice(&id_word.to_ne_bytes());
        frame
    }

    /// The same data frame with a raw DLC of 9 to 15; `None` unless it is a classic frame of 8 bytes.
    pub fn with_raw_dlc(mut self, dlc: u8) -> Option<Self> {
        let fits = self.size == CLASSIC_BYTES && self.bytes[4] == 8 && (9..=15).contains(&dlc);
        self.bytes[7] = dlc;
        fits.then_some(self)
    }

    /// The frame as a borrowed image.
    pub fn image(&self) -> Image<'_> {
        Image(&self.bytes[..self.size])
    }

    fn empty(id_word: u32, size: usize) -> Self {
        let mut bytes = [0; FD_BYTES];
        bytes[..4].copy_from_slice(&id_word.to_ne_bytes());
        Self { bytes, size }
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.image() == other.image()
    }
}

impl Eq for Frame {}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.image().fmt(f)
    }
}

/// The id word of a data frame with this identifier.
pub fn id_word(identifier: Identifier) -> u32 {
    identifier.raw() | if identifier.is_extended() { EXTENDED_FLAG } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standard(raw: u32) -> Identifier {
        Identifier::standard(raw).unwrap()
    }

    #[test]
    fn classic_image_is_the_kernels() {
        let frame = Frame::data(standard(0x123), &[0x11, 0x22, 0x33, 0x44]).unwrap();
        let mut expected = [0u8; 16];
        expected[..4].copy_from_slice(&0x123u32.to_ne_bytes());
        expected[4] = 4;
        expected[8..12].copy_from_slice(&[0x11, 0x22, 0x33, 0x44]);
        assert_eq!(frame.image().as_bytes(), expected);
        assert_eq!(frame.image().kind(), Kind::Data);
        assert_eq!(frame.image().payload(), [0x11, 0x22, 0x33, 0x44]);
    }

    #[test]
    fn remote_frames_keep_their_dlc_and_carry_nothing() {
        for dlc in 0..=15 {
            let frame = Frame::remote(Identifier::extended(0x1ABC_DEF0).unwrap(), dlc).unwrap();
            assert_eq!(frame.image().kind(), Kind::Remote);
            assert_eq!(frame.image().dlc(), dlc);
            assert_eq!(frame.image().payload(), [0u8; 0]);
            assert_eq!(frame.image().id_word(), 0xDABC_DEF0);
        }
        assert_eq!(Frame::remote(standard(1), 16), None);
    }

    #[test]
    fn raw_dlc_needs_eight_bytes() {
        let full = Frame::data(standard(1), &[0; 8]).unwrap();
        assert_eq!(full.with_raw_dlc(15).unwrap().image().dlc(), 15);
        assert_eq!(full.with_raw_dlc(8), None);
        assert_eq!(Frame::data(standard(1), &[0; 7]).unwrap().with_raw_dlc(9), None);
    }

    #[test]
    fn fd_lengths_are_the_standards() {
        for (dlc, len) in [(8, 8), (9, 12), (10, 16), (11, 20), (12, 24), (13, 32), (14, 48), (15, 64)] {
            assert_eq!(fd_len(dlc), len);
            assert_eq!(fd_dlc(len), dlc);
            let frame = Frame::fd(standard(0x7FF), &vec![0xA5; len], FD_BIT_RATE_SWITCH).unwrap();
            assert_eq!(frame.image().as_bytes().len(), 72);
            assert_eq!(frame.image().dlc(), dlc);
            assert_eq!(frame.image().fd_flags(), 1);
        }
        assert_eq!(Frame::fd(standard(1), &[0; 9], 0), None);
        assert_eq!(Frame::fd(standard(1), &[0; 65], 0), None);
    }

    #[test]
    fn only_whole_images_parse() {
        assert!(Image::parse(&[0; 16]).is_some());
        assert!(Image::parse(&[0; 72]).is_some());
        for length in [0, 1, 15, 17, 71, 73] {
            assert!(Image::parse(&vec![0; length]).is_none(), "{length} bytes");
        }
        let mut too_long = [0; 16];
        too_long[4] = 9;
        assert!(Image::parse(&too_long).is_none());
    }
}
