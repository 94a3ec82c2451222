//! What a frame carries of itself: its number and when it was due, in 8 bytes that look random.
//!
//! ```text
//!  0          4          8
//! +----------+----------+
//! | number   | due, µs  |   little-endian, mixed with the key: every bit of a stamp turns about half of the bytes' bits
//! +----------+----------+
//! ```
//!
//! Mixing keeps the stuff bits those of random data, where plain counters would have long runs of zeros. The key keeps
//! directions and runs apart: read with another key, a stamp is a random number.

use super::mixing::{mix, unmix};

/// What a stamped frame says of itself. Both numbers wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The frame's position in its schedule, modulo 2^32.
    pub number: u32,
    /// When it was due, microseconds from the schedule's start, modulo 2^32; 0 where frames go as fast as they are taken.
    pub due_us: u32,
}

/// What stamps of one direction of one run are mixed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StampKey(u64);

impl StampKey {
    /// Bytes of a stamp: the shortest payload that carries one.
    pub const BYTES: usize = 8;

    /// The key of one direction of a run.
    pub fn new(seed: u64, direction: u8) -> Self {
        Self(mix(mix(seed) ^ u64::from(direction)))
    }

    /// The stamp as it stands in a payload.
    pub fn write(self, stamp: Stamp) -> [u8; Self::BYTES] {
        let plain = u64::from(stamp.due_us) << 32 | u64::from(stamp.number);
        (mix(plain ^ self.0) ^ self.0.rotate_left(32)).to_le_bytes()
    }

    /// The stamp that [`StampKey::write`] makes these bytes of. There is one for any bytes: whether it was written is for
    /// the reader to judge.
    pub fn read(self, bytes: [u8; Self::BYTES]) -> Stamp {
        let plain = unmix(u64::from_le_bytes(bytes) ^ self.0.rotate_left(32)) ^ self.0;
        Stamp { number: plain as u32, due_us: (plain >> 32) as u32 }
    }

    /// A random number for a frame, the same each time. `purpose` tells several apart.
    pub(super) fn draw(self, number: u64, purpose: u64) -> u64 {
        mix(mix(self.0 ^ number) ^ purpose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back() {
        let key = StampKey::new(1, 0);
        for number in (0..1000).chain([u32::MAX, 1 << 31]) {
            for due_us in [0, 1, number, u32::MAX - number] {
                let stamp = Stamp { number, due_us };
                assert_eq!(key.read(key.write(stamp)), stamp);
            }
        }
    }

    // The form is part of what a report can be made again from: it does not change between versions
    // unnoticed. Computed with Python from the definition.
    #[test]
    fn the_form_is_fixed() {
        let bytes = StampKey::new(1, 0).write(Stamp { number: 1, due_us: 228 });
        assert_eq!(bytes, [0xA5, 0xB0, 0x00, 0xA3, 0x7C, 0x8C, 0xC9, 0xBB]);
    }

    #[test]
    fn keys_differ_by_seed_and_direction() {
        let keys =
            [(1, 0), (1, 1), (2, 0), (2, 1), (0, 0)].map(|(seed, direction)| StampKey::new(seed, direction));
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key));
        }
    }

    #[test]
    fn with_another_key_a_number_is_a_random_one() {
        let [ours, other] = [0, 1].map(|direction| StampKey::new(1, direction));
        let taken = |number: &u32| {
            let stamp = ours.read(other.write(Stamp { number: *number, due_us: number * 228 }));
            stamp.number < 1_000_000
        };
        // A million of 2^32 numbers: about 2.3 in 10,000.
        assert!((0..10_000).filter(taken).count() < 20);
    }

    #[test]
    fn each_bit_turns_about_half() {
        let key = StampKey::new(7, 1);
        let plain = Stamp { number: 12, due_us: 3456 };
        let bits = |stamp| u64::from_le_bytes(key.write(stamp));
        for shift in 0..32 {
            for other in [
                Stamp { number: plain.number ^ 1 << shift, ..plain },
                Stamp { due_us: plain.due_us ^ 1 << shift, ..plain },
            ] {
                let turned = (bits(plain) ^ bits(other)).count_ones();
                assert!((12..=52).contains(&turned), "{turned}");
            }
        }
    }
}
