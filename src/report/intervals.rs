//! The histograms of a trial's intervals, which a document has no room for, as HdrHistogram's interval logs.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::names;
use crate::metrics::histograms::IntervalLog;
use crate::moment::WallTime;

/// Bytes of all logs together. A busy interval takes some 1.5 kB, so that this holds a day of intervals of five seconds
/// in both directions. What comes later is left out, and that is counted and said.
const BYTES_MAX: usize = 64 << 20;

/// Keeps the histograms of intervals as the lines that they become: a hundredth of a histogram's own size.
///
/// ```text
/// begin_trial, add, add, ..., begin_trial, add, ...
/// ```
#[derive(Debug)]
pub struct IntervalHistograms {
    log: IntervalLog,
    /// A log a trial.
    logs: Vec<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
    left_out: u64,
}

impl Default for IntervalHistograms {
    fn default() -> Self {
        Self::new()
    }
}

impl IntervalHistograms {
    /// None yet.
    pub fn new() -> Self {
        Self::with_room(BYTES_MAX)
    }

    /// None yet, and room for some `bytes_max` bytes of lines: what reaches beyond it by a part of a line is the last.
    pub fn with_room(bytes_max: usize) -> Self {
        Self { log: IntervalLog::new(), logs: Vec::new(), bytes: 0, bytes_max, left_out: 0 }
    }

    /// What is added from now on is of the next trial, in the order of the report's trials. Its times count from `started`.
    pub fn begin_trial(&mut self, started: WallTime) {
        let mut head = Vec::new();
        self.log.write_head(started, &mut head);
        self.bytes += head.len();
        self.logs.push(head);
    }

    /// Takes the histogram, in nanoseconds, of an interval of the direction between two buses.
    ///
    /// # Panics
    /// No trial has begun.
    pub fn add(
        &mut self,
        from: &str,
        to: &str,
        start: Duration,
        length: Duration,
        histogram: &Histogram<u64>,
    ) {
        let log = self.logs.last_mut().expect("a trial has begun");
        if self.bytes >= self.bytes_max {
            self.left_out += 1;
            return;
        }
        let before = log.len();
        self.log.write_tagged(&names::of_direction(from, to), histogram, start, length, log);
        self.bytes += log.len() - before;
    }

    /// Histograms that there was no more room for.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The log of each trial.
    pub(super) fn logs(&self) -> impl Iterator<Item = &[u8]> {
        self.logs.iter().map(Vec::as_slice)
    }
}
