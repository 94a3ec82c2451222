//! Sequence accounting: what a received number says about the frames before it.
//!
//! Numbers are 32 bits wide and wrap. A number ahead of the expected one leaves a gap; a number behind it is a
//! duplicate if it was seen, and late (reordered) if it was not; one behind by more than the window remembers can
//! only come from a sender that began to count anew.

/// How many numbers behind the expected one are remembered. TCP does not reorder, so a late frame comes from a
/// relay's queue; 1,024 frames are a quarter of a second of a saturated 500 kbit/s bus.
const WINDOW: u32 = 1024;
const WORD_BITS: u32 = u64::BITS;

/// What a received sequence number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// The number that was expected.
    InOrder,
    /// `missing` numbers before this one have not been received.
    Gap {
        /// How many: at least 1.
        missing: u32,
    },
    /// This number was received before.
    Duplicate,
    /// A number that was counted as missing has come after all.
    Reordered,
    /// The sender counts anew; what was lost in between is unknown.
    Restarted,
}

/// Counts of a connection's arrivals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SequenceCounters {
    /// How often numbers were skipped.
    pub gaps: u64,
    /// How many numbers are missing; a late arrival takes one back.
    pub missing: u64,
    /// Numbers received more than once.
    pub duplicates: u64,
    /// Numbers that came late.
    pub reordered: u64,
    /// How often the sender counted anew.
    pub restarts: u64,
    /// How often the number wrapped from 2^32 - 1 to 0.
    pub wraps: u64,
}

/// Follows one direction's sequence numbers, which start at 0 with the connection.
#[derive(Clone, Debug)]
pub struct SequenceTracker {
    expected: u32,
    any_received: bool,
    /// One bit for each of the last [`WINDOW`] numbers, at `number % WINDOW`: whether it was received.
    seen: [u64; (WINDOW / WORD_BITS) as usize],
    counters: SequenceCounters,
}

impl Default for SequenceTracker {
    fn default() -> Self {
        Self::starting_at(0)
    }
}

impl SequenceTracker {
    /// A tracker that expects `first`.
    pub fn starting_at(first: u32) -> Self {
        // Nothing before the start is missing, so nothing before it can come late.
        Self {
            expected: first,
            any_received: false,
            seen: [u64::MAX; _],
            counters: SequenceCounters::default(),
        }
    }

    /// Accounts for a received number.
    pub fn receive(&mut self, number: u32) -> Arrival {
        let ahead = number.wrapping_sub(self.expected);
        let behind = self.expected.wrapping_sub(number);
        let arrival = if ahead == 0 {
            Arrival::InOrder
        } else if ahead < 1 << 31 {
            Arrival::Gap { missing: ahead }
        } else if behind > WINDOW || !self.any_received {
            Arrival::Restarted
        } else if self.is_seen(number) {
            Arrival::Duplicate
        } else {
            Arrival::Reordered
        };
        self.account(arrival, number);
        arrival
    }

    /// The counts so far.
    pub fn counters(&self) -> SequenceCounters {
        self.counters
    }

    /// The number that the next frame in order carries.
    pub fn expected(&self) -> u32 {
        self.expected
    }

    fn account(&mut self, arrival: Arrival, number: u32) {
        self.any_received = true;
        match arrival {
            Arrival::InOrder => self.advance_past(number),
            Arrival::Gap { missing } => {
                self.counters.gaps += 1;
                self.counters.missing += u64::from(missing);
                for skipped in 0..missing.min(WINDOW) {
                    self.mark(number.wrapping_sub(1 + skipped), false);
                }
                self.advance_past(number);
            }
            Arrival::Duplicate => self.counters.duplicates += 1,
            Arrival::Reordered => {
                self.counters.reordered += 1;
                self.counters.missing -= 1;
                self.mark(number, true);
            }
            Arrival::Restarted => {
                self.counters.restarts += 1;
                // Nothing before the new start is missing, so nothing before it can come late.
                self.seen.fill(u64::MAX);
                self.expected = number;
                self.advance_past(number);
            }
        }
    }

    fn advance_past(&mut self, number: u32) {
        self.mark(number, true);
        let next = number.wrapping_add(1);
        if next < self.expected {
            self.counters.wraps += 1;
        }
        self.expected = next;
    }

    fn mark(&mut self, number: u32, received: bool) {
        let (word, bit) = place(number);
        self.seen[word] = self.seen[word] & !bit | if received { bit } else { 0 };
    }

    fn is_seen(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }
}

fn place(number: u32) -> (usize, u64) {
    let slot = number % WINDOW;
    ((slot / WORD_BITS) as usize, 1 << (slot % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: &[u32]) -> (Vec<Arrival>, SequenceCounters) {
        let mut tracker = SequenceTracker::default();
        let arrivals = numbers.iter().map(|&number| tracker.receive(number)).collect();
        (arrivals, tracker.counters())
    }

    #[test]
    fn in_order_counts_nothing() {
        let (arrivals, counters) = after(&[0, 1, 2, 3]);
        assert_eq!(arrivals, [Arrival::InOrder; 4]);
        assert_eq!(counters, SequenceCounters::default());
    }

    #[test]
    fn a_gap_counts_the_frames_missing_also_at_the_start() {
        let (arrivals, counters) = after(&[5, 6, 10]);
        assert_eq!(arrivals, [Arrival::Gap { missing: 5 }, Arrival::InOrder, Arrival::Gap { missing: 3 }]);
        assert_eq!((counters.gaps, counters.missing), (2, 8));
    }

    #[test]
    fn an_old_number_is_never_a_gap_of_four_thousand_million() {
        let (arrivals, counters) = after(&[0, 1, 2, 1, 0]);
        assert_eq!(arrivals[3..], [Arrival::Duplicate, Arrival::Duplicate]);
        assert_eq!(counters, SequenceCounters { duplicates: 2, ..Default::default() });
    }

    #[test]
    fn a_late_number_is_no_longer_missing() {
        let (arrivals, counters) = after(&[0, 2, 1, 1, 3]);
        assert_eq!(
            arrivals,
            [
                Arrival::InOrder,
                Arrival::Gap { missing: 1 },
                Arrival::Reordered,
                Arrival::Duplicate,
                Arrival::InOrder
            ]
        );
        let expected =
            SequenceCounters { gaps: 1, missing: 0, duplicates: 1, reordered: 1, ..Default::default() };
        assert_eq!(counters, expected);
    }

    #[test]
    fn the_number_wraps() {
        let mut tracker = SequenceTracker::starting_at(0xFFFF_FFFE);
        for number in [0xFFFF_FFFE, 0xFFFF_FFFF, 0, 1] {
            assert_eq!(tracker.receive(number), Arrival::InOrder);
        }
        assert_eq!(tracker.counters(), SequenceCounters { wraps: 1, ..Default::default() });
        assert_eq!(tracker.receive(0xFFFF_FFFF), Arrival::Duplicate);
    }

    #[test]
    fn a_gap_across_the_wrap_counts_both_sides() {
        let mut tracker = SequenceTracker::starting_at(0xFFFF_FFFE);
        assert_eq!(tracker.receive(3), Arrival::Gap { missing: 5 });
        assert_eq!(tracker.counters().wraps, 1);
        assert_eq!(tracker.receive(0xFFFF_FFFF), Arrival::Reordered);
        assert_eq!(tracker.counters().missing, 4);
    }

    #[test]
    fn a_sender_that_counts_anew_is_followed() {
        let mut tracker = SequenceTracker::default();
        for number in 0..5_000 {
            tracker.receive(number);
        }
        assert_eq!(tracker.receive(0), Arrival::Restarted);
        assert_eq!(tracker.receive(1), Arrival::InOrder);
        assert_eq!(tracker.receive(0), Arrival::Duplicate);
        assert_eq!(tracker.counters(), SequenceCounters { restarts: 1, duplicates: 1, ..Default::default() });
    }

    #[test]
    fn a_first_number_from_the_upper_half_is_a_start_not_a_gap() {
        let (arrivals, counters) = after(&[0xFFFF_FFF0, 0xFFFF_FFF1]);
        assert_eq!(arrivals, [Arrival::Restarted, Arrival::InOrder]);
        assert_eq!(counters.missing, 0);
    }

    #[test]
    fn a_number_from_before_the_start_is_not_taken_for_a_late_one() {
        let (arrivals, counters) = after(&[0, 0xFFFF_FFFF, 1]);
        assert_eq!(arrivals, [Arrival::InOrder, Arrival::Duplicate, Arrival::InOrder]);
        assert_eq!(counters.missing, 0);
    }

    #[test]
    fn a_gap_longer_than_the_window_forgets_what_lies_behind_it() {
        let (arrivals, counters) = after(&[0, 100_000, 99_999, 99_000]);
        assert_eq!(arrivals[1], Arrival::Gap { missing: 99_999 });
        assert_eq!(arrivals[2..], [Arrival::Reordered, Arrival::Reordered]);
        assert_eq!(counters.missing, 99_997);
    }
}
