//! How long a frame occupies the bus: its bits with stuffing, and their time at a bit rate.
//!
//! Classic frames are exact (ISO 11898-1): the bits from start of frame to the end of the CRC, which is computed, the
//! stuff bits among them, and the fixed rest. The three bits of interframe space are counted in, so that the times of
//! a fully loaded bus add up.
//!
//! ```text
//! standard  SOF 1 | id 11        RTR IDE r0 3               | DLC 4 | data | CRC 15 |
//! extended  SOF 1 | id 11 SRR IDE id 18 RTR r1 r0           | DLC 4 | data | CRC 15 |
//!           '------------------------------ stuffed -------------------------------'
//!           CRC delimiter 1 | ACK slot and delimiter 2 | EOF 7 | interframe space 3
//! ```
//!
//! FD frames (ISO CRC) are exact in bits. Their time is a model in one point: the rate is taken to change behind the
//! BRS bit and behind the CRC delimiter, while controllers change within these two bits, at their sample points. The
//! two errors cancel out if both rates sample at the same point, and else stay below one bit.
//!
//! ```text
//! standard  SOF 1 | id 11 RRS IDE FDF res BRS               | ESI DLC 4 | data | CRC field | CRC delimiter 1 |
//! extended  SOF 1 | id 11 SRR IDE id 18 RRS FDF res BRS     | ESI DLC 4 | data | CRC field | CRC delimiter 1 |
//!           '----------- nominal bit rate ---------------'    '------- data bit rate, if BRS is set --------'
//!           '------------- stuffed as the bits demand -----------------------'
//!           ACK slot and delimiter 2 | EOF 7 | interframe space 3: nominal bit rate
//! ```
//!
//! The FD CRC field is the stuff count (4 bits), the CRC (17 bits up to 16 bytes of payload, 21 above), and fixed stuff
//! bits: one in front and one behind each four bits, 6 or 7. The one in front takes the place of a stuff bit that the
//! last bits of the data would demand.
//!
//! Error frames as sockets give them are a controller's report, not a sequence of bits on the bus, and may stand for an
//! event that sent none (bus off, restarted): they count as no bits.

use std::num::NonZeroU32;

use super::identifier::Identifier;
use super::image::{FD_BIT_RATE_SWITCH, FD_ERROR_STATE, Image, Kind};

/// CRC delimiter, ACK slot, ACK delimiter, end of frame.
const CLASSIC_TRAILER_BITS: u32 = 1 + 1 + 1 + 7;
/// ACK slot, ACK delimiter, end of frame.
const FD_TRAILER_BITS: u32 = 1 + 1 + 7;
/// Bits between frames before the next may start.
const INTERFRAME_BITS: u32 = 3;
const FD_CRC_DELIMITER_BITS: u32 = 1;
/// Stuff count, CRC-17 and fixed stuff bits, for payloads up to 16 bytes.
const FD_SHORT_CRC_FIELD_BITS: u32 = 4 + 17 + 6;
/// Stuff count, CRC-21 and fixed stuff bits, for longer payloads.
const FD_LONG_CRC_FIELD_BITS: u32 = 4 + 21 + 7;
const FD_SHORT_CRC_BYTES_MAX: usize = 16;

/// Equal bits in a row after which a stuff bit follows.
const STUFF_RUN: u32 = 5;
/// x^15 + x^14 + x^10 + x^8 + x^7 + x^4 + x^3 + 1, without its highest power.
const CRC15_POLYNOMIAL: u16 = 0x4599;

/// The CRC of a byte, as the register holds it after eight bits from zero.
const CRC15_OF_BYTE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut shift = 8;
        while shift > 0 {
            shift -= 1;
            table[byte] = crc15_with_bit(table[byte], (byte >> shift) as u16 & 1);
        }
        byte += 1;
    }
    table
};

/// Bit rates of a bus, in bits per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BitRates {
    /// Arbitration, and everything of frames without a bit rate switch.
    pub nominal: NonZeroU32,
    /// The data phase of FD frames with [`FD_BIT_RATE_SWITCH`].
    pub data: NonZeroU32,
}

impl BitRates {
    /// One rate for everything.
    pub const fn classic(nominal: NonZeroU32) -> Self {
        Self { nominal, data: nominal }
    }
}

/// The bits of one frame on the bus, stuff bits and interframe space included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameBits {
    /// Bits at the nominal rate.
    pub nominal: u32,
    /// Bits at the data rate; 0 without a bit rate switch.
    pub data: u32,
}

impl FrameBits {
    /// The bits of a frame; none for error frames.
    pub fn of(image: Image<'_>) -> Self {
        match image.kind() {
            Kind::Data | Kind::Remote => Self { nominal: classic_bits(image), data: 0 },
            Kind::Fd => fd_bits(image),
            Kind::Error => Self { nominal: 0, data: 0 },
        }
    }

    /// Bits at either rate.
    pub fn total(self) -> u32 {
        self.nominal + self.data
    }

    /// The time these bits take, in nanoseconds, rounded up.
    pub fn duration_ns(self, rates: BitRates) -> u64 {
        let (nominal_rate, data_rate) = (u128::from(rates.nominal.get()), u128::from(rates.data.get()));
        let scaled = u128::from(self.nominal) * data_rate + u128::from(self.data) * nominal_rate;
        // At most 2^11 bits at 1 bit/s: 2^41 nanoseconds.
        (scaled * 1_000_000_000).div_ceil(nominal_rate * data_rate) as u64
    }
}

fn classic_bits(image: Image<'_>) -> u32 {
    let mut bits = Bits::<true>::start_of_frame();
    let remote = u64::from(image.kind() == Kind::Remote);
    match image.identifier() {
        // RTR, IDE dominant, r0 dominant.
        Identifier::Standard(id) => bits.push(u64::from(id.raw()) << 3 | remote << 2, 11 + 3),
        // RTR, r1 and r0 dominant behind the lower part of the identifier.
        Identifier::Extended(id) => bits.push(extended_field(id.raw()) << 3 | remote << 2, 31 + 3),
    }
    bits.push(u64::from(image.dlc()), 4);
    bits.push_bytes(image.payload());
    let crc = bits.crc15;
    bits.push(u64::from(crc), 15);
    bits.len + bits.stuffed + CLASSIC_TRAILER_BITS + INTERFRAME_BITS
}

fn fd_bits(image: Image<'_>) -> FrameBits {
    let flags = image.fd_flags();
    let [switch, error_state] = [FD_BIT_RATE_SWITCH, FD_ERROR_STATE].map(|flag| u64::from(flags & flag != 0));
    let mut bits = Bits::<false>::start_of_frame();
    match image.identifier() {
        // RRS and IDE dominant, FDF recessive, res dominant, BRS.
        Identifier::Standard(id) => bits.push(u64::from(id.raw()) << 5 | 0b00100 | switch, 11 + 5),
        // RRS dominant, FDF recessive, res dominant, BRS.
        Identifier::Extended(id) => bits.push(extended_field(id.raw()) << 4 | 0b0100 | switch, 31 + 4),
    }
    let arbitration = bits.len + bits.stuffed;
    bits.push(error_state << 4 | u64::from(image.dlc()), 1 + 4);
    bits.push_bytes(image.payload());
    let replaced = u32::from(bits.ends_stuffed());
    let crc_field =
        if image.len() <= FD_SHORT_CRC_BYTES_MAX { FD_SHORT_CRC_FIELD_BITS } else { FD_LONG_CRC_FIELD_BITS };
    let data = bits.len + bits.stuffed - replaced - arbitration + crc_field + FD_CRC_DELIMITER_BITS;
    let nominal = arbitration + FD_TRAILER_BITS + INTERFRAME_BITS;
    if switch == 1 { FrameBits { nominal, data } } else { FrameBits { nominal: nominal + data, data: 0 } }
}

/// The upper 11 bits, SRR and IDE recessive, the lower 18 bits.
fn extended_field(raw: u32) -> u64 {
    u64::from(raw >> 18) << 20 | 0b11 << 18 | u64::from(raw & 0x3_FFFF)
}

const fn crc15_with_bit(crc: u16, bit: u16) -> u16 {
    let feedback = bit ^ (crc >> 14);
    ((crc << 1) & 0x7FFF) ^ (feedback * CRC15_POLYNOMIAL)
}

/// What up to eight bits do to what is stuffed: the state after them, the stuff bits among them, and whether one of these
/// follows the last. By state, and by the bits with a one in front, which tells how many they are.
static STUFFING: [[u8; 512]; STATES] = {
    let mut table = [[0; 512]; STATES];
    let mut state = 0;
    while state < STATES {
        table[state][1] = state as u8;
        let mut bits = 2;
        while bits < 512 {
            table[state][bits] = stuffed_with_bit(table[state][bits >> 1], bits & 1 == 1);
            bits += 1;
        }
        state += 1;
    }
    table
};

/// The level on the bus, and how many bits like it came in a row, 1 to 4: the fifth is followed by another.
const STATES: usize = 2 * (STUFF_RUN as usize - 1);
const STATE_MASK: u8 = 0b111;
const RUN_MASK: u8 = 0b011;
const RECESSIVE: u8 = 0b100;
/// Stuff bits are counted from this bit on: two in eight bits at the most.
const STUFFED_SHIFT: u32 = 3;
const ENDS_STUFFED: u8 = 0b10_0000;

const fn stuffed_with_bit(before: u8, recessive: bool) -> u8 {
    let (state, count) = (before & STATE_MASK, before & !STATE_MASK & !ENDS_STUFFED);
    let level = if recessive { RECESSIVE } else { 0 };
    if state & RECESSIVE != level {
        level | count
    } else if (state & RUN_MASK) + 2 < STUFF_RUN as u8 {
        (state + 1) | count
    } else {
        // A stuff bit is the opposite of the five before it, and the first of its own run.
        (level ^ RECESSIVE) | (count + (1 << STUFFED_SHIFT)) | ENDS_STUFFED
    }
}

/// A sequence of bits as it goes on the bus: counted, its stuff bits counted, its CRC-15 computed if it has one.
struct Bits<const HAS_CRC15: bool> {
    len: u32,
    stuffed: u32,
    crc15: u16,
    /// As an entry of [`STUFFING`].
    stuffing: u8,
}

impl<const HAS_CRC15: bool> Bits<HAS_CRC15> {
    /// The dominant bit after an idle bus, which does not change the CRC.
    fn start_of_frame() -> Self {
        Self { len: 1, stuffed: 0, crc15: 0, stuffing: 0 }
    }

    /// Appends the lower `count` bits of `value`, the highest first, eight at a time.
    #[inline]
    fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 8 {
            left -= 8;
            self.push_chunk((value >> left) as u8, 8);
        }
        let last = value as u8 & (u8::MAX >> (8 - left));
        self.push_chunk(last, left);
    }

    #[inline]
    fn push_bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.push_chunk(byte, 8));
    }

    /// Appends 1 to 8 bits; those above are zeros.
    #[inline]
    fn push_chunk(&mut self, bits: u8, count: u32) {
        let state = usize::from(self.stuffing & STATE_MASK);
        self.stuffing = STUFFING[state][1 << count | usize::from(bits)];
        self.stuffed += u32::from((self.stuffing & !ENDS_STUFFED) >> STUFFED_SHIFT);
        self.len += count;
        if HAS_CRC15 {
            // Zeros in front leave a register of zeros as it is: the table serves fewer bits than eight, too.
            let byte = (self.crc15 >> (15 - count)) as u8 ^ bits;
            self.crc15 = (self.crc15 << count & 0x7FFF) ^ CRC15_OF_BYTE[usize::from(byte)];
        }
    }

    /// Whether a stuff bit follows the last bit.
    fn ends_stuffed(&self) -> bool {
        self.stuffing & ENDS_STUFFED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, notation::parse_compact};

    fn bits(text: &str) -> u32 {
        FrameBits::of(parse_compact(text).unwrap().image()).nominal
    }

    fn rates(nominal: u32, data: u32) -> BitRates {
        BitRates { nominal: NonZeroU32::new(nominal).unwrap(), data: NonZeroU32::new(data).unwrap() }
    }

    // All 34 bits from SOF to CRC are 0 (the CRC of zeros is 0). A stuff bit follows each 5 of them: 6.
    // 34 + 6 + 10 + 3.
    #[test]
    fn identifier_zero_without_data_by_hand() {
        assert_eq!(bits("000#"), 53);
    }

    // The message has ones at x^8 (DLC 1) and x^0, so the CRC is x^23 + x^15 modulo the polynomial:
    // x^15 = 4599, x^16 = 4EAB, x^17 = 58CF, x^18 = 7407, x^19 = 2D97, x^20 = 5B2E, x^21 = 73C5, x^22 = 2213,
    // x^23 = 4426; 4426 + 4599 = 01BF. SOF to CRC, | where a stuff bit goes:
    //   00000|00000|00000|000 1 00000|00 1 00000|0 11 0 11111|1
    // 42 + 6 + 10 + 3.
    #[test]
    fn one_byte_by_hand() {
        assert_eq!(bits("000#01"), 61);
        let mut sequence = Bits::<true>::start_of_frame();
        sequence.push(0, 14);
        sequence.push(1, 4);
        sequence.push(1, 8);
        assert_eq!(sequence.crc15, 0x01BF);
    }

    // Ones at x^26 (SRR), x^25 (IDE) and x^6 (RTR): CRC = x^41 + x^40 + x^21 = 7BE0 + 3DF0 + 73C5 = 35D5.
    //   00000|00000|00 11 00000|00000|00000|000 1 00000|00 11010111010101
    // 54 + 6 + 10 + 3.
    #[test]
    fn extended_remote_frame_by_hand() {
        assert_eq!(bits("00000000#R"), 73);
    }

    // The CRC's last bits can complete a run: the stuff bit then stands before the CRC delimiter.
    #[test]
    fn a_run_at_the_very_end_is_stuffed() {
        let mut sequence = Bits::<true>::start_of_frame();
        sequence.push(0b1_0000, 5);
        assert_eq!(sequence.stuffed, 0);
        sequence.push(0, 1);
        assert!(sequence.ends_stuffed());
        assert_eq!(sequence.stuffed, 1);
        // The stuff bit counts for the next run.
        sequence.push(0b1111, 4);
        assert_eq!(sequence.stuffed, 2);
    }

    #[test]
    fn standard_frames_without_data_stay_within_the_table() {
        let all: Vec<u32> = (0..0x800).map(|raw| bits(&format!("{raw:03X}#"))).collect();
        // 47 bits, and always one stuff bit: RTR, IDE, r0 and the DLC are seven dominant bits in a row.
        assert_eq!(all.iter().min(), Some(&48));
        assert!(all.iter().all(|&bits| bits <= 55));
        let mean = f64::from(all.iter().sum::<u32>()) / 2048.0;
        assert!((mean - 49.0).abs() < 0.1, "{mean}");
    }

    fn random_frames(extended: bool, count: u32) -> Vec<u32> {
        let mut random = fastrand::Rng::with_seed(1);
        let mut frame = || {
            let identifier = if extended {
                Identifier::extended(random.u32(0..0x2000_0000))
            } else {
                Identifier::standard(random.u32(0..0x800))
            };
            let frame = Frame::data(identifier.unwrap(), &random.u64(..).to_le_bytes()).unwrap();
            FrameBits::of(frame.image()).nominal
        };
        (0..count).map(|_| frame()).collect()
    }

    #[test]
    fn random_payloads_have_the_means_of_the_table() {
        for (extended, none, mean_bits, worst) in [(false, 111, 114.3, 135), (true, 131, 135.1, 160)] {
            let all = random_frames(extended, 20_000);
            assert!(all.iter().all(|bits| (none..=worst).contains(bits)));
            assert!(all.contains(&none));
            let mean = all.iter().map(|&bits| f64::from(bits)).sum::<f64>() / 20_000.0;
            assert!((mean - mean_bits).abs() < 0.4, "{mean}");
        }
    }

    #[test]
    fn durations_are_rounded_up() {
        let of = |nominal, data| FrameBits { nominal, data };
        assert_eq!(of(47, 0).duration_ns(rates(500_000, 500_000)), 94_000);
        assert_eq!(of(135, 0).duration_ns(rates(500_000, 2_000_000)), 270_000);
        assert_eq!(of(1, 0).duration_ns(rates(3, 3)), 333_333_334);
        assert_eq!(of(1, 1).duration_ns(rates(3, 6)), 500_000_000);
        assert_eq!(of(0, 0).duration_ns(rates(500_000, 500_000)), 0);
        assert_eq!(of(700, 0).duration_ns(rates(1, 1)), 700_000_000_000);
    }

    // Bits of an FD frame whose data alternates, so that nothing is stuffed there:
    // SOF 1, id 555 11, RRS IDE FDF res BRS 5, ESI DLC 5, data 8n, field 27 or 32, delimiter 1, trailer 9, space 3.
    #[test]
    fn fd_fields_add_up() {
        let frame = |len: usize, flags| {
            let frame = Frame::fd(Identifier::standard(0x555).unwrap(), &vec![0x55; len], flags).unwrap();
            FrameBits::of(frame.image())
        };
        assert_eq!(frame(2, FD_BIT_RATE_SWITCH), FrameBits { nominal: 29, data: 5 + 16 + 27 + 1 });
        assert_eq!(frame(2, FD_ERROR_STATE), FrameBits { nominal: 29 + 49, data: 0 });
        // res, BRS, ESI and the first two bits of the DLC are dominant: one stuff bit.
        assert_eq!(frame(2, 0), FrameBits { nominal: 29 + 49 + 1, data: 0 });
        assert_eq!(frame(16, FD_BIT_RATE_SWITCH), FrameBits { nominal: 29, data: 5 + 128 + 27 + 1 });
        assert_eq!(frame(20, FD_BIT_RATE_SWITCH), FrameBits { nominal: 29, data: 5 + 160 + 32 + 1 });
        let extended = Frame::fd(Identifier::extended(0x1555_5555).unwrap(), &[0x55; 2], 1).unwrap();
        assert_eq!(FrameBits::of(extended.image()), FrameBits { nominal: 48, data: 49 });
    }

    // 1 0 1 0 1 0... ends in 11111: the fixed stuff bit stands where the sixth would be; before, it is an own one.
    #[test]
    fn the_first_fixed_stuff_bit_replaces_a_dynamic_one() {
        let frame = |payload: [u8; 2]| {
            let frame = Frame::fd(Identifier::standard(0x555).unwrap(), &payload, 1).unwrap();
            FrameBits::of(frame.image()).data
        };
        assert_eq!(frame([0x55, 0x5F]), 49);
        assert_eq!(frame([0x55, 0x7D]), 50);
    }

    #[test]
    fn a_long_fd_frame_takes_about_342_microseconds() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut total = 0;
        for _ in 0..1000 {
            let mut payload = [0; 64];
            random.fill(&mut payload);
            let identifier = Identifier::standard(random.u32(0..0x800)).unwrap();
            let frame = Frame::fd(identifier, &payload, FD_BIT_RATE_SWITCH).unwrap();
            total += FrameBits::of(frame.image()).duration_ns(rates(500_000, 2_000_000));
        }
        let mean_us = total / 1000 / 1000;
        assert!((340..=344).contains(&mean_us), "{mean_us}");
    }

    #[test]
    fn error_frames_take_no_time() {
        assert_eq!(FrameBits::of(Frame::error(4, [0; 8]).image()).total(), 0);
    }

    proptest::proptest! {
        // Against the rule as the standard words it, one bit at a time.
        #[test]
        fn runs_are_counted_as_single_bits_would_be(words in proptest::collection::vec((0u64.., 1u32..=64), 1..6)) {
            let mut sequence = Bits::<true>::start_of_frame();
            let mut sent = vec![0u64];
            let mut stuffed = 0;
            for &(word, count) in &words {
                sequence.push(word, count);
                for shift in (0..count).rev() {
                    sent.push(word >> shift & 1);
                    let tail = &sent[sent.len().saturating_sub(5)..];
                    if tail.len() == 5 && tail.iter().all(|bit| bit == &tail[0]) {
                        sent.push(1 - tail[0]);
                        stuffed += 1;
                    }
                }
            }
            proptest::prop_assert_eq!(sequence.stuffed, stuffed);
            proptest::prop_assert_eq!(sequence.len as usize + stuffed as usize, sent.len());
        }
    }
}
