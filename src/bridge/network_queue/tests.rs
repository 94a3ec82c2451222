//! A link with a queue before it, in times that are told.

use fastrand::Rng;

use super::*;

const MAX_AGE: Duration = Duration::from_millis(250);
const MILLISECOND: u64 = 1_000_000;
const ACKNOWLEDGED_LATE_MS: u64 = 40;
const FRAME_BYTES: u64 = 24;

/// A link that carries so many bytes a second, in both ways' time of `round_trip_ms`, with a queue before it that never
/// overflows, and acknowledgements that come late; frames of 24 bytes come to be sent, and their records cost nothing.
struct Link {
    bytes_per_s: u64,
    round_trip_ms: u64,
    /// What each piece costs beside its bytes.
    header_bytes: u64,
    /// Frames before the link, by when they were handed over, in milliseconds, when the frame came, and what it costs.
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
            header_bytes: 0,
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

    fn take(&mut self, now: u64, came: u64, header_bytes: u64) {
        self.queue.push_back((now, came, FRAME_BYTES + header_bytes));
        self.under_way += FRAME_BYTES;
    }

    fn run_for_a_millisecond(&mut self, now: u64) {
        self.budget = (self.budget + self.bytes_per_s / 1_000).min(1_500);
        while let Some(&(handed_over, came, bytes)) =
            self.queue.front().filter(|frame| frame.2 <= self.budget)
        {
            self.queue.pop_front();
            self.budget -= bytes;
            self.left.push_back((now + self.round_trip_ms + ACKNOWLEDGED_LATE_MS, FRAME_BYTES));
            self.ages_ms.push(now + self.round_trip_ms / 2 - came);
            let sample_ns = (now - handed_over + self.round_trip_ms) * MILLISECOND;
            self.smoothed_ns = (self.smoothed_ns * 7 + sample_ns) / 8;
        }
        while let Some((_, bytes)) = self.left.pop_front_if(|(at, _)| *at <= now) {
            self.under_way -= bytes;
            self.acknowledged += bytes;
        }
    }

    /// How many of the frames that came out were not too old.
    fn in_time(&self) -> usize {
        self.ages_ms.iter().filter(|age| u128::from(**age) <= MAX_AGE.as_millis()).count()
    }

    fn sample(&self) -> TcpInfo {
        TcpInfo {
            acknowledged_bytes: self.acknowledged,
            bytes_under_way: usize::try_from(self.under_way).unwrap(),
            segments_under_way: u32::try_from(self.under_way / FRAME_BYTES).unwrap(),
            round_trip_ns: self.smoothed_ns,
            shortest_round_trip_ns: self.shortest_ms * MILLISECOND,
        }
    }
}

/// Sends `frames_per_ms` over the link from one millisecond to another, as [`Outbound`](super::super::outbound) does, and
/// drops what would be too old.
fn send(link: &mut Link, queue: &mut NetworkQueue, frames_per_ms: u64, times: std::ops::Range<u64>) {
    let mut waiting = VecDeque::new();
    for now in times {
        (0..frames_per_ms).for_each(|_| waiting.push_back(now));
        let moment = Moment::from_nanos(now * MILLISECOND);
        let oldest = 250 - queue.transit_ns() / MILLISECOND;
        while waiting.pop_front_if(|came| now - *came > oldest).is_some() {}
        while let Some(&oldest) = waiting.front() {
            let gathered = waiting.len() * FRAME_BYTES as usize;
            let since = Moment::from_nanos(oldest * MILLISECOND);
            let under_way = usize::try_from(link.under_way).unwrap();
            let Ok(room) = queue.room(under_way, gathered, since, moment) else { break };
            let frames = (room / FRAME_BYTES as usize).clamp(1, waiting.len());
            queue.note_handed_over(frames * FRAME_BYTES as usize, moment);
            let mut header_bytes = link.header_bytes;
            for came in waiting.drain(..frames) {
                link.take(now, came, std::mem::take(&mut header_bytes));
            }
        }
        if queue.is_looking() {
            let _asked = queue.room(usize::try_from(link.under_way).unwrap(), 0, moment, moment);
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
    let frames_per_ms = 2 * bytes_per_s / FRAME_BYTES / 1_000;
    // What was sent before anything was known must come out first.
    send(&mut link, &mut queue, frames_per_ms, 0..5_000);
    link.ages_ms.clear();
    send(&mut link, &mut queue, frames_per_ms, 5_000..15_000);
    let in_time = link.in_time() as u64;
    in_time * FRAME_BYTES * 100 / (bytes_per_s * 10)
}

#[test]
fn a_slow_link_carries_what_it_can_in_time() {
    for bytes_per_s in [24_000, 120_000, 1_200_000] {
        for round_trip_ms in [2, 20, 100, 200] {
            let useful = useful(bytes_per_s, round_trip_ms);
            assert!(useful >= 90, "{bytes_per_s} bytes a second, {round_trip_ms} ms: {useful} %");
        }
    }
}

/// A link whose pace is not the same for long, and seconds of it that TCP had taken before anything was known.
#[test]
fn a_queue_is_not_taken_for_a_long_way() {
    for seed in 0..20 {
        let (mut link, mut random) = (Link::new(10_000, 40), Rng::with_seed(seed));
        link.shortest_ms = 1;
        (0..random.u64(..8) * 10_000 / FRAME_BYTES).for_each(|_| link.take(0, 0, 0));
        let mut queue = NetworkQueue::new(Some(MAX_AGE));
        let mut can_be_carried = 0;
        for second in 0..60 {
            link.bytes_per_s = 8_000 + random.u64(..6) * 1_000;
            if second == 30 {
                link.ages_ms.clear();
            }
            if second >= 30 {
                can_be_carried += usize::try_from(link.bytes_per_s / FRAME_BYTES).unwrap();
            }
            send(&mut link, &mut queue, 1, second * 1_000..(second + 1) * 1_000);
        }
        let in_time = link.in_time();
        assert!(in_time * 10 >= can_be_carried * 9, "seed {seed}: {in_time} of {can_be_carried}");
    }
}

/// Frames one by one, with their headers, need nearly four times what they have, and more than the link can carry; together they do not.
#[test]
fn what_is_slow_for_single_frames_carries_all_of_them_together() {
    for (bytes_per_s, round_trip_ms) in [(37_500, 300), (37_500, 40), (37_500, 100), (75_000, 20)] {
        let mut link = Link::new(bytes_per_s, round_trip_ms);
        (link.header_bytes, link.shortest_ms) = (66, 1);
        let mut queue = NetworkQueue::new(Some(MAX_AGE));
        send(&mut link, &mut queue, 1, 0..20_000);
        link.ages_ms.clear();
        send(&mut link, &mut queue, 1, 20_000..50_000);
        let in_time = link.in_time();
        assert!(in_time >= 28_500, "{bytes_per_s} bytes a second, {round_trip_ms} ms: {in_time} of 30,000");
    }
}

#[test]
fn without_a_bound_next_to_nothing_is_in_time() {
    let mut link = Link::new(24_000, 20);
    let mut queue = NetworkQueue::new(None);
    send(&mut link, &mut queue, 2, 0..15_000);
    assert!(!queue.is_bounded());
    let in_time = link.in_time();
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
        send(&mut link, &mut queue, 1, from..from + 5_000);
        link.ages_ms.clear();
        send(&mut link, &mut queue, 1, from + 5_000..from + 15_000);
        let in_time = link.in_time();
        assert!(in_time >= 9_500, "{round_trip_ms} ms: {in_time} of 10,000");
    }
}

#[test]
fn bursts_on_a_way_that_becomes_longer_are_not_held() {
    for (frames, round_trip_ms) in [(100, 200), (60, 200), (30, 170), (100, 120)] {
        let mut link = Link::new(1_200_000, 20);
        let mut queue = NetworkQueue::new(Some(MAX_AGE));
        let mut burst = |link: &mut Link, from: u64| {
            send(link, &mut queue, frames, from..from + 1);
            send(link, &mut queue, 0, from + 1..from + 100);
        };
        (0..50).for_each(|number| burst(&mut link, number * 100));
        link.round_trip_ms = round_trip_ms;
        (50..150).for_each(|number| burst(&mut link, number * 100));
        link.ages_ms.clear();
        (150..250).for_each(|number| burst(&mut link, number * 100));
        let in_time = link.in_time() as u64;
        assert!(in_time >= frames * 90, "{frames} in {round_trip_ms} ms: {in_time} of {}", frames * 100);
    }
}

/// However long it was known how long a round trip takes.
#[test]
fn a_way_behind_a_slow_link_that_becomes_longer_is_found() {
    let mut link = Link::new(120_000, 20);
    let mut queue = NetworkQueue::new(Some(MAX_AGE));
    send(&mut link, &mut queue, 10, 0..48_000);
    link.round_trip_ms = 170;
    send(&mut link, &mut queue, 10, 48_000..58_000);
    link.ages_ms.clear();
    send(&mut link, &mut queue, 10, 58_000..68_000);
    let in_time = link.in_time();
    assert!(in_time >= 40_000, "{in_time} of 50,000 that the link can carry");
}

#[test]
fn a_lull_does_not_make_a_network_slow() {
    let mut link = Link::new(37_500, 300);
    (link.header_bytes, link.shortest_ms) = (66, 1);
    let mut queue = NetworkQueue::new(Some(MAX_AGE));
    send(&mut link, &mut queue, 1, 0..30_000);
    for second in 30..36 {
        send(&mut link, &mut queue, 1, second * 1_000..second * 1_000 + 1);
        send(&mut link, &mut queue, 0, second * 1_000 + 1..(second + 1) * 1_000);
    }
    link.ages_ms.clear();
    send(&mut link, &mut queue, 1, 36_000..39_000);
    let in_time = link.in_time();
    assert!(in_time >= 2_000, "{in_time} of 3,000");
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
        assert_eq!(queue.room(1 << 20, 24, Moment::default(), Moment::default()), Ok(usize::MAX));
    }
}
