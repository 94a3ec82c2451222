//! Cyclic messages as a passenger car's main bus carries them, with arbitration on the modelled wire.
//!
//! 150 messages, each with its period, its identifier (the shorter the period, the lower: rate-monotonic, as matrices
//! are laid out) and its length. A sender's task makes a message ready at each multiple of the period after a random
//! phase, up to 5 % of the period late, a millisecond at most. On the wire the lowest identifier that is ready goes
//! first when the wire is free.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;

use super::frames::fill_payload;
use super::{Due, StampKey};
use crate::frame::bit_time::{BitRates, FrameBits};
use crate::frame::{Frame, Identifier};

/// Periods in milliseconds, and how many messages have them.
const MATRIX: [(u64, usize); 7] = [(10, 12), (20, 16), (50, 18), (100, 20), (200, 20), (500, 26), (1000, 38)];
pub(super) const MESSAGES: usize = 150;
pub(super) const FRAMES_PER_S: u64 = 2750;

const _: () = {
    let (mut messages, mut frames_per_s, mut row) = (0, 0, 0);
    while row < MATRIX.len() {
        messages += MATRIX[row].1;
        frames_per_s += 1000 / MATRIX[row].0 * MATRIX[row].1 as u64;
        row += 1;
    }
    assert!(messages == MESSAGES && frames_per_s == FRAMES_PER_S);
};

/// Below this the messages would not fit if all of them had as many stuff bits as there can be, 135 bits a frame.
pub(super) const BIT_RATE_MIN: u32 = 135 * FRAMES_PER_S as u32;

const FIRST_IDENTIFIER: u32 = 0x080;
/// 150 of them end at 0x6C8, below the identifiers of diagnosis (0x700 and above).
const IDENTIFIER_STEP: u32 = 11;

/// Of the messages with periods of 100 ms and more, one in this many is shorter than 8 bytes.
const SHORT_EACH: usize = 8;
const SHORT_PERIOD_MS_MIN: u64 = 100;
const SHORT_LENGTHS: [u8; 4] = [4, 6, 2, 7];

const JITTER_PARTS: u64 = 20;
const JITTER_NS_MAX: u64 = 1_000_000;

/// What draws are for.
const PHASE: u64 = 0x100;
const JITTER: u64 = 0x101;

#[derive(Clone, Copy, Debug)]
struct Message {
    identifier: Identifier,
    len: u8,
    period_ns: u64,
    phase_ns: u64,
    jitter_ns: u64,
    /// Of the next that gets ready.
    cycle: u64,
}

/// What becomes ready or is, with the message's place in the matrix: places are in order of priority.
type Ready = Reverse<(u64, usize)>;

/// Messages on their way over one wire. Each is either not ready or waits: none is in it twice.
#[derive(Clone, Debug)]
pub(super) struct Cyclic {
    messages: Vec<Message>,
    /// By when they get ready.
    later: BinaryHeap<Ready>,
    /// By place alone.
    waiting: BinaryHeap<Reverse<usize>>,
    key: StampKey,
    rates: BitRates,
    free_at_ns: u64,
    number: u64,
}

impl Cyclic {
    /// The matrix, its phases and jitter drawn from the key.
    pub fn new(key: StampKey, nominal: NonZeroU32) -> Self {
        let periods = MATRIX.iter().flat_map(|&(period_ms, count)| std::iter::repeat_n(period_ms, count));
        let message = |(place, period_ms): (usize, u64)| {
            let period_ns = period_ms * 1_000_000;
            let raw = FIRST_IDENTIFIER + IDENTIFIER_STEP * place as u32;
            let short = period_ms >= SHORT_PERIOD_MS_MIN && place.is_multiple_of(SHORT_EACH);
            Message {
                identifier: Identifier::standard(raw).expect("the matrix ends below 0x700"),
                len: if short { SHORT_LENGTHS[place / SHORT_EACH % SHORT_LENGTHS.len()] } else { 8 },
                period_ns,
                phase_ns: key.draw(place as u64, PHASE) % period_ns,
                jitter_ns: (period_ns / JITTER_PARTS).min(JITTER_NS_MAX),
                cycle: 0,
            }
        };
        Self::of(periods.enumerate().map(message).collect(), key, BitRates::classic(nominal))
    }

    /// Messages in order of priority.
    fn of(messages: Vec<Message>, key: StampKey, rates: BitRates) -> Self {
        let mut cyclic = Self {
            later: BinaryHeap::with_capacity(messages.len()),
            waiting: BinaryHeap::with_capacity(messages.len()),
            messages,
            key,
            rates,
            free_at_ns: 0,
            number: 0,
        };
        for place in 0..cyclic.messages.len() {
            cyclic.plan(place);
        }
        cyclic
    }

    /// The frame that wins the next arbitration, due when it begins.
    pub fn next(&mut self) -> Due {
        let soonest = self.later.peek().map_or(u64::MAX, |&Reverse((at_ns, _))| at_ns);
        let at_ns = if self.waiting.is_empty() { self.free_at_ns.max(soonest) } else { self.free_at_ns };
        while let Some(&Reverse((ready_ns, place))) = self.later.peek()
            && ready_ns <= at_ns
        {
            self.later.pop();
            self.waiting.push(Reverse(place));
        }
        let Reverse(place) = self.waiting.pop().expect("the next to get ready waits, if none did");
        self.plan(place);
        let frame = self.draw(place, at_ns);
        self.free_at_ns = at_ns.saturating_add(FrameBits::of(frame.image()).duration_ns(self.rates));
        self.number += 1;
        Due { at_ns, frame }
    }

    /// Notes when a message gets ready next.
    fn plan(&mut self, place: usize) {
        let message = &mut self.messages[place];
        let late_ns = match message.jitter_ns {
            0 => 0,
            most => self.key.draw(message.cycle << 16 | place as u64, JITTER) % most,
        };
        let ready_ns = message.phase_ns + message.cycle * message.period_ns + late_ns;
        message.cycle += 1;
        self.later.push(Reverse((ready_ns, place)));
    }

    fn draw(&self, place: usize, at_ns: u64) -> Frame {
        let Message { identifier, len, .. } = self.messages[place];
        let mut payload = [0; 8];
        let payload = &mut payload[..usize::from(len)];
        fill_payload(payload, self.key, super::due_us(at_ns), self.number);
        Frame::data(identifier, payload).expect("8 bytes at most")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn bus(rate: u32) -> BitRates {
        BitRates::classic(rate.try_into().unwrap())
    }

    fn message(raw: u32, period_ns: u64, phase_ns: u64) -> Message {
        let identifier = Identifier::standard(raw).unwrap();
        Message { identifier, len: 0, period_ns, phase_ns, jitter_ns: 0, cycle: 0 }
    }

    // Frames without data take 49 to 55 bits: at 1 Mbit/s at most 55 µs.
    #[test]
    fn the_lowest_identifier_goes_first_and_waits_for_the_wire() {
        let messages = vec![
            message(0x100, 100_000, 10_000),
            message(0x200, 100_000, 10_000),
            message(0x300, 400_000, 0),
        ];
        let mut cyclic = Cyclic::of(messages, StampKey::new(1, 0), bus(1_000_000));
        let mut free_ns = 0;
        let mut begins = Vec::new();
        for due in std::iter::repeat_with(|| cyclic.next()).take(5) {
            assert!(due.at_ns >= free_ns, "the wire is free");
            let waited = due.at_ns == free_ns;
            free_ns = due.at_ns + FrameBits::of(due.frame.image()).duration_ns(bus(1_000_000));
            begins.push((due.frame.image().identifier().raw(), waited, due.at_ns));
        }
        // 300 has the wire at 0; 100 and 200 get ready meanwhile; then again 100 µs later, one behind the other.
        let order: Vec<u32> = begins.iter().map(|begin| begin.0).collect();
        assert_eq!(order, [0x300, 0x100, 0x200, 0x100, 0x200]);
        assert_eq!(begins[0].2, 0);
        assert!(begins[1].1 && begins[2].1 && begins[4].1);
        assert!(begins[3].2 >= 110_000);
    }

    #[test]
    fn an_idle_wire_is_taken_at_once() {
        let mut cyclic =
            Cyclic::of(vec![message(0x100, 1_000_000, 5_000)], StampKey::new(1, 0), bus(1_000_000));
        let times: Vec<u64> = std::iter::repeat_with(|| cyclic.next().at_ns).take(3).collect();
        assert_eq!(times, [5_000, 1_005_000, 2_005_000]);
    }

    #[test]
    fn the_matrix_is_a_cars() {
        for seed in [1, 2] {
            let mut cyclic = Cyclic::new(StampKey::new(seed, 0), 500_000.try_into().unwrap());
            let mut times: HashMap<u32, Vec<u64>> = HashMap::new();
            let (mut busy_ns, mut free_ns) = (0, 0);
            for due in std::iter::repeat_with(|| cyclic.next()).take_while(|due| due.at_ns < 10_000_000_000) {
                assert!(due.at_ns >= free_ns);
                let duration_ns = FrameBits::of(due.frame.image()).duration_ns(bus(500_000));
                free_ns = due.at_ns + duration_ns;
                busy_ns += duration_ns;
                times.entry(due.frame.image().identifier().raw()).or_default().push(due.at_ns);
            }
            let frames: usize = times.values().map(Vec::len).sum();
            // 2,750 a second, but for messages whose phase or wait puts one beyond an end.
            assert!((27_450..=27_550).contains(&frames), "{frames}");
            let percent = busy_ns as f64 / 1e8;
            assert!((62.0..64.0).contains(&percent), "{percent}");
            assert_eq!(times.len(), MESSAGES);
            // The fastest have the lowest identifiers: 080 every 10 ms, 6C0 and above every second.
            assert!((999..=1001).contains(&times[&0x080].len()));
            assert!((9..=11).contains(&times[&(0x080 + 149 * 11)].len()));
            let gaps = times[&0x080].windows(2).map(|pair| pair[1] - pair[0]);
            // Late by up to 0.5 ms, and a frame that has the wire: at most 270 µs.
            assert!(gaps.clone().all(|gap| (9_200_000..10_800_000).contains(&gap)));
            assert!(gaps.min() < gaps_max(&times[&0x080]), "there is jitter");
        }
    }

    fn gaps_max(times: &[u64]) -> Option<u64> {
        times.windows(2).map(|pair| pair[1] - pair[0]).max()
    }

    #[test]
    fn times_never_go_back() {
        let mut cyclic = Cyclic::new(StampKey::new(3, 1), BIT_RATE_MIN.try_into().unwrap());
        let times: Vec<u64> = std::iter::repeat_with(|| cyclic.next().at_ns).take(10_000).collect();
        assert!(times.is_sorted());
        // At 85 % of the bus no backlog grows: ten seconds' frames are sent within about ten seconds.
        let seconds = *times.last().unwrap() as f64 / 1e9;
        assert!((seconds - 10_000.0 / 2750.0).abs() < 0.05, "{seconds}");
    }
}
