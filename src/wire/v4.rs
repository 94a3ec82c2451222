//! Version 4's frames: 14, 18, 22 or 26 bytes, by what the greetings agreed on.
//!
//! ```text
//!  0       1     2               6                        14            18 or 14
//! +-------+-----+---------------+------------------------+-------------+------------------+
//! | flags | dlc | identifier LE | payload, zero-padded   | sequence BE | time BE, µs      |
//! +-------+-----+---------------+------------------------+-------------+------------------+
//!  bit 0:  0..8  no flag bits     8                        4, if SEQ     8, if TS
//!  extended
//! ```

use super::greeting::Features;
use crate::frame::{CLASSIC_BYTES, Frame, Identifier, Image, Kind};
use crate::moment::WallTime;

/// Bytes of a frame of the longest layout (both features).
pub const MAX_FRAME_BYTES: usize = 26;

const FLAGS: usize = 0;
const DLC: usize = 1;
const IDENTIFIER: std::ops::Range<usize> = 2..6;
const PAYLOAD: std::ops::Range<usize> = 6..14;
const BASE_BYTES: usize = 14;
const SEQUENCE_BYTES: usize = 4;
const TIME_BYTES: usize = 8;

/// The flag of a 29-bit identifier; all other flag bits are 0.
const EXTENDED: u8 = 0x01;

/// The agreed layout of every frame of a connection. The default is the legacy one of 14 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    features: Features,
}

/// A frame that version 4 has no encoding for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotRepresentable(pub Kind);

/// Bytes that are no version 4 frame: the stream is not what it was taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// A flag bit other than bit 0 is set.
    #[error("flags 0x{0:02X} (only bit 0 is defined)")]
    Flags(u8),
    /// The payload length is above 8.
    #[error("payload length {0} (8 at most)")]
    Length(u8),
    /// The identifier does not fit 11, or 29, bits.
    #[error("identifier 0x{0:X} out of range")]
    Identifier(u32),
}

impl Layout {
    /// The layout that two sides use once they have agreed on `features`.
    pub fn new(features: Features) -> Self {
        Self { features }
    }

    /// Bytes of every frame: 14, 18, 22 or 26.
    pub fn frame_bytes(self) -> usize {
        let sequence = if self.features.sequence { SEQUENCE_BYTES } else { 0 };
        let time = if self.features.time { TIME_BYTES } else { 0 };
        BASE_BYTES + sequence + time
    }

    /// What was agreed on.
    pub fn features(self) -> Features {
        self.features
    }

    /// Encodes a frame at the start of `out`, which must hold [`Layout::frame_bytes`].
    ///
    /// A raw DLC of 9 to 15 goes out as 8, which is its payload length: version 4 has no place for the code.
    ///
    /// # Errors
    /// Remote, error and FD frames, which the layout cannot carry; `out` is untouched.
    pub fn encode(
        self,
        image: Image<'_>,
        sequence: u32,
        time: WallTime,
        out: &mut [u8],
    ) -> Result<(), NotRepresentable> {
        if image.kind() != Kind::Data {
            return Err(NotRepresentable(image.kind()));
        }
        let identifier = image.identifier();
        let payload = image.payload();
        out[FLAGS] = if identifier.is_extended() { EXTENDED } else { 0 };
        out[DLC] = payload.len() as u8;
        out[IDENTIFIER].copy_from_slice(&identifier.raw().to_le_bytes());
        out[PAYLOAD].copy_from_slice(&zero_padded(image.classic_payload(), payload.len()));
        let mut end = BASE_BYTES;
        if self.features.sequence {
            out[end..end + SEQUENCE_BYTES].copy_from_slice(&sequence.to_be_bytes());
            end += SEQUENCE_BYTES;
        }
        if self.features.time {
            out[end..end + TIME_BYTES].copy_from_slice(&time.as_micros().to_be_bytes());
        }
        Ok(())
    }

    /// A checked view of the frame at the start of `bytes`, which must hold [`Layout::frame_bytes`].
    ///
    /// # Errors
    /// What the peer sent is no frame of this layout.
    pub fn view(self, bytes: &[u8]) -> Result<FrameView<'_>, Malformed> {
        let view = FrameView { bytes: &bytes[..self.frame_bytes()], features: self.features };
        if bytes[FLAGS] & !EXTENDED != 0 {
            return Err(Malformed::Flags(bytes[FLAGS]));
        }
        if bytes[DLC] > 8 {
            return Err(Malformed::Length(bytes[DLC]));
        }
        match view.checked_identifier() {
            Some(_) => Ok(view),
            None => Err(Malformed::Identifier(view.raw_identifier())),
        }
    }
}

/// A borrowed frame whose fields were checked by [`Layout::view`].
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    bytes: &'a [u8],
    features: Features,
}

impl<'a> FrameView<'a> {
    /// The frame's identifier.
    pub fn identifier(self) -> Identifier {
        self.checked_identifier().expect("checked when the view was made")
    }

    /// The frame's payload, 0 to 8 bytes.
    pub fn payload(self) -> &'a [u8] {
        &self.bytes[PAYLOAD][..usize::from(self.bytes[DLC])]
    }

    /// The frame's sequence number, where `SEQ` was agreed on.
    pub fn sequence(self) -> Option<u32> {
        self.features.sequence.then(|| u32::from_be_bytes(self.field(BASE_BYTES)))
    }

    /// The sender's time in microseconds since the UNIX epoch, where `TS` was agreed on.
    pub fn time_us(self) -> Option<u64> {
        let start = BASE_BYTES + if self.features.sequence { SEQUENCE_BYTES } else { 0 };
        self.features.time.then(|| u64::from_be_bytes(self.field(start)))
    }

    /// The kernel image of the frame. Whatever the peer put behind the payload is left out.
    pub fn to_frame(self) -> Frame {
        Frame::data(self.identifier(), self.payload())
            .expect("at most 8 bytes, checked when the view was made")
    }

    fn raw_identifier(self) -> u32 {
        u32::from_le_bytes(self.field(IDENTIFIER.start))
    }

    fn checked_identifier(self) -> Option<Identifier> {
        if self.bytes[FLAGS] & EXTENDED != 0 {
            Identifier::extended(self.raw_identifier())
        } else {
            Identifier::standard(self.raw_identifier())
        }
    }

    fn field<const BYTES: usize>(self, start: usize) -> [u8; BYTES] {
        self.bytes[start..start + BYTES].try_into().expect("a layout's fields lie within its frame")
    }
}

/// The payload with every byte behind `len` zero, in two instructions instead of a copy of unknown length.
fn zero_padded(payload: [u8; 8], len: usize) -> [u8; 8] {
    let kept = if len == 8 { u64::MAX } else { (1u64 << (8 * len)) - 1 };
    (u64::from_le_bytes(payload) & kept).to_le_bytes()
}

const _: () = assert!(BASE_BYTES + SEQUENCE_BYTES + TIME_BYTES == MAX_FRAME_BYTES);
const _: () = assert!(PAYLOAD.end - PAYLOAD.start == CLASSIC_BYTES - crate::frame::PAYLOAD_OFFSET);

#[cfg(test)]
mod tests;
