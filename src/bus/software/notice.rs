//! Notices: what a software bus tells a member besides frames. Pure; knows no socket.
//!
//! ```text
//!  0      1                        8
//! +------+--------------------------+
//! | kind | value, little-endian     |
//! +------+--------------------------+
//! ```
//!
//! Eight bytes, so that a packet's size tells a notice from an image (16 or 72 bytes) and from a batch of them
//! ([`crate::bus::Batch`], 40 bytes and more, whose first byte no notice has).

use crate::bus::BATCH_BYTES;

/// Bytes of a notice.
pub const NOTICE_BYTES: usize = 8;

/// The largest value that a notice carries, 56 bits: at a million lost frames a second it lasts 2,283 years.
const VALUE_MAX: u64 = (1 << 56) - 1;

/// Where a welcome has the size of the bus's largest packet, above the bit rate.
const PACKET_BYTES_SHIFT: u32 = 32;

const WELCOME: u8 = 1;
const DROPPED: u8 = 2;
const FULL: u8 = 3;

/// Something that the hub tells one member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The first packet of every membership: the bit rate by which the bus is paced, `None` if it is not. It also says
    /// how large the bus's packets get: where that is not what this program has, its notices are none of ours.
    Welcome {
        /// Bits per second.
        paced_bit_rate: Option<u32>,
    },
    /// Frames that this member did not get since it joined because it read too slowly. The gap is where the
    /// notice lies between the frames.
    Dropped {
        /// All frames lost so far, not only those of this gap.
        total: u64,
    },
    /// Sent instead of the welcome: the bus has as many members as it takes.
    Full {
        /// That many.
        members: u32,
    },
}

impl Notice {
    /// The notice as a packet.
    pub fn encode(self) -> [u8; NOTICE_BYTES] {
        let (kind, value) = match self {
            Self::Welcome { paced_bit_rate } => {
                let packet_bytes = (BATCH_BYTES as u64) << PACKET_BYTES_SHIFT;
                (WELCOME, packet_bytes | u64::from(paced_bit_rate.unwrap_or(0)))
            }
            Self::Dropped { total } => (DROPPED, total.min(VALUE_MAX)),
            Self::Full { members } => (FULL, u64::from(members)),
        };
        (value << 8 | u64::from(kind)).to_le_bytes()
    }

    /// Reads a packet; `None` for another size, an unknown kind, or a value that its kind cannot have.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let word = u64::from_le_bytes(packet.try_into().ok()?);
        let value = word >> 8;
        match word as u8 {
            WELCOME => {
                let bit_rate = value as u32;
                (value >> PACKET_BYTES_SHIFT == BATCH_BYTES as u64)
                    .then_some(Self::Welcome { paced_bit_rate: (bit_rate != 0).then_some(bit_rate) })
            }
            DROPPED => Some(Self::Dropped { total: value }),
            FULL => Some(Self::Full { members: u32::try_from(value).ok()? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_these_bytes() {
        let golden = [
            // 1,016 bytes are 0x03F8, 500,000 is 0x07A120.
            (Notice::Welcome { paced_bit_rate: None }, [1, 0, 0, 0, 0, 0xF8, 0x03, 0]),
            (Notice::Welcome { paced_bit_rate: Some(500_000) }, [1, 0x20, 0xA1, 0x07, 0, 0xF8, 0x03, 0]),
            (Notice::Dropped { total: 1 }, [2, 1, 0, 0, 0, 0, 0, 0]),
            (Notice::Dropped { total: 0x11_2233_4455_6677 }, [2, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]),
            (Notice::Full { members: 512 }, [3, 0, 2, 0, 0, 0, 0, 0]),
        ];
        for (notice, bytes) in golden {
            assert_eq!(notice.encode(), bytes);
            assert_eq!(Notice::parse(&bytes), Some(notice));
        }
    }

    #[test]
    fn a_count_too_large_stays_at_the_largest() {
        assert_eq!(Notice::Dropped { total: u64::MAX }.encode(), [2, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn other_packets_are_no_notices() {
        assert_eq!(Notice::parse(&[]), None);
        assert_eq!(Notice::parse(&[1; 7]), None);
        assert_eq!(Notice::parse(&[1; 16]), None);
        assert_eq!(Notice::parse(&[0; 8]), None);
        assert_eq!(Notice::parse(&[4, 0, 0, 0, 0, 0, 0, 0]), None);
        // A welcome to packets of another size, or of one image.
        assert_eq!(Notice::parse(&[1, 0, 0, 0, 0, 0xF8, 0x07, 0]), None);
        assert_eq!(Notice::parse(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
