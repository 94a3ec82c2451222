//! A trial cut into intervals of equal length.

use hdrhistogram::Histogram;

use crate::metrics::histograms;

/// Intervals of a trial, at most, 33 MiB of histograms: what is beyond them belongs to the last.
pub const INTERVALS_MAX: usize = 200;

/// Lengths of intervals that people like to read, nanoseconds.
const LENGTHS_NS: [u64; 12] = [
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
    1_800_000_000_000,
    7_200_000_000_000,
];

/// Intervals that a trial is cut into, about.
const WANTED: u64 = 60;

/// What happened in one interval.
pub struct Interval {
    /// From the beginning of the trial.
    pub start_ns: u64,
    pub length_ns: u64,
    /// Frames that were due in it.
    pub sent: u64,
    /// How late the frames were that came out in it.
    pub latency: Histogram<u64>,
}

/// The intervals of one direction, the last of which runs.
pub struct Series {
    length_ns: u64,
    intervals: Vec<Interval>,
}

impl Series {
    /// For a trial whose measured part begins at `start_ns` and takes about `length_ns`.
    pub fn new(start_ns: u64, length_ns: u64) -> Self {
        let fits = |step: &&u64| length_ns / **step <= WANTED;
        let length_ns = *LENGTHS_NS.iter().find(fits).unwrap_or(&LENGTHS_NS[LENGTHS_NS.len() - 1]);
        let mut series = Self { length_ns, intervals: Vec::new() };
        series.begin(start_ns);
        series
    }

    fn begin(&mut self, start_ns: u64) {
        let length_ns = self.length_ns;
        self.intervals.push(Interval { start_ns, length_ns, sent: 0, latency: histograms::times() });
    }

    /// The time is `now_ns`: intervals that are over end.
    pub fn advance(&mut self, now_ns: u64) {
        while self.intervals.len() < INTERVALS_MAX {
            let next_ns = self.running().start_ns + self.length_ns;
            if now_ns < next_ns {
                return;
            }
            self.begin(next_ns);
        }
    }

    /// A frame that was due at `at_ns`, which may be a while ago.
    pub fn count_sent(&mut self, at_ns: u64) {
        let first_ns = self.intervals[0].start_ns;
        let index = (at_ns.saturating_sub(first_ns) / self.length_ns) as usize;
        let last = self.intervals.len() - 1;
        self.intervals[index.min(last)].sent += 1;
    }

    /// A frame that came out now.
    pub fn record(&mut self, latency_ns: u64) {
        self.running().latency.saturating_record(latency_ns);
    }

    /// Nothing comes after `now_ns`.
    pub fn finish(&mut self, now_ns: u64) {
        let running = self.running();
        running.length_ns = now_ns.saturating_sub(running.start_ns);
        // What was begun for nothing.
        if self.intervals.len() > 1 && self.running().sent == 0 && self.running().latency.is_empty() {
            self.intervals.pop();
        }
    }

    /// All intervals, in order.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    fn running(&mut self) -> &mut Interval {
        self.intervals.last_mut().expect("there is one from the beginning")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn trials_are_cut_into_lengths_that_people_read() {
        let length = |seconds: u64| Series::new(0, seconds * SECOND).length_ns;
        assert_eq!(
            [2, 10, 60, 3_600, 43_200].map(length),
            [100_000_000, 250_000_000, SECOND, 60 * SECOND, 1_800 * SECOND]
        );
    }

    #[test]
    fn frames_belong_to_the_interval_of_their_time() {
        let mut series = Series::new(SECOND, 10 * SECOND);
        series.count_sent(SECOND);
        series.record(5_000);
        series.advance(SECOND + 600_000_000);
        series.record(7_000);
        // Sent in an interval that is over.
        series.count_sent(SECOND + 300_000_000);
        series.finish(SECOND + 650_000_000);
        let told: Vec<_> =
            series.intervals().iter().map(|one| (one.start_ns, one.sent, one.latency.len())).collect();
        assert_eq!(told, [(SECOND, 1, 1), (1_250_000_000, 1, 0), (1_500_000_000, 0, 1)]);
        assert_eq!(series.intervals()[2].length_ns, 150_000_000);
    }
}
