//! Histograms as lines of HdrHistogram's interval log (version 1.3 of the format, histograms in V2 with DEFLATE), which
//! its tools cut, merge and plot. Knows no file: produces text.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::{HistogramSet, Kind};
use crate::moment::WallTime;

/// What readers need to know beside the format; it stands at the head of every log.
const CONTENT: &str = "[canip_peer: times in nanoseconds, batches in frames; Interval_Max too]";

/// The format's version, by the words that the Java implementation writes.
const FORMAT: &str = "[Histogram log format version 1.3]";

/// The line of headings.
const LEGEND: &str =
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// Writes the lines of one log.
///
/// Its memory is as large as a histogram that is all of different counts: some 200 KiB each for the two stages,
/// allocated at the first histogram; DEFLATE's state comes and goes with every line.
#[derive(Default)]
pub struct IntervalLog {
    serializer: V2DeflateSerializer,
}

impl std::fmt::Debug for IntervalLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IntervalLog").finish_non_exhaustive()
    }
}

impl IntervalLog {
    /// Ready to write.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the head: five lines, with the wall-clock time that the times of all intervals are relative to. A log of
    /// several runs has as many heads.
    pub fn write_head(&mut self, started: WallTime, text: &mut Vec<u8>) {
        let started = UNIX_EPOCH + Duration::from_nanos(started.as_nanos());
        let written = IntervalLogWriterBuilder::new()
            .add_comment(CONTENT)
            .add_comment(FORMAT)
            .with_start_time(started)
            // Without it, readers guess whether an interval's time is relative.
            .with_base_time(started)
            .begin_log_with(text, &mut self.serializer)
            .map(drop);
        into_memory(written);
        text.extend_from_slice(LEGEND.as_bytes());
    }

    /// Appends a line for every histogram of `set` that holds a value. The interval began `start` after the log and ran for
    /// `length`: both by a clock that nobody sets, so that the log's intervals never overlap.
    pub fn write_set(&mut self, set: &HistogramSet, start: Duration, length: Duration, text: &mut Vec<u8>) {
        for (kind, histogram) in set.recorded() {
            self.write_line(kind, histogram, start, length, text);
        }
    }

    /// Appends one line: a histogram that ran from `start` after the log's start for `length`.
    pub fn write_line(
        &mut self,
        kind: Kind,
        histogram: &Histogram<u64>,
        start: Duration,
        length: Duration,
        text: &mut Vec<u8>,
    ) {
        self.write_tagged(kind.name(), histogram, start, length, text);
    }

    /// The same for a histogram that is none of a bridge's, by the name that readers tell it by.
    ///
    /// # Panics
    /// The format has no place for commas, blanks and line ends in `tag`.
    pub fn write_tagged(
        &mut self,
        tag: &str,
        histogram: &Histogram<u64>,
        start: Duration,
        length: Duration,
        text: &mut Vec<u8>,
    ) {
        let tag = Tag::new(tag).expect("a tag without commas, blanks and line ends");
        let written = IntervalLogWriterBuilder::new()
            .begin_log_with(text, &mut self.serializer)
            .map_err(Into::into)
            .and_then(|mut log| log.write_histogram(histogram, start, length, Some(tag)));
        into_memory(written);
    }
}

/// Memory takes every write, and counts up to `i64::MAX` are serializable, which a thousand million values a second reach
/// in three hundred years.
fn into_memory<E: std::fmt::Debug>(written: Result<(), E>) {
    written.expect("memory takes every histogram");
}
