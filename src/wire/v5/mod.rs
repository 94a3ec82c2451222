//! Version 5's records, as `docs/wire.md` specifies them: a header of 16 bytes, and a body.
//!
//! ```text
//!  0      1     2       4             8                        16
//! +------+-----+-------+-------------+------------------------+--------- ─ ─
//! | kind | bus | count | body length | number                 | body
//! +------+-----+-------+-------------+------------------------+--------- ─ ─
//!                 all little-endian      of the first frame
//! ```

mod control;
mod frames;

pub use control::*;
pub use frames::*;

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 16;

/// The longest body: a record has 64 KiB at most.
pub const MAX_BODY_BYTES: usize = 64 * 1024 - HEADER_BYTES;

/// Buses of one connection. Bounds what a HELLO can make a receiver keep.
pub const MAX_BUSES: usize = 16;

/// The first kind that a receiver passes over when it does not know it.
const FIRST_OPTIONAL_KIND: u8 = 128;

/// What a record is, by the first byte of its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// Who the sender is, and its buses.
    Hello = 1,
    /// Classic, remote and error frames.
    Frames = 2,
    /// CAN FD frames.
    FdFrames = 3,
    /// Asks for a PONG.
    Ping = 4,
    /// Answers a PING.
    Pong = 5,
    /// What the sender has dropped.
    Loss = 6,
    /// How a bus of the sender is.
    BusState = 7,
    /// What became of the frames that the sender received.
    Receipt = 8,
    /// The last record.
    Goodbye = 9,
    /// Of a later version, to be passed over.
    Optional = FIRST_OPTIONAL_KIND,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Frames,
            3 => Self::FdFrames,
            4 => Self::Ping,
            5 => Self::Pong,
            6 => Self::Loss,
            7 => Self::BusState,
            8 => Self::Receipt,
            9 => Self::Goodbye,
            FIRST_OPTIONAL_KIND.. => Self::Optional,
            _ => return None,
        })
    }
}

/// Bytes that are no version 5 record, or one that does not belong there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// A kind below 128 that this version does not know.
    #[error("a record of unknown kind {0}")]
    Kind(u8),
    /// The body is too long, too short for its kind, or no multiple of 8.
    #[error("a {kind:?} record with a body of {bytes} bytes")]
    BodyLength {
        /// What kind of record.
        kind: RecordKind,
        /// What its header says.
        bytes: u32,
    },
    /// A frame record whose count does not match its body.
    #[error("{count} frames in a body of {bytes} bytes")]
    Count {
        /// What the header says.
        count: u16,
        /// What the header says.
        bytes: u32,
    },
    /// An entry that is no kernel image.
    #[error("an impossible frame (identifier word 0x{id_word:08X}, length {length})")]
    Image {
        /// Identifier and flags.
        id_word: u32,
        /// The payload length.
        length: u8,
    },
    /// A HELLO without an instance, or with no bus or too many.
    #[error("a HELLO of instance {instance:016x} with {buses} buses")]
    Hello {
        /// The instance.
        instance: u64,
        /// How many buses.
        buses: u16,
    },
}

/// A record's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the record is.
    pub kind: RecordKind,
    /// The sender's number of the bus that it is about.
    pub bus: u8,
    /// Frames in the body.
    pub count: u16,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// A sequence number.
    pub number: u64,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` while they are too few.
    ///
    /// # Errors
    /// The kind is not known, or the length is impossible for it.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let kind = RecordKind::from_byte(bytes[0]).ok_or(Malformed::Kind(bytes[0]))?;
        let header = Self {
            kind,
            bus: bytes[1],
            count: u16::from_le_bytes([bytes[2], bytes[3]]),
            body_bytes: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            number: word(bytes, 8),
        };
        header.check()?;
        Ok(Some(header))
    }

    /// Writes the header to the start of `out`, which must have room for it.
    ///
    /// # Panics
    /// If it has not: a bug of the caller.
    #[inline]
    pub fn write(self, out: &mut [u8]) {
        let out = out.first_chunk_mut::<HEADER_BYTES>().expect("there is room for a header");
        out[0] = self.kind as u8;
        out[1] = self.bus;
        out[2..4].copy_from_slice(&self.count.to_le_bytes());
        out[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
    }

    fn check(self) -> Result<(), Malformed> {
        let bytes = self.body_bytes as usize;
        let wrong_length = Malformed::BodyLength { kind: self.kind, bytes: self.body_bytes };
        if bytes > MAX_BODY_BYTES || !bytes.is_multiple_of(8) {
            return Err(wrong_length);
        }
        let shortest = match self.kind {
            RecordKind::Frames | RecordKind::FdFrames => {
                let entries = usize::from(self.count) * EntrySize::of(self.kind).bytes();
                let matches = self.count > 0 && entries == bytes;
                let wrong_count = Malformed::Count { count: self.count, bytes: self.body_bytes };
                return if matches { Ok(()) } else { Err(wrong_count) };
            }
            RecordKind::Hello => HELLO_BYTES + HELLO_BUS_BYTES,
            RecordKind::Ping | RecordKind::Goodbye => 8,
            RecordKind::Pong => 24,
            RecordKind::Loss | RecordKind::Receipt => 32,
            RecordKind::BusState => 16,
            RecordKind::Optional => 0,
        };
        if bytes < shortest { Err(wrong_length) } else { Ok(()) }
    }
}

/// The 64-bit word at an offset, which must lie within `bytes`.
fn word(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests;
