//! How much of what is sent may wait in the network.
//!
//! A link that is slower than its load has a queue before it, in a modem or a router, that is often seconds long. TCP fills it:
//! it holds back only when something is lost. Every frame is too old then when it comes out. Here the queue is kept
//! short: once round trips show that there is one, no more is handed to TCP than arrives within the shortest round trip
//! that was seen and a part of the age that frames may have. What waits for that waits here, where it can be dropped.
//! And frames wait for each other then, since those that go together need less of the network.
//! A path that has become longer looks like a queue; to tell them apart, the queue is now and then let run empty
//! ([`look`]).

mod base;
mod look;

use std::collections::VecDeque;
use std::time::Duration;

use self::base::Base;
use crate::engine::tcp_info::TcpInfo;
use crate::moment::Moment;

/// How often [`NetworkQueue::note`] is to be told.
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// What the network takes is what it took at its best within so many samples, a second: less was acknowledged when less was
/// sent.
const SAMPLES: usize = 11;

/// The samples that one figure is taken from, beyond those of a round trip: acknowledgements come in bursts.
const SAMPLES_OF_RATE: usize = 2;

/// A queue of so much of the age that frames may have is a long one. It is kept below twice that: on a slow link a segment or
/// two are as long, and their acknowledgements come 40 ms late. Frames wait no longer for it, since what is kept short there
/// they wait here.
const PART_OF_AGE: u128 = 5;
const KEPT_BELOW: u64 = 2;

/// The same where frames may not have much of an age: longer than an acknowledgement may be late.
const SHORTEST_SIGN_NS: u64 = 50_000_000;

/// The longest time that frames are held to be under way, in the same parts of the age that they may have: where it is longer, some
/// that are as new as can be are sent all the same, since clocks, and queues, may tell what is not so.
const LONGEST_TRANSIT: u64 = 4;

/// Segments under way that make a long round trip a queue, where they have more than [`LEAST_BYTES`]. A receiver that has nothing to
/// say acknowledges every second segment, or every fifth (the engines' `StreamSocket`), and what comes
/// after that up to 200 ms late (`TCP_DELACK_MAX`), which says nothing of the network.
const SEGMENTS: u32 = 4;

/// Samples in succession that must show a queue: one may have been held up by anything.
const SIGNS: u32 = 2;

/// So long after frames last had to wait for the network it is not watched any more: four times as long as before where that was
/// soon followed by a new queue. What the network can carry as long as it is watched, as frames go together, it may not
/// carry otherwise.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);
const FORGOTTEN_AFTER_AT_MOST: Duration = Duration::from_secs(64);
const SOON: Duration = Duration::from_secs(4);

/// What may be under way in any case: a few frames.
const LEAST_BYTES: usize = 512;

/// What is under way are so many pieces at the least: some are acknowledged when they arrive, so that others are under way
/// meanwhile. A single one is acknowledged 40 ms late, and the network has nothing to do.
const PARTS: usize = 4;

/// The shortest and longest time until it is asked again whether there is room; frames wait for others no longer than that.
const SHORTEST_WAIT_NS: u64 = 1_000_000;
const LONGEST_WAIT_NS: u64 = 20_000_000;

/// What is done about a queue.
#[derive(Clone, Copy, Debug)]
struct Bound {
    /// Bytes that may be under way.
    bytes: usize,
    /// What the network takes a second.
    bytes_per_s: u64,
    /// How long frames are under way.
    transit_ns: u64,
    /// There was no room for some since the last sample.
    is_full: bool,
    /// What the network took a second when it was last looked at how long a round trip takes by itself.
    looked_with: u64,
    /// When frames last had to wait here, and when a round trip last showed a queue.
    held_last: Moment,
    waited_last: Moment,
}

impl Bound {
    fn new(now: Moment) -> Self {
        Self {
            bytes: LEAST_BYTES,
            bytes_per_s: 1,
            transit_ns: 0,
            is_full: false,
            looked_with: 0,
            held_last: now,
            waited_last: now,
        }
    }

    /// Bytes that the network takes in so long, or as many as may be under way in any case.
    fn takes_within(&self, within_ns: u64) -> usize {
        let bytes = u128::from(self.bytes_per_s) * u128::from(within_ns) / 1_000_000_000;
        usize::try_from(bytes).unwrap_or(usize::MAX).max(LEAST_BYTES)
    }

    /// How long the network takes for so many bytes.
    fn takes_ns(&self, bytes: usize) -> u64 {
        u64::try_from(bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_s)).unwrap_or(u64::MAX)
    }

    /// Whether there is still a queue, and something for it.
    fn is_recent(&self, forgotten_after: Duration, now: Moment) -> bool {
        now.since(self.held_last.min(self.waited_last)) < forgotten_after
    }
}

/// The queue in the network that one connection's frames wait in.
#[derive(Debug)]
pub struct NetworkQueue {
    /// How long is long. Where frames may have any age, nothing is.
    long_ns: Option<u64>,
    longest_transit_ns: u64,
    acknowledged: VecDeque<(Moment, u64)>,
    signs: u32,
    bound: Option<Bound>,
    /// How long the bound outlasts the queue, and when one was last forgotten.
    forgotten_after: Duration,
    forgotten_last: Option<Moment>,
    /// How long a round trip takes by itself.
    base: Base,
}

impl NetworkQueue {
    /// Nothing is known. Frames may have an age of `max_age`.
    pub fn new(max_age: Option<Duration>) -> Self {
        let part = |age: Duration| u64::try_from(age.as_nanos() / PART_OF_AGE).unwrap_or(u64::MAX);
        let long_ns = max_age.map(|age| part(age).max(SHORTEST_SIGN_NS));
        Self {
            long_ns,
            longest_transit_ns: max_age.map_or(0, |age| part(age).saturating_mul(LONGEST_TRANSIT)),
            acknowledged: VecDeque::with_capacity(SAMPLES),
            signs: 0,
            bound: None,
            forgotten_after: FORGOTTEN_AFTER,
            forgotten_last: None,
            base: Base::new(long_ns.unwrap_or(u64::MAX)),
        }
    }

    /// There is another connection.
    pub fn forget(&mut self) {
        self.acknowledged.clear();
        (self.signs, self.bound) = (0, None);
        (self.forgotten_after, self.forgotten_last) = (FORGOTTEN_AFTER, None);
        self.base = Base::new(self.long_ns.unwrap_or(u64::MAX));
    }

    /// What TCP knows now.
    pub fn note(&mut self, sample: TcpInfo, now: Moment) {
        let Some(long_ns) = self.long_ns else { return };
        if self.acknowledged.len() == SAMPLES {
            self.acknowledged.pop_front();
        }
        self.acknowledged.push_back((now, sample.acknowledged_bytes));
        let round_trip_ns = sample.round_trip_ns;
        let base_ns = self.base.note(sample, now);
        let waits_ns = round_trip_ns.saturating_sub(base_ns);
        let is_much = sample.segments_under_way >= SEGMENTS && sample.bytes_under_way > LEAST_BYTES;
        let is_sign = waits_ns > long_ns && is_much;
        self.signs = if is_sign { self.signs + 1 } else { 0 };
        if self.bound.is_some_and(|bound| !bound.is_recent(self.forgotten_after, now)) {
            (self.bound, self.forgotten_last) = (None, Some(now));
            self.base.look_away();
        }
        let mut bound = match self.bound {
            Some(bound) => bound,
            None if self.signs >= SIGNS => {
                self.note_relapse(now);
                Bound::new(now)
            }
            None => return,
        };
        let waits = waits_ns > long_ns / 2;
        if waits {
            bound.waited_last = now;
        }
        let best = self.bytes_per_s(round_trip_ns);
        // Where nothing waits, less is acknowledged since less was sent.
        if best > bound.bytes_per_s || best > 0 && waits && !self.base.disturbs(round_trip_ns, now) {
            bound.bytes_per_s = best;
        }
        let allowed_ns = base_ns.saturating_add(long_ns.saturating_mul(KEPT_BELOW));
        // Where round trips take longer even so, the network takes less than it seemed to at its best.
        let takes_ns = round_trip_ns.clamp(allowed_ns, allowed_ns.saturating_mul(2)).max(1);
        let within_ns = u128::from(allowed_ns) * u128::from(allowed_ns) / u128::from(takes_ns);
        bound.bytes = bound.takes_within(u64::try_from(within_ns).unwrap_or(u64::MAX));
        // Half of the way there and back; what it takes beyond, it takes on this way, as long as there is a queue; and a little,
        // since queues are not still.
        let longest_ns = bound.takes_ns(bound.bytes).max(round_trip_ns);
        let transit_ns = longest_ns.saturating_sub(base_ns / 2).saturating_add(long_ns / 4);
        bound.transit_ns = transit_ns.min(self.longest_transit_ns);
        // As long as more is under way, it is what was sent before there was a bound that takes so long.
        let is_within = sample.bytes_under_way <= bound.bytes.saturating_mul(2);
        // What holds nothing back need not be known better.
        if waits && is_within && bound.is_full {
            // What is not a queue and is held down for one carries less and less.
            let is_sinking = bound.bytes_per_s < bound.looked_with / 2;
            if self.base.look(is_sinking, now) {
                bound.looked_with = bound.bytes_per_s;
            }
        }
        bound.is_full = false;
        self.bound = Some(bound);
    }

    /// There is a queue again.
    fn note_relapse(&mut self, now: Moment) {
        let is_soon = self.forgotten_last.is_some_and(|at| now.since(at) < SOON);
        self.forgotten_after =
            if is_soon { (self.forgotten_after * 4).min(FORGOTTEN_AFTER_AT_MOST) } else { FORGOTTEN_AFTER };
    }

    /// What the network takes at its best in a round trip and a little more.
    fn bytes_per_s(&self, round_trip_ns: u64) -> u64 {
        let of_round_trip = (round_trip_ns / SAMPLE_INTERVAL.as_nanos() as u64) as usize;
        let span = (SAMPLES_OF_RATE + of_round_trip).min(self.acknowledged.len() - 1);
        let ends = self.acknowledged.iter().zip(self.acknowledged.iter().skip(span));
        let rates = ends.map(|((earlier, before), (later, after))| {
            let bytes = u128::from(after.saturating_sub(*before));
            let rate = bytes * 1_000_000_000 / u128::from(later.nanos_since(*earlier).max(1));
            u64::try_from(rate).unwrap_or(u64::MAX)
        });
        rates.max().unwrap_or(0)
    }

    /// Whether it is being looked at how long a round trip takes, which needs asking for room even where nothing waits.
    #[inline]
    pub fn is_looking(&self) -> bool {
        self.base.is_looking()
    }

    /// Whether so much may not be under way that it is to be asked how much is.
    #[inline]
    pub fn is_bounded(&self) -> bool {
        self.bound.is_some()
    }

    /// So many bytes were handed over.
    #[inline]
    pub fn note_handed_over(&mut self, bytes: usize, now: Moment) {
        if self.is_bounded() {
            self.base.note_handed_over(bytes, now);
        }
    }

    /// How many bytes may be handed over while so many are under way; or when to ask again. So many have gathered, the first of
    /// them at `since`.
    pub fn room(
        &mut self,
        under_way: usize,
        gathered: usize,
        since: Moment,
        now: Moment,
    ) -> Result<usize, Moment> {
        let Some(bound) = &mut self.bound else { return Ok(usize::MAX) };
        let most = self.base.room(under_way, now).inspect_err(|_| bound.held_last = now)?;
        // Not each byte as it goes: some at a time.
        let enough = bound.bytes / (2 * PARTS);
        let room = bound.bytes.saturating_sub(under_way);
        if room <= enough {
            (bound.is_full, bound.held_last) = (true, now);
            let wait_ns = bound.takes_ns((under_way + 2 * enough).saturating_sub(bound.bytes));
            return Err(now.after_nanos(wait_ns.clamp(SHORTEST_WAIT_NS, LONGEST_WAIT_NS)));
        }
        // Nor each frame as it comes, which needs more of the network for headers than for itself.
        let together = enough / 2;
        let until = since.after_nanos(bound.takes_ns(together).min(LONGEST_WAIT_NS));
        if gathered < together && now < until && most > together {
            return Err(until);
        }
        Ok(room.min(bound.bytes / PARTS).min(most))
    }

    /// How long frames will be under way that are handed over now, as far as there is a queue that they wait in: what would be
    /// too old when it comes out need not be sent.
    #[inline]
    pub fn transit_ns(&self) -> u64 {
        self.bound.map_or(0, |bound| bound.transit_ns)
    }
}

#[cfg(test)]
mod tests;
