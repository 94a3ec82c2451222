//! The paced bus as a wire: who may send next, and how long a frame takes. Pure; knows no socket and no clock.

use std::num::NonZeroU32;

use crate::frame::bit_time::{BitRates, FrameBits};
use crate::frame::{Identifier, Image, Kind};

/// How far behind its schedule the wire may be and still catch up. Busy machines keep a thread waiting for a few
/// hundred milliseconds (180 were seen with two processors and six busy threads). A hub that was not run for longer
/// than this, in a suspended machine for example, lets the time be lost.
const CATCH_UP_NS: u64 = 1_000_000_000;

/// A frame's place in arbitration (ISO 11898-1, 10.4.2 and 10.4.4 of 2015): the smaller wins.
///
/// The bits in the order in which they appear on the wire, dominant being 0:
///
/// ```text
///  bits of the result   33   32..22      21         20    19..2      1     0
///                      +----+---------+----------+------+-----------+-----+-----+
///                      | 1  | base id | RTR, SRR | IDE  | extension | RTR | FDF |
///                      +----+---------+----------+------+-----------+-----+-----+
/// ```
///
/// Standard frames have nothing in the extension's bits: IDE has decided before. An error flag is dominant all
/// along and wins over everything.
pub(super) fn arbitration(image: Image<'_>) -> u64 {
    let kind = image.kind();
    if kind == Kind::Error {
        return 0;
    }
    let remote = u64::from(kind == Kind::Remote);
    let fd = u64::from(kind == Kind::Fd);
    let field = match image.identifier() {
        Identifier::Standard(id) => u64::from(id.raw()) << 22 | remote << 21,
        Identifier::Extended(id) => {
            let base = u64::from(id.raw() >> 18);
            let extension = u64::from(id.raw() & 0x3_FFFF);
            base << 22 | 1 << 21 | 1 << 20 | extension << 2 | remote << 1
        }
    };
    1 << 33 | field | fd
}

/// Bits of an error flag (6), its delimiter (8) and the interframe space (3): what is seen of an error on a wire.
const ERROR_BITS: u64 = 17;

/// How long a frame occupies a wire of this bit rate, in nanoseconds, stuff bits and the three bits of interframe
/// space included. The wire has one bit rate: a bit rate switch has no effect.
pub(super) fn duration_ns(image: Image<'_>, bit_rate: NonZeroU32) -> u64 {
    match image.kind() {
        Kind::Error => ERROR_BITS * 1_000_000_000 / u64::from(bit_rate.get()),
        _ => FrameBits::of(image).duration_ns(BitRates::classic(bit_rate)),
    }
}

/// When frames start and end. Times are absolute, so that late wake-ups do not add up.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    free_at_ns: u64,
    busy: bool,
}

impl Schedule {
    /// Puts a frame on the wire at `now_ns`, or, if frames follow each other without a pause, at the end of the one
    /// before. Gives the time at which it ends.
    pub(super) fn begin(&mut self, now_ns: u64, duration_ns: u64) -> u64 {
        let follows = self.busy && now_ns.saturating_sub(self.free_at_ns) <= CATCH_UP_NS;
        let start_ns = if follows { self.free_at_ns } else { now_ns };
        self.busy = true;
        self.free_at_ns = start_ns + duration_ns;
        self.free_at_ns
    }

    /// Nobody had a frame when the wire became free.
    pub(super) fn rest(&mut self) {
        self.busy = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    fn standard(raw: u32) -> Identifier {
        Identifier::standard(raw).unwrap()
    }

    fn extended(raw: u32) -> Identifier {
        Identifier::extended(raw).unwrap()
    }

    #[test]
    fn arbitration_is_the_standards() {
        // From the winner to the last.
        let order = [
            Frame::error(0x40, [0; 8]),
            Frame::data(standard(0), &[]).unwrap(),
            Frame::data(standard(0x122), &[]).unwrap(),
            Frame::data(standard(0x123), &[]).unwrap(),
            Frame::fd(standard(0x123), &[], 0).unwrap(),
            Frame::remote(standard(0x123), 0).unwrap(),
            // Base identifier 0x123, extension 0: SRR and IDE are recessive.
            Frame::data(extended(0x123 << 18), &[]).unwrap(),
            Frame::remote(extended(0x123 << 18), 0).unwrap(),
            Frame::data(extended(0x123 << 18 | 1), &[]).unwrap(),
            Frame::data(extended(0x123 << 18 | 0x3_FFFF), &[]).unwrap(),
            Frame::data(standard(0x124), &[]).unwrap(),
            Frame::data(standard(0x7FF), &[]).unwrap(),
            Frame::remote(standard(0x7FF), 8).unwrap(),
            Frame::data(extended(0x1FFF_FFFF), &[]).unwrap(),
            Frame::remote(extended(0x1FFF_FFFF), 8).unwrap(),
        ];
        for pair in order.windows(2) {
            let (first, second) = (pair[0].image(), pair[1].image());
            assert!(arbitration(first) < arbitration(second), "{first:?} before {second:?}");
        }
    }

    #[test]
    fn durations_are_those_of_the_wire() {
        let at_500k = |frame: Frame| duration_ns(frame.image(), NonZeroU32::new(500_000).unwrap());
        // 47 bits, of which the first 34 are dominant: a stuff bit after every five.
        assert_eq!(at_500k(Frame::data(standard(0), &[]).unwrap()), 53 * 2_000);
        let unstuffed = Frame::data(standard(0x555), &[0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0x11]);
        assert_eq!(at_500k(unstuffed.unwrap()), 111 * 2_000);
        assert_eq!(at_500k(Frame::error(0x40, [0; 8])), 17 * 2_000);
    }

    #[test]
    fn late_wake_ups_do_not_add_up() {
        let mut schedule = Schedule::default();
        let mut now = 5_000;
        for _ in 0..1000 {
            now = schedule.begin(now, 222_000) + 70_000;
        }
        assert_eq!(now, 5_000 + 1000 * 222_000 + 70_000);
    }

    #[test]
    fn a_pause_starts_the_schedule_anew() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.begin(1_000, 100), 1_100);
        schedule.rest();
        assert_eq!(schedule.begin(9_000, 100), 9_100);
        // Not run by the host for more than a second.
        assert_eq!(schedule.begin(1_000_009_101, 100), 1_000_009_201);
    }
}
