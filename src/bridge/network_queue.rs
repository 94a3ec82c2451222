//! How much of what is sent may wait in the network.
//!
//! A link that is slower than its load has a queue before it, in a modem or a router, that is often seconds long. TCP fills it:
//! it holds back only when something is lost. Every frame is too old then when it comes out. Here the queue is kept
//! short: once round trips show that there is one, no more is handed to TCP than arrives within the shortest round trip
//! that was seen and a part of the age that frames may have. What waits for that waits here, where it can be dropped.
//! Now and then a little more is let under way, to see whether it is really a queue.

use std::collections::VecDeque;
use std::time::Duration;

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

/// How often, and how long beyond a round trip, a third more is let under way. If the network takes more then, what takes long is
/// not the queue, or not ours: another way is longer than the shortest was, or acknowledgements wait.
const BETWEEN_PROBES: Duration = Duration::from_secs(4);
const PROBE_NS: u64 = 200_000_000;

/// How long it is remembered how long a round trip takes by itself.
const UNLEARNED_AFTER: Duration = Duration::from_secs(60);

/// The longest time that frames are held to be under way, in the same parts of the age that they may have: where it is longer, some
/// that are as new as can be are sent all the same, since clocks, and queues, may tell what is not so.
const LONGEST_TRANSIT: u64 = 4;

/// Segments under way that make a long round trip a queue, where they have more than [`LEAST_BYTES`]. A receiver that has nothing to
/// say acknowledges every second segment, or every fifth (the engines' `StreamSocket`), and what comes
/// after that up to 200 ms late (`TCP_DELACK_MAX`), which says nothing of the network.
const SEGMENTS: u32 = 4;

/// Samples in succession that must show a queue: one may have been held up by anything.
const SIGNS: u32 = 2;

/// So long after frames last had to wait for the network it is not watched any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);

/// What may be under way in any case: a few frames.
const LEAST_BYTES: usize = 512;

/// What is under way are so many pieces at the least: some are acknowledged when they arrive, so that others are under way
/// meanwhile. A single one is acknowledged 40 ms late, and the network has nothing to do.
const PARTS: usize = 4;

/// The shortest and longest time until it is asked again whether there is room.
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
    /// When frames last had to wait here, and when a round trip last showed a queue.
    held_last: Moment,
    waited_last: Moment,
    /// When more was let under way to see what comes of it, and what the network took before; and when that last ended.
    probe: Option<(Moment, u64)>,
    probed_last: Moment,
}

impl Bound {
    fn new(now: Moment) -> Self {
        Self {
            bytes: LEAST_BYTES,
            bytes_per_s: 1,
            transit_ns: 0,
            held_last: now,
            waited_last: now,
            probe: None,
            probed_last: now,
        }
    }

    /// Whether there is still a queue, and something for it.
    fn is_recent(&self, now: Moment) -> bool {
        now.since(self.held_last.min(self.waited_last)) < FORGOTTEN_AFTER
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
    /// How long a round trip takes by itself, where that was found to be longer than the shortest, and when.
    learned: Option<(u64, Moment)>,
}

impl NetworkQueue {
    /// Nothing is known. Frames may have an age of `max_age`.
    pub fn new(max_age: Option<Duration>) -> Self {
        let part = |age: Duration| u64::try_from(age.as_nanos() / PART_OF_AGE).unwrap_or(u64::MAX);
        Self {
            long_ns: max_age.map(|age| part(age).max(SHORTEST_SIGN_NS)),
            longest_transit_ns: max_age.map_or(0, |age| part(age).saturating_mul(LONGEST_TRANSIT)),
            acknowledged: VecDeque::with_capacity(SAMPLES),
            signs: 0,
            bound: None,
            learned: None,
        }
    }

    /// There is another connection.
    pub fn forget(&mut self) {
        self.acknowledged.clear();
        (self.signs, self.bound, self.learned) = (0, None, None);
    }

    /// What TCP knows now.
    pub fn note(&mut self, sample: TcpInfo, now: Moment) {
        let Some(long_ns) = self.long_ns else { return };
        if self.acknowledged.len() == SAMPLES {
            self.acknowledged.pop_front();
        }
        self.acknowledged.push_back((now, sample.acknowledged_bytes));
        let round_trip_ns = sample.round_trip_ns;
        let base_ns = self.base_ns(sample, now);
        let waits_ns = round_trip_ns.saturating_sub(base_ns);
        let is_much = sample.segments_under_way >= SEGMENTS && sample.bytes_under_way > LEAST_BYTES;
        let is_sign = waits_ns > long_ns && is_much;
        self.signs = if is_sign { self.signs + 1 } else { 0 };
        let mut bound = match self.bound {
            Some(bound) if bound.is_recent(now) => bound,
            _ if self.signs >= SIGNS => Bound::new(now),
            _ => {
                self.bound = None;
                return;
            }
        };
        if waits_ns > long_ns / 2 {
            bound.waited_last = now;
        }
        let [usual, latest, best] = self.bytes_per_s(round_trip_ns);
        if best > 0 {
            bound.bytes_per_s = best;
        }
        let fits = |within_ns: u64| {
            let bytes = u128::from(bound.bytes_per_s) * u128::from(within_ns) / 1_000_000_000;
            usize::try_from(bytes).unwrap_or(usize::MAX).max(LEAST_BYTES)
        };
        bound.bytes = fits(base_ns.saturating_add(long_ns.saturating_mul(KEPT_BELOW)));
        let drains_ns = bound.bytes as u128 * 1_000_000_000 / u128::from(bound.bytes_per_s);
        let longest_ns = u64::try_from(drains_ns).unwrap_or(u64::MAX).max(round_trip_ns);
        // Half of the shortest way there and back; what it takes beyond, it takes on this way, as long as there is a queue; and a
        // little, since queues are not still.
        let shortest_ns = sample.shortest_round_trip_ns;
        let transit_ns = longest_ns.saturating_sub(shortest_ns / 2).saturating_add(long_ns / 4);
        bound.transit_ns = transit_ns.min(self.longest_transit_ns);
        match bound.probe {
            Some((since, before)) if now.nanos_since(since) >= PROBE_NS.saturating_add(round_trip_ns) => {
                if latest > before / 5 * 6 {
                    self.learned = Some((round_trip_ns, now));
                }
                (bound.probe, bound.probed_last) = (None, now);
            }
            None if now.since(bound.probed_last) >= BETWEEN_PROBES => {
                bound.probe = Some((now, usual));
            }
            _ => {}
        }
        if bound.probe.is_some() {
            // A third more than is under way.
            bound.bytes = bound.bytes.max(fits(round_trip_ns.saturating_add(round_trip_ns / 3)));
        }
        self.bound = Some(bound);
    }

    /// How long a round trip takes where nothing waits.
    fn base_ns(&mut self, sample: TcpInfo, now: Moment) -> u64 {
        let TcpInfo { round_trip_ns, shortest_round_trip_ns, .. } = sample;
        self.learned = self.learned.filter(|(_, at)| now.since(*at) < UNLEARNED_AFTER);
        match &mut self.learned {
            Some((base_ns, _)) => {
                *base_ns = round_trip_ns.min(*base_ns);
                shortest_round_trip_ns.max(*base_ns)
            }
            None => shortest_round_trip_ns,
        }
    }

    /// What the network takes: in all samples, in the last ones, and at its best in as many.
    fn bytes_per_s(&self, round_trip_ns: u64) -> [u64; 3] {
        let of_round_trip = (round_trip_ns / SAMPLE_INTERVAL.as_nanos() as u64) as usize;
        let all = self.acknowledged.len() - 1;
        let rates = |span: usize| {
            let ends = self.acknowledged.iter().zip(self.acknowledged.iter().skip(span));
            ends.map(|((earlier, before), (later, after))| {
                let bytes = u128::from(after.saturating_sub(*before));
                let rate = bytes * 1_000_000_000 / u128::from(later.nanos_since(*earlier).max(1));
                u64::try_from(rate).unwrap_or(u64::MAX)
            })
        };
        let usual = rates(all).next().unwrap_or(0);
        let of_some = rates((SAMPLES_OF_RATE + of_round_trip).min(all));
        of_some.fold([usual, 0, 0], |[usual, _, best], rate| [usual, rate, rate.max(best)])
    }

    /// Whether so much may not be under way that it is to be asked how much is.
    #[inline]
    pub fn is_bounded(&self) -> bool {
        self.bound.is_some()
    }

    /// How many bytes may be handed over while so many are under way; or when to ask again.
    pub fn room(&mut self, under_way: usize, now: Moment) -> Result<usize, Moment> {
        let Some(bound) = &mut self.bound else { return Ok(usize::MAX) };
        // Not each byte as it goes: some at a time.
        let enough = bound.bytes / 8;
        let room = bound.bytes.saturating_sub(under_way);
        if room > enough {
            return Ok(room.min(bound.bytes / PARTS));
        }
        bound.held_last = now;
        let until_enough = (under_way + 2 * enough).saturating_sub(bound.bytes) as u128 * 1_000_000_000;
        let wait_ns = u64::try_from(until_enough / u128::from(bound.bytes_per_s)).unwrap_or(u64::MAX);
        Err(now.after_nanos(wait_ns.clamp(SHORTEST_WAIT_NS, LONGEST_WAIT_NS)))
    }

    /// How long frames will be under way that are handed over now, as far as there is a queue that they wait in: what would be
    /// too old when it comes out need not be sent.
    #[inline]
    pub fn transit_ns(&self) -> u64 {
        self.bound.map_or(0, |bound| bound.transit_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_millis(250);
    const MILLISECOND: u64 = 1_000_000;
    const ACKNOWLEDGED_LATE_MS: u64 = 40;

    /// A link that carries so many bytes a second, in both ways' time of `round_trip_ms`, with a queue before it that never
    /// overflows, and acknowledgements that come late; frames of 24 bytes come to be sent, and their records cost nothing.
    struct Link {
        bytes_per_s: u64,
        round_trip_ms: u64,
        /// Bytes before the link, by when they were handed over, in milliseconds, and when the frame came.
        queue: VecDeque<(u64, u64, u64)>,
        /// Bytes that have left it, and are acknowledged a round trip later.
        left: VecDeque<(u64, u64)>,
        under_way: u64,
        acknowledged: u64,
        budget: u64,
        smoothed_ns: u64,
        shortest_ms: u64,
        /// Ages, in milliseconds, of frames that came out.
        ages_ms: Vec<u64>,
    }

    impl Link {
        fn new(bytes_per_s: u64, round_trip_ms: u64) -> Self {
            Self {
                bytes_per_s,
                round_trip_ms,
                queue: VecDeque::new(),
                left: VecDeque::new(),
                under_way: 0,
                acknowledged: 0,
                budget: 0,
                smoothed_ns: round_trip_ms * MILLISECOND,
                shortest_ms: round_trip_ms,
                ages_ms: Vec::new(),
            }
        }

        fn take(&mut self, now: u64, came: u64, bytes: u64) {
            self.queue.push_back((now, came, bytes));
            self.under_way += bytes;
        }

        fn run_for_a_millisecond(&mut self, now: u64) {
            self.budget = (self.budget + self.bytes_per_s / 1_000).min(1_500);
            while let Some(&(handed_over, came, bytes)) =
                self.queue.front().filter(|frame| frame.2 <= self.budget)
            {
                self.queue.pop_front();
                self.budget -= bytes;
                self.left.push_back((now + self.round_trip_ms + ACKNOWLEDGED_LATE_MS, bytes));
                self.ages_ms.push(now + self.round_trip_ms / 2 - came);
                let sample_ns = (now - handed_over + self.round_trip_ms) * MILLISECOND;
                self.smoothed_ns = (self.smoothed_ns * 7 + sample_ns) / 8;
            }
            while let Some((_, bytes)) = self.left.pop_front_if(|(at, _)| *at <= now) {
                self.under_way -= bytes;
                self.acknowledged += bytes;
            }
        }

        fn sample(&self) -> TcpInfo {
            TcpInfo {
                acknowledged_bytes: self.acknowledged,
                bytes_under_way: usize::try_from(self.under_way).unwrap(),
                segments_under_way: u32::try_from(self.under_way / 24).unwrap(),
                round_trip_ns: self.smoothed_ns,
                shortest_round_trip_ns: self.shortest_ms * MILLISECOND,
            }
        }
    }

    /// Sends `frames_per_ms` over the link from one millisecond to another, as [`Outbound`](super::super::outbound) does, and
    /// drops what would be too old.
    fn send(link: &mut Link, queue: &mut NetworkQueue, frames_per_ms: u64, times: std::ops::Range<u64>) {
        let mut waiting = VecDeque::new();
        let mut again_at = 0;
        for now in times {
            (0..frames_per_ms).for_each(|_| waiting.push_back(now));
            let moment = Moment::from_nanos(now * MILLISECOND);
            let oldest = 250 - queue.transit_ns() / MILLISECOND;
            while waiting.pop_front_if(|came| now - *came > oldest).is_some() {}
            while !waiting.is_empty() && again_at <= now {
                match queue.room(usize::try_from(link.under_way).unwrap(), moment) {
                    Err(at) => again_at = at.as_nanos().div_ceil(MILLISECOND),
                    Ok(room) => {
                        for came in waiting.drain(..(room / 24).clamp(1, waiting.len())) {
                            link.take(now, came, 24);
                        }
                    }
                }
            }
            link.run_for_a_millisecond(now);
            if now % 100 == 0 {
                queue.note(link.sample(), moment);
            }
        }
    }

    /// The part, in percent, of what the link can carry that came out in time, with frames twice as many as that.
    fn useful(bytes_per_s: u64, round_trip_ms: u64) -> u64 {
        let mut link = Link::new(bytes_per_s, round_trip_ms);
        let mut queue = NetworkQueue::new(Some(MAX_AGE));
        let frames_per_ms = 2 * bytes_per_s / 24 / 1_000;
        // What was sent before anything was known must come out first.
        send(&mut link, &mut queue, frames_per_ms, 0..5_000);
        link.ages_ms.clear();
        send(&mut link, &mut queue, frames_per_ms, 5_000..15_000);
        let in_time = link.ages_ms.iter().filter(|age| **age <= 250).count() as u64;
        in_time * 24 * 100 / (bytes_per_s * 10)
    }

    #[test]
    fn a_slow_link_carries_what_it_can_in_time() {
        for bytes_per_s in [24_000, 120_000, 1_200_000] {
            for round_trip_ms in [2, 20, 100, 200] {
                let useful = useful(bytes_per_s, round_trip_ms);
                assert!(useful >= 85, "{bytes_per_s} bytes a second, {round_trip_ms} ms: {useful} %");
            }
        }
    }

    #[test]
    fn without_a_bound_next_to_nothing_is_in_time() {
        let mut link = Link::new(24_000, 20);
        let mut queue = NetworkQueue::new(None);
        send(&mut link, &mut queue, 2, 0..15_000);
        assert!(!queue.is_bounded());
        let in_time = link.ages_ms.iter().filter(|age| **age <= 250).count();
        assert!(in_time * 20 < link.ages_ms.len(), "{in_time} of {}", link.ages_ms.len());
    }

    #[test]
    fn a_link_that_becomes_faster_is_used_again() {
        let mut link = Link::new(24_000, 40);
        let mut queue = NetworkQueue::new(Some(MAX_AGE));
        send(&mut link, &mut queue, 5, 0..5_000);
        assert!(queue.is_bounded());
        link.bytes_per_s = 1_200_000;
        send(&mut link, &mut queue, 5, 5_000..15_000);
        assert!(!queue.is_bounded());
        let before = link.ages_ms.len();
        send(&mut link, &mut queue, 5, 15_000..16_000);
        assert!(link.ages_ms.len() - before >= 4_990, "{} of 5,000", link.ages_ms.len() - before);
    }

    #[test]
    fn a_way_that_becomes_longer_is_no_queue() {
        let mut link = Link::new(1_200_000, 20);
        let mut queue = NetworkQueue::new(Some(MAX_AGE));
        send(&mut link, &mut queue, 1, 0..5_000);
        for (round_trip_ms, from) in [(170, 5_000), (400, 25_000)] {
            link.round_trip_ms = round_trip_ms;
            send(&mut link, &mut queue, 1, from..from + 10_000);
            link.ages_ms.clear();
            send(&mut link, &mut queue, 1, from + 10_000..from + 20_000);
            let in_time = link.ages_ms.iter().filter(|age| **age <= 250).count();
            assert!(in_time >= 9_500, "{round_trip_ms} ms: {in_time} of 10,000");
        }
    }

    #[test]
    fn bursts_on_a_network_that_is_fast_again_are_not_held() {
        let mut link = Link::new(24_000, 20);
        let mut queue = NetworkQueue::new(Some(MAX_AGE));
        send(&mut link, &mut queue, 5, 0..5_000);
        assert!(queue.is_bounded());
        link.bytes_per_s = 1_200_000;
        for burst in 0..20 {
            let from = 5_000 + burst * 500;
            send(&mut link, &mut queue, 40, from..from + 5);
            send(&mut link, &mut queue, 0, from + 5..from + 500);
        }
        assert!(!queue.is_bounded());
    }

    #[test]
    fn frames_that_are_new_are_sent_however_long_the_queue() {
        let mut link = Link::new(24_000, 20);
        let mut queue = NetworkQueue::new(Some(Duration::from_millis(50)));
        send(&mut link, &mut queue, 5, 0..5_000);
        assert!(queue.is_bounded());
        assert!((1..=40 * MILLISECOND).contains(&queue.transit_ns()), "{}", queue.transit_ns());
    }

    #[test]
    fn late_acknowledgements_are_no_queue() {
        let mut queue = NetworkQueue::new(Some(MAX_AGE));
        for number in 0..100 {
            // Two segments of any size, or ten frames of 40 bytes.
            let (segments, bytes) = if number < 50 { (3, 4_000) } else { (10, 400) };
            let sample = TcpInfo {
                acknowledged_bytes: number * 400,
                bytes_under_way: bytes,
                segments_under_way: segments,
                round_trip_ns: 200 * MILLISECOND,
                shortest_round_trip_ns: MILLISECOND,
            };
            queue.note(sample, Moment::from_nanos(number * 100 * MILLISECOND));
            assert_eq!(queue.room(1 << 20, Moment::default()), Ok(usize::MAX));
        }
    }
}
