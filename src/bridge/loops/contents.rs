//! What was lately put on a bus, by content: identifier, length and payload, as small numbers.

use crate::frame::{CLASSIC_BYTES, Image, REMOTE_FLAG};
use crate::moment::Moment;

/// Contents that are remembered; a new one takes the place of an older. As many as a saturated bus of 1 Mbit/s carries in a
/// second; 64 KiB, which go back to the kernel with the link (`engine/memory.rs`).
const SLOTS: usize = 8192;

/// The content of a frame as a number. Two different contents have the same one with a chance of one in four billion.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fingerprint(u32);

impl Fingerprint {
    /// The number of a frame's content. What a path may change on the way is left out: the flags of FD frames, and what
    /// lies behind the payload.
    #[inline(always)]
    pub fn of(image: Image<'_>) -> Self {
        let start = mix(ODD, u64::from(image.id_word()) << 8 | image.len() as u64);
        let last = if image.as_bytes().len() == CLASSIC_BYTES {
            let carried = if image.id_word() & REMOTE_FLAG == 0 { image.len() as u32 } else { 0 };
            let unused = u64::MAX.checked_shl(8 * carried).unwrap_or(0);
            mix(start, u64::from_le_bytes(image.classic_payload()) & !unused)
        } else {
            mix_all(start, image.payload())
        };
        Self((last >> 16) as u32)
    }

    #[inline]
    fn place(self) -> usize {
        self.0 as usize % SLOTS
    }
}

const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn mix(sum: u64, word: u64) -> u64 {
    let product = (sum ^ word).wrapping_mul(ODD);
    product ^ (product >> 32)
}

#[inline(never)]
fn mix_all(start: u64, payload: &[u8]) -> u64 {
    let (words, rest) = payload.as_chunks::<8>();
    let sum = words.iter().fold(start, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    mix(sum, rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

/// A content, and when it was last put on the bus: the content's number in the upper half, below it the microseconds, counted
/// around, without their last two bits, which are flags. As one number, so that memory is taken from the system as it is
/// touched.
#[derive(Clone, Copy, Debug)]
struct Slot(u64);

/// It was put on the bus.
const WRITTEN: u32 = 1;
/// It has ever come not long after it was put on the bus.
const REPEATED: u32 = 2;

impl Slot {
    #[inline]
    fn new(content: Fingerprint, written_at_us: u32, was_repeated: bool) -> Self {
        let flags = WRITTEN | if was_repeated { REPEATED } else { 0 };
        Self(u64::from(content.0) << 32 | u64::from(written_at_us & !(WRITTEN | REPEATED) | flags))
    }

    #[inline]
    fn holds(self, content: Fingerprint) -> bool {
        (self.0 >> 32) as u32 == content.0 && self.0 as u32 & WRITTEN != 0
    }

    #[inline]
    fn age_us(self, now_us: u32) -> u32 {
        now_us.wrapping_sub(self.0 as u32 & !(WRITTEN | REPEATED))
    }

    #[inline]
    fn was_repeated(self) -> bool {
        self.0 as u32 & REPEATED != 0
    }
}

/// Contents, and when each was last put on the bus.
#[derive(Debug)]
pub struct Contents {
    /// None before the first frame: most strangers have none.
    slots: Vec<u64>,
}

impl Contents {
    /// Nothing was put on the bus.
    pub fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// A frame has come: how many microseconds ago one of the same content was put on the bus, if that was within the
    /// horizon.
    #[inline]
    pub fn note(&mut self, content: Fingerprint, horizon_us: u32, now: Moment) -> Option<u32> {
        let slot = self.slot(content);
        let age_us = slot.age_us(micros(now));
        let is_repeated = slot.holds(content) && age_us <= horizon_us;
        is_repeated.then(|| {
            self.slots[content.place()] |= u64::from(REPEATED);
            age_us
        })
    }

    /// A frame was put on the bus.
    #[inline]
    pub fn wrote(&mut self, content: Fingerprint, now: Moment) {
        if self.slots.is_empty() {
            self.allocate();
        }
        let was_repeated = self.was_repeated(content);
        self.slots[content.place()] = Slot::new(content, micros(now), was_repeated).0;
    }

    #[cold]
    #[inline(never)]
    fn allocate(&mut self) {
        self.slots = vec![0; SLOTS];
    }

    /// Whether the content has been repeated, as far as is remembered: it may go round.
    #[inline]
    pub fn was_repeated(&self, content: Fingerprint) -> bool {
        let slot = self.slot(content);
        slot.holds(content) && slot.was_repeated()
    }

    #[inline]
    fn slot(&self, content: Fingerprint) -> Slot {
        Slot(self.slots.get(content.place()).copied().unwrap_or(0))
    }
}

#[inline]
fn micros(now: Moment) -> u32 {
    (now.as_nanos() / 1_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::notation::parse_compact;

    fn of(text: &str) -> Fingerprint {
        Fingerprint::of(parse_compact(text).unwrap().image())
    }

    #[test]
    fn contents_differ_by_identifier_length_payload_and_kind() {
        let texts = [
            "123#",
            "124#",
            "00000123#",
            "123#00",
            "123#0000",
            "123#01",
            "123#0001",
            "123#R",
            "123#R8",
            "123#1122334455667788",
            "123#1122334455667789",
            "123##0",
            "123##0112233445566778899AABBCC",
            "123##0112233445566778899AABBCD",
        ];
        for (number, one) in texts.iter().enumerate() {
            for other in &texts[number + 1..] {
                let same_but_for_the_kind = *one == "123#" && *other == "123##0";
                assert_eq!(of(one) == of(other), same_but_for_the_kind, "{one} {other}");
            }
        }
        assert_eq!(of("123##0AA"), of("123##3AA"), "flags may change on the way");
    }

    #[test]
    fn what_comes_within_the_horizon_of_what_was_written_is_repeated() {
        const HORIZON: u32 = 50_000;
        let mut contents = Contents::new();
        let at = |us: u64| Moment::from_nanos(us * 1_000);
        let (one, other) = (of("123#11"), of("123#22"));
        assert_eq!(contents.note(one, HORIZON, at(0)), None);
        contents.wrote(one, at(12));
        assert_eq!(contents.note(one, HORIZON, at(50_012)), Some(50_000));
        assert_eq!(contents.note(other, HORIZON, at(50_012)), None);
        assert!(contents.was_repeated(one) && !contents.was_repeated(other));
        // What was held for an experiment is still known when it comes back.
        assert_eq!(contents.note(one, HORIZON, at(50_013)), None);
        assert!(contents.was_repeated(one));
        // The clock of the slots goes around after 71 minutes.
        let wrap = 1 << 32;
        contents.wrote(other, at(wrap - 8));
        assert_eq!(contents.note(other, HORIZON, at(wrap + 4)), Some(12));
    }
}
