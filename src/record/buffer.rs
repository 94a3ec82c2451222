//! Two halves of text: one is filled while the other is written. Knows no file and no frame.

use std::mem;

/// Bytes of one half. 1 MiB is 20,000 classic lines: four seconds of a full 500 kbit/s bus, which rides out the
/// pauses of an SD card, and few enough bytes to be given back to the caller when a disk stays full.
pub(super) const HALF_BYTES: usize = 1 << 20;

/// There are two: with one, lines would have nowhere to go while it is written; a third would only be more of the
/// same memory.
pub(super) const HALVES: usize = 2;

/// The two halves. One always fills; the other is spare (empty), full, or away (being written).
#[derive(Debug)]
pub(super) struct Halves {
    filling: Vec<u8>,
    other: Other,
}

#[derive(Debug)]
enum Other {
    Spare(Vec<u8>),
    Full(Vec<u8>),
    Away,
}

impl Halves {
    /// Allocates both.
    pub(super) fn new() -> Self {
        let half = || Vec::with_capacity(HALF_BYTES);
        Self { filling: half(), other: Other::Spare(half()) }
    }

    /// Where the next `bytes` bytes go, without growing it; `None` if neither half has room.
    pub(super) fn room(&mut self, bytes: usize) -> Option<&mut Vec<u8>> {
        if self.filling.len() + bytes > HALF_BYTES {
            if bytes > HALF_BYTES {
                return None;
            }
            self.other = match mem::replace(&mut self.other, Other::Away) {
                Other::Spare(spare) => Other::Full(mem::replace(&mut self.filling, spare)),
                occupied => {
                    self.other = occupied;
                    return None;
                }
            };
        }
        Some(&mut self.filling)
    }

    /// Whether a full half waits for its writer.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.other, Other::Full(_))
    }

    /// The oldest half to write: a full one, or with `aged` the one that is filling, if it holds anything.
    /// At most one half is away at a time.
    pub(super) fn take(&mut self, aged: bool) -> Option<Vec<u8>> {
        match mem::replace(&mut self.other, Other::Away) {
            Other::Full(full) => Some(full),
            Other::Spare(spare) if aged && !self.filling.is_empty() => {
                Some(mem::replace(&mut self.filling, spare))
            }
            unchanged => {
                self.other = unchanged;
                None
            }
        }
    }

    /// Takes a half back that was written, or given up.
    pub(super) fn give_back(&mut self, mut half: Vec<u8>) {
        assert!(matches!(self.other, Other::Away), "a half comes back once");
        half.clear();
        self.other = Other::Spare(half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(halves: &mut Halves, byte: u8, bytes: usize) -> bool {
        halves.room(bytes).map(|text| text.resize(text.len() + bytes, byte)).is_some()
    }

    #[test]
    fn nothing_is_taken_from_empty_halves() {
        let mut halves = Halves::new();
        assert_eq!(halves.take(false), None);
        assert_eq!(halves.take(true), None);
    }

    #[test]
    fn halves_alternate_in_order_and_refuse_when_both_are_full() {
        let mut halves = Halves::new();
        assert!(fill(&mut halves, b'a', 600_000));
        assert!(!halves.is_full());
        assert!(fill(&mut halves, b'b', 600_000), "the second half takes what the first has no room for");
        assert!(halves.is_full());
        assert!(!fill(&mut halves, b'c', 600_000));
        assert!(fill(&mut halves, b'd', 400_000), "what is small enough still fits");

        let first = halves.take(false).unwrap();
        assert_eq!((first.len(), first[0]), (600_000, b'a'));
        assert_eq!(halves.take(true), None, "one half is away");
        assert!(!fill(&mut halves, b'e', 600_000));
        halves.give_back(first);
        assert!(fill(&mut halves, b'e', 600_000));
        let second = halves.take(true).unwrap();
        assert_eq!((second.len(), second[0], second[999_999]), (1_000_000, b'b', b'd'));
    }

    #[test]
    fn an_aged_half_is_taken_before_it_is_full() {
        let mut halves = Halves::new();
        assert!(fill(&mut halves, b'a', 10));
        assert_eq!(halves.take(false), None);
        assert_eq!(halves.take(true).unwrap(), b"aaaaaaaaaa");
        assert!(fill(&mut halves, b'b', 10), "the spare one fills meanwhile");
    }

    #[test]
    fn halves_never_grow() {
        let mut halves = Halves::new();
        assert!(!fill(&mut halves, b'a', HALF_BYTES + 1));
        assert!(fill(&mut halves, b'a', HALF_BYTES));
        assert_eq!(halves.room(1).unwrap().capacity(), HALF_BYTES);
        assert_eq!(halves.take(false).unwrap().capacity(), HALF_BYTES);
    }
}
