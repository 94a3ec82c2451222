//! What the frames of a load look like, and the drawing of each from its number.

use std::fmt;
use std::str::FromStr;

use super::LoadError;
use super::mixing::permute;
use super::stamp::{Stamp, StampKey};
use crate::frame::{FD_BIT_RATE_SWITCH, Frame, Identifier};

/// Payload lengths of CAN FD (ISO 11898-1).
pub(super) const FD_LENGTHS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64];
/// The ones that a classic frame has too.
const CLASSIC_LENGTHS: &[u8] = FD_LENGTHS.split_at(9).0;

const STANDARD_BITS: u32 = 11;
const EXTENDED_BITS: u32 = 29;

/// The frames of a load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frames {
    /// Their identifiers.
    pub identifiers: Identifiers,
    /// Their lengths.
    pub lengths: Lengths,
    /// Classic or FD.
    pub format: Format,
}

/// 11-bit identifiers, 8 bytes, classic.
impl Default for Frames {
    fn default() -> Self {
        Self { identifiers: Identifiers::Standard, lengths: Lengths::Fixed(8), format: Format::Classic }
    }
}

/// Which identifiers frames have. Each identifier of a kind comes once before any comes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identifiers {
    /// 11 bits.
    Standard,
    /// 29 bits.
    Extended,
    /// Half of the frames this, half of them that.
    Mixed,
}

/// How long payloads are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lengths {
    /// All alike, in bytes.
    Fixed(u8),
    /// Every length there is, equally often.
    Mixed,
}

/// Classic or FD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// CAN, up to 8 bytes.
    Classic,
    /// CAN FD, up to 64 bytes.
    Fd {
        /// Whether data goes at the data bit rate.
        bit_rate_switch: bool,
    },
}

/// What a draw from the key is for.
const KIND: u64 = 1;
const LENGTH: u64 = 2;
const IDENTIFIER: u64 = 3;
const SHORT_PAYLOAD: u64 = 4;
const LONG_PAYLOAD: u64 = 5;

impl Frames {
    pub(super) fn check(self) -> Result<(), LoadError> {
        let Lengths::Fixed(len) = self.lengths else { return Ok(()) };
        match self.format {
            _ if self.possible_lengths().contains(&len) => Ok(()),
            Format::Classic => Err(LoadError::ClassicLength(len)),
            Format::Fd { .. } => Err(LoadError::FdLength(len)),
        }
    }

    /// The frame of this number. Payloads of 8 bytes and more begin with its stamp. Shorter ones have room for a part of
    /// the number only: together with the identifier they come again after as many frames as they can tell apart.
    pub(super) fn draw(self, key: StampKey, stamp_due_us: u32, number: u64) -> Frame {
        let identifier = self.identifier(key, number);
        let len = usize::from(self.len(key, number));
        let mut payload = [0; 64];
        fill_payload(&mut payload[..len], key, stamp_due_us, number);
        let frame = match self.format {
            Format::Classic => Frame::data(identifier, &payload[..len]),
            Format::Fd { bit_rate_switch } => {
                Frame::fd(identifier, &payload[..len], if bit_rate_switch { FD_BIT_RATE_SWITCH } else { 0 })
            }
        };
        frame.expect("the length was checked")
    }

    fn identifier(self, key: StampKey, number: u64) -> Identifier {
        let extended = match self.identifiers {
            Identifiers::Standard => false,
            Identifiers::Extended => true,
            Identifiers::Mixed => key.draw(number, KIND) & 1 == 1,
        };
        let of = |bits| permute(number, bits, key.draw(0, IDENTIFIER)) as u32;
        let identifier = if extended {
            Identifier::extended(of(EXTENDED_BITS))
        } else {
            Identifier::standard(of(STANDARD_BITS))
        };
        identifier.expect("so many bits are an identifier")
    }

    fn len(self, key: StampKey, number: u64) -> u8 {
        match self.lengths {
            Lengths::Fixed(len) => len,
            Lengths::Mixed => {
                let lengths = self.possible_lengths();
                lengths[(key.draw(number, LENGTH) % lengths.len() as u64) as usize]
            }
        }
    }

    fn possible_lengths(self) -> &'static [u8] {
        match self.format {
            Format::Classic => CLASSIC_LENGTHS,
            Format::Fd { .. } => &FD_LENGTHS,
        }
    }
}

/// The payload of a frame: its stamp and random bytes, or as much of its number as there is room for.
pub(super) fn fill_payload(payload: &mut [u8], key: StampKey, due_us: u32, number: u64) {
    if let Some((stamp, rest)) = payload.split_first_chunk_mut::<{ StampKey::BYTES }>() {
        *stamp = key.write(Stamp { number: number as u32, due_us });
        for (at, chunk) in (LONG_PAYLOAD..).zip(rest.chunks_mut(8)) {
            chunk.copy_from_slice(&key.draw(number, at).to_le_bytes()[..chunk.len()]);
        }
    } else if !payload.is_empty() {
        // The lower bits of the number make an 11-bit identifier: the payload tells its rounds apart.
        let (round, within) = (number >> STANDARD_BITS, number & ((1 << STANDARD_BITS) - 1));
        let short = permute(round, 8 * payload.len() as u32, key.draw(within, SHORT_PAYLOAD));
        payload.copy_from_slice(&short.to_le_bytes()[..payload.len()]);
    }
}

impl FromStr for Identifiers {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        match text {
            "11" => Ok(Self::Standard),
            "29" => Ok(Self::Extended),
            "mixed" => Ok(Self::Mixed),
            _ => Err(LoadError::Identifiers(text.to_owned())),
        }
    }
}

/// Whether the length exists is checked with the format: [`super::Load::paced`].
impl FromStr for Lengths {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        match text {
            "mixed" => Ok(Self::Mixed),
            _ => text.parse().map(Self::Fixed).map_err(|_| LoadError::Lengths(text.to_owned())),
        }
    }
}

/// `11-bit identifiers, 8 bytes, random payloads`.
impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Format::Classic => {}
            Format::Fd { bit_rate_switch: true } => write!(f, "CAN FD with bit rate switch, ")?,
            Format::Fd { bit_rate_switch: false } => write!(f, "CAN FD, ")?,
        }
        match self.identifiers {
            Identifiers::Standard => write!(f, "11-bit identifiers, ")?,
            Identifiers::Extended => write!(f, "29-bit identifiers, ")?,
            Identifiers::Mixed => write!(f, "11-bit and 29-bit identifiers, ")?,
        }
        match self.lengths {
            Lengths::Fixed(0) => write!(f, "no payload"),
            Lengths::Fixed(1) => write!(f, "1 byte, random payloads"),
            Lengths::Fixed(len) => write!(f, "{len} bytes, random payloads"),
            Lengths::Mixed => write!(f, "mixed lengths, random payloads"),
        }
    }
}
